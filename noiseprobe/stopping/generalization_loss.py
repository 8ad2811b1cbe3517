"""Generalization loss: stop when the loss has risen too far above its lowest value."""

import math
from typing import Any, ClassVar

from noiseprobe.stopping.base import Grid, LossCriterion, checked_positive
from noiseprobe.stopping.best import Best


class GeneralizationLoss(LossCriterion):
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

    Example:
        >>> criterion = GeneralizationLoss(alpha=5)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.52, 0.53)]
        [False, False, False, True]
        >>> round(criterion.percent, 6), criterion.best_index
        (6.0, 1)
    """

    formula: ClassVar[str] = "100 (loss / lowest so far - 1) > alpha"
    source: ClassVar[str] = "Prechelt, Early Stopping - But When?, 1998, GL"
    grid: ClassVar[Grid] = {"alpha": (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)}

    def __init__(self, alpha: float = 5.0) -> None:
        self.alpha = checked_positive("alpha", alpha, 5)
        self._best = Best()
        self._loss = math.nan

    @property
    def least(self) -> int:
        """2: the first loss is the lowest so far."""
        return 2

    @property
    def best_index(self) -> int | None:
        """The index of the update with the lowest loss; None before the first."""
        return self._best.index

    @property
    def percent(self) -> float:
        """GL at the last finite loss, in per cent; NaN before the first or below 0."""
        lowest = self._best.loss
        if self._loss == lowest and lowest >= 0:
            return 0.0
        if lowest == 0:
            return math.inf
        return 100 * (self._loss / lowest - 1) if lowest > 0 else math.nan

    def _skip(self) -> None:
        self._best.skip()

    def _take(self, loss: float) -> bool:
        self._best.take(loss)
        self._loss = loss
        return self.percent > self.alpha

    def state_dict(self) -> dict[str, Any]:
        """The lowest loss, its index, and the last loss."""
        last = None if math.isnan(self._loss) else self._loss
        return self._best.state_dict() | {"last": last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; alpha is no part of what was seen."""
        self._best.load_state_dict(state)
        self._loss = math.nan if state["last"] is None else float(state["last"])
