"""How much of a series is trend, and how much is noise from one value to the next."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 8
"""Of fewer values nothing is said: without any trend the noise share of 7 may well be 0.4."""

_ONE_SIDED = 1.645  # the normal quantile that 5% lie above


@dataclass(frozen=True)
class Trend:
    """What differences of neighbours say of a series of n finite values x.

    For noise that is drawn anew at each value, around a trend that hardly moves between two of
    them, E Σ (x_{t+1} - x_t)² = 2 (n - 1) σ²: the trend cancels, and what is left is noise.

    Attributes:
        points: n.
        ratio: Σ (x_{t+1} - x_t)² / Σ (x - mean)², 2 where there is noise alone, near 0 where there
            is trend alone (von Neumann, Annals of Mathematical Statistics 12, 1941, p. 367); NaN
            where n < `FEWEST` or nothing varies.
        noise_share: the share of the variance that is noise, half the ratio, at most 1.
        seen: whether there is any trend: C = 1 - ratio / 2, which is 0 on average without one, is
            above what 5% of series without one reach, from its variance (n - 2) / (n² - 1) (Young,
            the same volume, p. 293).
        noise: σ, in the units of the series.
    """

    points: int
    ratio: float
    noise_share: float
    seen: bool
    noise: float

    @property
    def noisy(self) -> bool:
        """Whether noise rules: its variance is larger than that of the trend, or no trend shows."""
        return not math.isnan(self.ratio) and (not self.seen or self.noise_share > 0.5)

    def chance(self, difference: float) -> bool:
        """Whether the last value may lie so far above the lowest by noise alone.

        Of n normal values the lowest lies σ √(2 ln n) below the mean, or less, on average
        (Boucheron, Lugosi & Massart, Concentration Inequalities, 2013, theorem 2.5), and another
        one more than 1.96 σ above it in one case of 40.
        """
        if math.isnan(self.ratio):
            return False
        return difference <= self.noise * (math.sqrt(2 * math.log(self.points)) + 1.96)


def trend_of(values: NDArray[np.float64]) -> Trend:
    """What neighbours say of the values (n,); those that are not finite are left out.

    Examples:
        >>> trend_of(np.linspace(1, 0, 50)).noisy
        False
        >>> trend_of(np.random.default_rng(0).normal(size=50)).noisy
        True
    """
    known = values[np.isfinite(values)]
    count = len(known)
    around = float(((known - known.mean()) ** 2).sum()) if count else 0.0
    if count < FEWEST or not 0 < around < math.inf:
        return Trend(count, math.nan, math.nan, False, math.nan)
    between = float((np.diff(known) ** 2).sum())
    ratio = between / around
    spread = math.sqrt((count - 2) / (count**2 - 1))
    seen = 1 - ratio / 2 > _ONE_SIDED * spread
    return Trend(count, ratio, min(ratio / 2, 1.0), seen, math.sqrt(between / (2 * (count - 1))))
