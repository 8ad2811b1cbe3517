"""What every stopping criterion can do, and the warning that they share."""

from numbers import Integral
from typing import Any, Protocol


class NonFiniteLossWarning(RuntimeWarning):
    """A loss was NaN or infinite, and the criterion took it as no evidence."""


class Criterion(Protocol):
    """Reads one loss per evaluation and says when to stop.

    A criterion is resumed by loading what `state_dict` returned into a new one that was built with
    the same arguments.
    """

    def update(self, loss: float) -> bool:
        """Take the next loss; True means: stop now."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, as a document that JSON holds without loss."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state` as if all its losses had been seen here."""
        ...


def is_whole(value: object) -> bool:
    """Whether `value` is an int of Python or numpy; a bool is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)
