"""Theil–Sen: stop when a robust line over the last losses no longer falls."""

import math
from typing import Any, ClassVar

import numpy as np

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import Grid, LossCriterion, checked_whole


class TheilSen(LossCriterion):
    """Stops when the slope over the last `window` losses is not significantly below 0.

    The slope is Theil's and Sen's: the median of (x_j − x_i)/(j − i) over all pairs i < j. Whether
    it is below 0 is tested by Kendall's S = Σ sign(x_j − x_i), of which Sen's confidence limits of
    the slope are made: with σ² = [n(n−1)(2n+5) − Σ t(t−1)(2t+5)]/18 over groups of t equal losses,
    p = Φ(S/σ), and it stops when p ≥ `alpha`. The normal approximation, without a correction for
    continuity. Sources: Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, JASA
    63 (1968), eq. 2.1–2.6; Mann, Nonparametric Tests Against Trend, Econometrica 13 (1945).

    The test takes losses for independent but for their trend. Those of neighbouring steps are not,
    so that it sees a fall a little longer than there is one.

    Each loss brings S up to date: time and memory per loss are about in proportion to the window.
    Nothing is decided before `window` losses were seen. A window of equal losses has
    p = 1. A loss that is NaN or infinite is no evidence: it enters no window, it warns with a
    `NonFiniteLossWarning`, and TheilSen does not stop on it.

    Args:
        window: how many of the last losses to lay the line over, at least 4: of three losses, none
            is significant.
        alpha: the level of the one-sided test, between 0 and 1.

    Raises:
        UserError: an argument is outside its range.

    Example:
        >>> criterion = TheilSen(window=4, alpha=0.05)
        >>> [criterion.update(loss) for loss in (0.9, 0.7, 0.5, 0.4, 0.41)]
        [False, False, False, False, True]
        >>> round(criterion.slope, 3), round(criterion.p_value, 3)
        (-0.098, 0.087)
    """

    formula: ClassVar[str] = "P(S <= Kendall's S of the last window | no trend) >= alpha"
    source: ClassVar[str] = "Sen, JASA 63, 1968; Mann, Econometrica 13, 1945"
    grid: ClassVar[Grid] = {"window": (10, 20, 50, 100, 200), "alpha": (0.001, 0.01, 0.05, 0.2)}
    kept_for = ("window",)

    def __init__(self, window: int = 50, alpha: float = 0.05) -> None:
        self.window = checked_whole("window", window, 4, "losses")
        if not 0 < alpha < 1:
            raise UserError(f"alpha {alpha}: give a number between 0 and 1, such as 0.05")
        self.alpha = float(alpha)
        self._recent = np.full(self.window, np.nan)
        self._count = self._score = self._tied = 0

    @property
    def least(self) -> int:
        """`window`: nothing is decided before there are as many losses."""
        return self.window

    @property
    def score(self) -> int:
        """Kendall's S of the losses in the window: rising pairs less falling ones."""
        return self._score

    @property
    def p_value(self) -> float:
        """How probable S or a lower one is without a trend; NaN before `window` losses."""
        if self._count < self.window:
            return math.nan
        n = self.window
        variance = (n * (n - 1) * (2 * n + 5) - self._tied) / 18
        return math.erfc(-self._score / math.sqrt(2 * variance)) / 2 if variance else 1.0

    @property
    def slope(self) -> float:
        """The Theil–Sen slope over the window, in units of the loss per evaluation.

        NaN before `window` losses. Computed when asked, in time and memory of window².
        """
        if self._count < self.window:
            return math.nan
        losses = self._in_order()
        first, second = np.triu_indices(self.window, k=1)
        return float(np.median((losses[second] - losses[first]) / (second - first)))

    def state_dict(self) -> dict[str, Any]:
        """The losses of the window, oldest first."""
        return super().state_dict() | {"recent": self._in_order().tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; alpha is no part of what was seen."""
        super().load_state_dict(state)
        for loss in state["recent"]:
            self._take(loss)

    def _take(self, loss: float) -> bool:
        place = self._count % self.window
        self._count_in(float(self._recent[place]), -1)
        self._recent[place] = np.nan
        self._count_in(loss, 1)
        self._recent[place] = loss
        self._count += 1
        return self.p_value >= self.alpha

    def _count_in(self, loss: float, change: int) -> None:
        """Keep S and Σ t(t−1)(2t+5) as the window gains or loses its newest or oldest loss.

        NaN, which stands where there is no loss yet, is above, below or equal to none.
        """
        above, below = np.count_nonzero(self._recent > loss), np.count_nonzero(self._recent < loss)
        self._score += int(below) - int(above)
        others = int(np.count_nonzero(self._recent == loss)) - (change < 0)
        if others > 0:
            self._tied += change * 6 * others * (others + 2)  # as its group has one more or less

    def _in_order(self) -> np.ndarray:
        ordered = np.roll(self._recent, -(self._count % self.window))
        return ordered[~np.isnan(ordered)]
