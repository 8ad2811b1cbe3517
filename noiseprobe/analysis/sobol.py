"""Sobol indices of any function: which input its variance comes from; numpy alone.

The function is evaluated on the rows of paired designs (`noiseprobe.draws.sobol`): for each of n
pairs two independent draws of all k inputs, `a` and `b`, (..., n); `ab` (..., n, k), where input i
is that of b and the others those of a; and `ba`, the reverse. Leading axes are separate studies.

Every estimator here is a ratio of two means over pairs, V_i / V. So its interval is Fieller's
(`noiseprobe.analysis.intervals.ratio_interval`), and is as wide as pairs differ. An index lies in
[0, 1]; its estimate and interval are not cut there.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.intervals import ratio_interval

Floats = NDArray[np.float64]
Estimator = Literal["azzini", "saltelli", "jansen"]
Interval = tuple[Floats, Floats, Floats]

COLUMNS = ["first", "first_low", "first_high", "total", "total_low", "total_high"]


def first_order(
    a: Floats, b: Floats, ab: Floats, ba: Floats | None = None, estimator: Estimator = "azzini"
) -> Interval:
    """First-order indices S_i = Var(E[f | x_i]) / Var(f), their low and high, (..., k) each.

    Estimators of V_i, as the mean over pairs of

    - `azzini`: (b - ba_i)(ab_i - a) / 2 (Azzini, Mara & Rosati, Environmental Modelling & Software
      144, 2021). Where an input does little, both differences are small: its error is in
      proportion to the input's total index. Needs `ba`.
    - `saltelli`: b (ab_i - a), of centred values (Saltelli et al. 2010, Table 2 b)
    - `jansen`: V - (b - ab_i)² / 2 (Jansen, Computer Physics Communications 117, 1999)

    The last two, given `ba`, are averaged with the same of the reverse pair.
    """
    if ba is None and estimator == "azzini":
        raise ValueError("the estimator 'azzini' needs the rows ba; give them, or name another")
    a, b, ab, ba, variance = _centred(a, b, ab, ba)
    if estimator == "azzini" and ba is not None:
        shared = (b - ba) * (ab - a) / 2
    elif estimator == "saltelli":
        shared = _both(b * (ab - a), None if ba is None else a * (ba - b))
    else:
        apart = _both((b - ab) ** 2, None if ba is None else (a - ba) ** 2)
        shared = variance - apart / 2
    return _shares(shared, variance)


def total(a: Floats, b: Floats, ab: Floats, ba: Floats | None = None) -> Interval:
    """Total indices T_i = E[Var(f | all but x_i)] / Var(f), their low and high, (..., k) each.

    Jansen's estimator, the mean over pairs of (a - ab_i)² / 2 (Saltelli et al. 2010, Table 2 f);
    given `ba`, averaged with the same of the reverse pair.
    """
    a, b, ab, ba, variance = _centred(a, b, ab, ba)
    return _shares(_both((a - ab) ** 2, None if ba is None else (b - ba) ** 2) / 2, variance)


def second_order(a: Floats, b: Floats, ab: Floats, ba: Floats) -> Interval:
    """What each two inputs i < j explain only together, S_ij, low and high, (..., k (k - 1) / 2).

    The pairs come in the order of `itertools.combinations`. V_ij is the mean of
    [(ab_i - a)(ba_j - b) + (ab_j - a)(ba_i - b)] / 2: rows ab_i and ba_j share i and j alone, ab_i
    and b share i, a and ba_j share j, a and b nothing, so that the expected product is
    (V_i + V_j + V_ij) - V_i - V_j. Like `azzini`, it is small where an input does little.
    """
    a, b, ab, reverse, variance = _centred(a, b, ab, ba)
    assert reverse is not None
    one, other = (list(each) for each in zip(*combinations(range(ab.shape[-1]), 2), strict=True))
    by_ab, by_ba = ab - a, reverse - b
    mixed = by_ab[..., one] * by_ba[..., other] + by_ab[..., other] * by_ba[..., one]
    return _shares(mixed / 2, variance)


def sobol_indices(
    a: Floats,
    b: Floats,
    ab: Floats,
    ba: Floats | None = None,
    *,
    names: Sequence[str],
    estimator: Estimator | None = None,
) -> pd.DataFrame:
    """First-order and total indices of one study, with 95% intervals.

    One row per input (index `factor`: `names`), with the columns `first`, `first_low`,
    `first_high`, `total`, `total_low`, `total_high`. Pairs with a value that is not finite are left
    out. NaN where fewer than 2 pairs are left or the function does not vary.

    Args:
        a, b: (n,); ab, ba: (n, k), see above.
        names: of the k inputs.
        estimator: of the first order; by default `azzini` with `ba`, `saltelli` without.

    Examples:
        >>> x, y = np.random.default_rng(0).random((2, 2, 4000))  # each: two draws
        >>> def f(x, y): return x + 2 * y  # of whose variance x makes a fifth
        >>> ab = np.column_stack([f(x[1], y[0]), f(x[0], y[1])])
        >>> ba = np.column_stack([f(x[0], y[1]), f(x[1], y[0])])
        >>> found = sobol_indices(f(x[0], y[0]), f(x[1], y[1]), ab, ba, names=["x", "y"])
        >>> found["first"].round(1).tolist()
        [0.2, 0.8]
    """
    a, b, ab, ba = finite_pairs(a, b, ab, ba)
    chosen = estimator or ("saltelli" if ba is None else "azzini")
    columns = (*first_order(a, b, ab, ba, chosen), *total(a, b, ab, ba))
    table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), list(names))
    return table.rename_axis(index="factor")


def sobol_interactions(
    a: Floats, b: Floats, ab: Floats, ba: Floats, *, names: Sequence[str]
) -> pd.DataFrame:
    """Second-order indices of one study: columns first, second (names), share, low, high."""
    shares = second_order(*_whole(finite_pairs(a, b, ab, ba)))
    table = pd.DataFrame(list(combinations(names, 2)), columns=["first", "second"])
    return table.assign(**dict(zip(["share", "low", "high"], shares, strict=True)))


def finite_pairs(
    a: Floats, b: Floats, ab: Floats, ba: Floats | None
) -> tuple[Floats, Floats, Floats, Floats | None]:
    """The pairs of one study whose values are all finite."""
    kept = np.isfinite(a) & np.isfinite(b) & np.isfinite(ab).all(axis=-1)
    if ba is not None:
        kept &= np.isfinite(ba).all(axis=-1)
    return a[kept], b[kept], ab[kept], None if ba is None else ba[kept]


def _whole(rows: tuple[Floats, Floats, Floats, Floats | None]) -> tuple[Floats, ...]:
    return tuple(each for each in rows if each is not None)


def _centred(
    a: Floats, b: Floats, ab: Floats, ba: Floats | None
) -> tuple[Floats, Floats, Floats, Floats | None, Floats]:
    """The rows less their common mean, a and b (..., n, 1), and each pair's part in V (..., n, 1).

    V is the variance of all rows that are independent of each other in a pair, two at a time: a and
    b alone, or with `ba` also every ab_i and ba_i, as half of their squared difference. Without
    `ba` it is that of a and b around their mean, which is what is usually meant.
    """
    a, b = a[..., None], b[..., None]
    # Less one value first: where all are equal, nothing is left for the mean to round.
    origin = a[..., :1, :]
    a, b, ab, ba = a - origin, b - origin, ab - origin, None if ba is None else ba - origin
    mean = (a.mean(axis=-2, keepdims=True) + b.mean(axis=-2, keepdims=True)) / 2 if a.size else 0.0
    a, b, ab = a - mean, b - mean, ab - mean
    if ba is None:
        return a, b, ab, None, (a**2 + b**2) / 2
    ba = ba - mean
    apart = np.concatenate([a - b, ab - ba], axis=-1)
    return a, b, ab, ba, (apart**2).mean(axis=-1, keepdims=True) / 2


def _both(forward: Floats, reverse: Floats | None) -> Floats:
    return forward if reverse is None else (forward + reverse) / 2


def _shares(part: Floats, variance: Floats) -> Interval:
    """The ratio of means over pairs."""
    return ratio_interval(np.moveaxis(part, -2, -1), np.moveaxis(variance, -2, -1))
