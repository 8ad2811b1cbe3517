"""Patience: stop when the loss has not improved for a number of evaluations."""

import math
from typing import ClassVar

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import Grid, checked_whole
from noiseprobe.stopping.best import BestCriterion


class Patience(BestCriterion):
    """Stops after `patience` losses in a row that are not below the best by more than `min_delta`.

    The best is the last loss that was an improvement: a slow descent counts as soon as it has come
    `min_delta` below it. Source: Goodfellow, Bengio & Courville, Deep Learning (2016), §7.8,
    algorithm 7.1; there without `min_delta`. A loss that is NaN or infinite is no evidence: it does
    not use up patience, it warns with a `NonFiniteLossWarning`, and Patience does not stop on it.
    Constant memory, constant time per loss.

    Args:
        patience: how many losses without an improvement, at least 1.
        min_delta: the least improvement that counts, in units of the loss, 0 or more.

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = Patience(patience=2, min_delta=0.1)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.45, 0.41)]
        [False, False, False, True]
        >>> criterion.best_index
        1
    """

    formula: ClassVar[str] = "no loss < best - min_delta among the last patience"
    source: ClassVar[str] = "Goodfellow, Bengio & Courville, Deep Learning, 2016, algorithm 7.1"
    grid: ClassVar[Grid] = {
        "patience": (5, 10, 20, 50, 100, 200),
        "min_delta": (0.0, 0.0001, 0.001, 0.01),
    }
    kept = (*BestCriterion.kept, "waited")

    def __init__(self, patience: int = 50, min_delta: float = 0.0) -> None:
        super().__init__()
        self.patience = checked_whole("patience", patience, 1, "losses")
        if not 0 <= min_delta < math.inf:
            raise UserError(f"min_delta {min_delta}: give a number of 0 or more, such as 0.001")
        self.min_delta = float(min_delta)
        self._waited = 0

    @property
    def least(self) -> int:
        """`patience` + 1: the first loss is an improvement."""
        return self.patience + 1

    def _take(self, loss: float) -> bool:
        self._waited = 0 if self._improves(loss, self.min_delta) else self._waited + 1
        return self._waited >= self.patience
