"""Generalization loss: stop when the loss has risen too far above its lowest value."""

import math
from typing import ClassVar

from noiseprobe.stopping.base import Grid, checked_positive
from noiseprobe.stopping.best import BestCriterion


class GeneralizationLoss(BestCriterion):
    """Stops when GL = 100·(loss / lowest loss so far − 1) > `alpha`: GL_α.

    Source: Prechelt, Early Stopping — But When? (1998), §2.2, where the loss is a validation loss
    and α is 1 to 5. Losses are not negative there; while the lowest is below 0, GL is undefined
    (NaN) and nothing stops, and with a lowest of 0 any higher loss has an infinite GL. A loss that
    is NaN or infinite is no evidence: it warns with a `NonFiniteLossWarning`, and
    GeneralizationLoss does not stop on it. Constant memory, constant time per loss.

    Args:
        alpha: how many per cent above the lowest loss to bear, finite and above 0.

    Raises:
        UserError: `alpha` is outside its range.

    Examples:
        >>> criterion = GeneralizationLoss(alpha=5)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.52, 0.53)]
        [False, False, False, True]
        >>> round(criterion.percent, 6), criterion.best_index
        (6.0, 1)
    """

    formula: ClassVar[str] = "100 (loss / lowest so far - 1) > alpha"
    source: ClassVar[str] = "Prechelt, Early Stopping - But When?, 1998, GL"
    grid: ClassVar[Grid] = {"alpha": (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)}
    kept = (*BestCriterion.kept, "last")

    def __init__(self, alpha: float = 5.0) -> None:
        super().__init__()
        self.alpha = checked_positive("alpha", alpha, 5)
        self._last = math.nan

    @property
    def least(self) -> int:
        """2: the first loss is the lowest so far."""
        return 2

    @property
    def percent(self) -> float:
        """GL at the last finite loss, in per cent; NaN before the first or below 0."""
        lowest = self._best
        if self._last == lowest and lowest >= 0:
            return 0.0
        if lowest == 0:
            return math.inf
        return 100 * (self._last / lowest - 1) if lowest > 0 else math.nan

    def _take(self, loss: float) -> bool:
        self._improves(loss)
        self._last = loss
        return self.percent > self.alpha
