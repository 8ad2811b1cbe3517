"""What the user can mend: errors that the command line reports in one line."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """The user's input is wrong; the message names what, where and the mend, in one line.

    The command line prints the message and exits with code 2. Any other exception is ours.
    """


class Interrupted(Exception):
    """The user stopped a stage; what was done is saved and can be resumed.

    `by` is the signal that asked for it: SIGINT, which is Ctrl-C, or SIGTERM.
    """

    by: int = signal.SIGINT


def did_you_mean(word: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """The mend of a message about an unknown word: the nearest that is known, or what else to do.

    Example:
        >>> did_you_mean("nois", ["timesteps", "noise"], "choose another")
        "did you mean 'noise'?"
    """
    near = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"did you mean '{near[0]}'?" if near else otherwise
