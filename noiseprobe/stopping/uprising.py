"""Uprising: stop when the loss has risen over several strips in a row."""

from typing import Any, ClassVar

from noiseprobe.stopping.base import Grid, LossCriterion, checked_whole, require_same
from noiseprobe.stopping.best import Best


class Uprising(LossCriterion):
    """Stops when the loss rose in `strips` successive strips of `length` losses: UP_s.

    Source: Prechelt, Early Stopping — But When? (1998), §2.2. With t the end of a strip and k its
    length, UP_1 stops if loss(t) > loss(t − k), and UP_s if UP_{s−1} stopped at t − k and again
    loss(t) > loss(t − k): only the ends of strips are compared, and only they can stop. Equal ends
    are no rise. There s is 2 to 8 and k is 5. A loss that is NaN or infinite is no evidence: it
    is not counted into a strip, it warns with a `NonFiniteLossWarning`, and Uprising does not stop
    on it. Constant memory, constant time per loss.

    Args:
        strips: how many successive strips must have risen (s), at least 1.
        length: how many losses a strip has (k), at least 1.

    Raises:
        UserError: an argument is outside its range.

    Example:
        >>> criterion = Uprising(strips=2, length=1)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.6, 0.7)]
        [False, False, False, True]
        >>> criterion.best_index
        1
    """

    formula: ClassVar[str] = "loss(t) > loss(t - length) at the ends of the last `strips` strips"
    source: ClassVar[str] = "Prechelt, Early Stopping - But When?, 1998, UP"
    grid: ClassVar[Grid] = {"strips": (1, 2, 3, 4, 6, 8), "length": (1, 5, 10, 20, 50)}

    def __init__(self, strips: int = 4, length: int = 5) -> None:
        self.strips = checked_whole("strips", strips, 1, "strips")
        self.length = checked_whole("length", length, 1, "losses")
        self._best = Best()
        self._count = self._risen = 0
        self._end: float | None = None

    @property
    def least(self) -> int:
        """(`strips` + 1) · `length`: the first strip has none to rise above."""
        return (self.strips + 1) * self.length

    @property
    def best_index(self) -> int | None:
        """The index of the update with the lowest loss; None before the first."""
        return self._best.index

    def _skip(self) -> None:
        self._best.skip()

    def _take(self, loss: float) -> bool:
        self._best.take(loss)
        self._count += 1
        if self._count % self.length:
            return False
        rose = self._end is not None and loss > self._end
        self._risen = self._risen + 1 if rose else 0
        self._end = loss
        return self._risen >= self.strips

    def state_dict(self) -> dict[str, Any]:
        """The lowest loss, its index, the last strip's end, and how many strips rose."""
        own = {"length": self.length, "count": self._count, "risen": self._risen, "end": self._end}
        return own | self._best.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the number of strips is no part of what was seen.

        Raises:
            UserError: `state` was kept for another length.
        """
        require_same(state, "length", self.length)
        self._best.load_state_dict(state)
        self._count, self._risen = int(state["count"]), int(state["risen"])
        self._end = None if state["end"] is None else float(state["end"])
