"""Bootstrap intervals over independent units, such as concepts."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.analysis.intervals import mean_interval

RESAMPLES = 10_000

AT_ONCE = 2_000_000
"""So many units are drawn at a time: the memory does not grow with their number."""

FEWEST = 6
"""Of fewer units the percentile interval is far too narrow: of two it goes from one to the other,
and holds the mean half of the time."""

Statistic = Callable[..., NDArray[np.float64]]
"""Like `np.mean`: of one array for each number that a unit has, along `axis`."""


def ratio_of_sums(
    first: NDArray[np.float64], second: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    """The first numbers' sum over that of the second."""
    return np.asarray(first.sum(axis) / second.sum(axis))


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic = np.mean, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 95% percentile interval of a statistic of n units (Efron & Tibshirani 1993, §13.3).

    NaN for both ends with fewer than 2 units, of whose spread nothing is known, or with a NaN.

    Args:
        values: (n,), or (n, k) where a unit has several numbers that stay together.
        statistic: of k arrays; by default the mean of one.
        resamples: how often n units are drawn from the n with replacement.
        seed: the same seed and n draw the same units, so that tables repeat.
    """
    from scipy.stats import bootstrap  # half a second, which other commands need not wait for

    units = np.asarray(values, dtype=np.float64)
    if len(units) < 2 or np.isnan(units).any():
        return math.nan, math.nan
    low, high = bootstrap(
        np.atleast_2d(units.T),
        statistic,
        n_resamples=resamples,
        batch=max(AT_ONCE // len(units), 1),
        paired=True,
        vectorized=True,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(low), float(high)


def interval_of_units(values: ArrayLike) -> tuple[float, float]:
    """The 95% interval of the mean of n units; NaN as in `bootstrap_interval`.

    Of `FEWEST` units or more that one, of fewer Student's, which takes them for normal.
    """
    units = np.asarray(values, dtype=np.float64)
    if len(units) >= FEWEST:
        return bootstrap_interval(units)
    _, low, high = mean_interval(units)
    return float(low), float(high)
