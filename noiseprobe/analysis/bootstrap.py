"""Bootstrap intervals over independent units, such as concepts."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From values (resamples, n, k) to one number per resample."""


def mean_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each resample, (resamples,)."""
    return values.mean(axis=(1, 2))


def ratio_of_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of (resamples, n, 2): the first numbers' sum over that of the second, (resamples,)."""
    totals = values.sum(axis=1)
    return totals[:, 0] / totals[:, 1]


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic = mean_of, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 95% percentile interval of a statistic of n units (Efron & Tibshirani 1993, §13.3).

    NaN for both ends with fewer than 2 units, of whose spread nothing is known.

    Args:
        values: (n,), or (n, k) where a unit has several numbers that stay together.
        statistic: by default the mean.
        resamples: how often n units are drawn from the n with replacement.
        seed: the same seed and n draw the same units, so that tables repeat.
    """
    units = np.asarray(values, dtype=np.float64)
    if len(units) < 2:
        return math.nan, math.nan
    units = units.reshape(len(units), -1)
    drawn = np.random.default_rng(seed).integers(len(units), size=(resamples, len(units)))
    low, high = np.quantile(statistic(units[drawn]), [0.025, 0.975])
    return float(low), float(high)
