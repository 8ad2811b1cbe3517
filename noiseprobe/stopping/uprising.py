"""Uprising: stop when the loss has risen over several strips in a row."""

from collections.abc import Mapping
from typing import ClassVar

from noiseprobe.stopping.base import Grid, checked_whole
from noiseprobe.stopping.best import BestCriterion


class Uprising(BestCriterion):
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

    Examples:
        >>> criterion = Uprising(strips=2, length=1)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.6, 0.7)]
        [False, False, False, True]
        >>> criterion.best_index
        1
    """

    formula: ClassVar[str] = "loss(t) > loss(t - length) at the ends of the last `strips` strips"
    source: ClassVar[str] = "Prechelt, Early Stopping - But When?, 1998, UP"
    grid: ClassVar[Grid] = {"strips": (1, 2, 3, 4, 6, 8), "length": (1, 5, 10, 20, 50)}
    scaled: ClassVar[Mapping[str, int]] = {"length": 1}
    kept_for = ("length",)
    kept = (*BestCriterion.kept, "count", "risen", "end")

    def __init__(self, strips: int = 4, length: int = 5) -> None:
        self.strips = checked_whole("strips", strips, 1, "strips")
        self.length = checked_whole("length", length, 1, "losses")
        super().__init__()
        self._count = self._risen = 0
        self._end: float | None = None

    @property
    def least(self) -> int:
        """(`strips` + 1) · `length`: the first strip has none to rise above."""
        return (self.strips + 1) * self.length

    def _take(self, loss: float) -> bool:
        self._improves(loss)
        self._count += 1
        if self._count % self.length:
            return False
        rose = self._end is not None and loss > self._end
        self._risen = self._risen + 1 if rose else 0
        self._end = loss
        return self._risen >= self.strips
