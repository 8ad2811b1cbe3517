"""Theil–Sen: stop when a robust line over the last losses no longer falls."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import Grid, LossCriterion
from noiseprobe.stopping.window import SortedLosses, checked_window, window_after


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

    Each loss brings S up to date, in time of the logarithm of the window; memory is in proportion
    to it. Nothing is decided before `window` losses were seen. A window of equal losses has
    p = 1. A loss that is NaN or infinite is no evidence: it enters no window, it warns with a
    `NonFiniteLossWarning`, and TheilSen does not stop on it.

    Args:
        window: how many of the last losses to lay the line over, at least 4: of three losses, none
            is significant; or, as a number between 0 and 1, which share of them: at the n-th loss
            max(5, ceil(window·n)).
        alpha: the level of the one-sided test, between 0 and 1.

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = TheilSen(window=4, alpha=0.05)
        >>> [criterion.update(loss) for loss in (0.9, 0.7, 0.5, 0.4, 0.41)]
        [False, False, False, False, True]
        >>> round(criterion.slope, 3), round(criterion.p_value, 3)
        (-0.098, 0.087)
    """

    formula: ClassVar[str] = "P(S <= Kendall's S of the last window | no trend) >= alpha"
    source: ClassVar[str] = "Sen, JASA 63, 1968; Mann, Econometrica 13, 1945"
    grid: ClassVar[Grid] = {
        "window": (10, 20, 50, 100, 200, 0.2, 0.3, 0.5, 0.7),
        "alpha": (0.001, 0.01, 0.05, 0.2),
    }
    scale_free: ClassVar[Mapping[str, float]] = {"window": 0.5}
    kept_for = ("window",)
    kept = ("count", "recent")

    def __init__(self, window: float = 50, alpha: float = 0.05) -> None:
        self.window = checked_window(window, 4)
        if not 0 < alpha < 1:
            raise UserError(f"alpha {alpha}: give a number between 0 and 1, such as 0.05")
        self.alpha = float(alpha)
        self._recent: deque[float] = deque()
        self._sorted = SortedLosses()
        self._count = self._score = self._tied = 0

    @property
    def least(self) -> int:
        """`window`, or 5 where it is a share: nothing is decided before there are as many."""
        return window_after(self.window, 0)

    @property
    def score(self) -> int:
        """Kendall's S of the losses in the window: rising pairs less falling ones."""
        return self._score

    @property
    def p_value(self) -> float:
        """How probable S or a lower one is without a trend; NaN before `least` losses."""
        n = len(self._recent)
        if n < self.least:
            return math.nan
        variance = (n * (n - 1) * (2 * n + 5) - self._tied) / 18
        return math.erfc(-self._score / math.sqrt(2 * variance)) / 2 if variance else 1.0

    @property
    def slope(self) -> float:
        """The Theil–Sen slope over the window, in units of the loss per evaluation.

        NaN before `least` losses. Computed when asked, in time and memory of window².
        """
        if len(self._recent) < self.least:
            return math.nan
        losses = np.array(self._recent)
        first, second = np.triu_indices(len(losses), k=1)
        return float(np.median((losses[second] - losses[first]) / (second - first)))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; alpha is no part of what was seen."""
        super().load_state_dict(state)
        losses = list(self._recent)
        self._recent.clear()
        for loss in losses:
            self._add(loss)

    def _take(self, loss: float) -> bool:
        self._count += 1
        self._add(loss)
        if len(self._recent) > window_after(self.window, self._count):
            oldest = self._recent.popleft()
            self._sorted.remove(oldest)
            self._score += self._against_others(oldest, -1)
        return self.p_value >= self.alpha

    def _add(self, loss: float) -> None:
        self._score += self._against_others(loss, 1)
        self._sorted.add(loss)
        self._recent.append(loss)

    def _against_others(self, loss: float, change: int) -> int:
        """The losses of the window below this one, less those above it.

        That is what S gains with a newest loss, and what it gains without the oldest one. Where the
        loss is one of a group of equal ones, Σ t(t−1)(2t+5) is kept as that changes.
        """
        below, equal, above = self._sorted.around(loss)
        self._tied += change * 6 * equal * (equal + 2)
        return below - above
