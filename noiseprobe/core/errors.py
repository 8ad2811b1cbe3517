"""What the user can mend: errors that the command line reports in one line."""

import errno
import os
import signal
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """The user's input is wrong; the message names what, where and the mend, in one line.

    The command line prints the message and exits with code 2. Any other exception is ours.
    """


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM)
NOT_WRITTEN = (*NO_ROOM, *FORBIDDEN, errno.EROFS, errno.EIO)
"""What the system says where nothing is wrong but that a file cannot be written."""


class NotWritten(OSError):
    """A file could not be written; what was there before is whole. The message is one line.

    Its `errno` is one of `NOT_WRITTEN`, its `filename` what was to be written, and `exit_code` that
    of the command line: 2 where it is forbidden, else 1.
    """

    def __str__(self) -> str:
        return not_written(self)

    @property
    def exit_code(self) -> int:
        return 2 if self.errno in FORBIDDEN else 1


def not_written(error: OSError) -> str:
    """One line about an error of writing: what cannot be written, why, the mend, what is left."""
    number = error.errno or 0
    if number in NO_ROOM:
        mend = "make room there, or choose another place"
    elif number in FORBIDDEN:
        mend = "allow it, or choose another place"
    else:
        mend = "choose another place"
    return (
        f"{error.filename or 'what is written'}: {os.strerror(number).lower()}; {mend}: what was "
        "written before is whole, and the same command does the rest"
    )


class Interrupted(Exception):
    """The user stopped a stage; what was done is saved and can be resumed.

    `by` is the signal that asked for it: SIGINT, which is Ctrl-C, or SIGTERM.
    """

    by: int = signal.SIGINT


def did_you_mean(word: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str:
    """The mend of a message about an unknown word: the nearest that is known, or what else to do.

    Examples:
        >>> did_you_mean("nois", ["timesteps", "noise"], "choose another")
        "did you mean 'noise'?"
    """
    near = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"did you mean '{near[0]}'?" if near else otherwise
