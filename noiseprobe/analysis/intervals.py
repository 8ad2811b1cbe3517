"""95% intervals in closed form, for the two shapes that noise has: a ratio of means, and a spread.

Bootstrapping percentiles is not among them: over few redraws it promises 95% and keeps 80%
(experiments/shares/RESULTS.md).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, gammaln, stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95
"""How often an interval covers the truth."""

_UPPER = 1 - (1 - LEVEL) / 2


def mean_interval(values: Floats) -> tuple[Floats, Floats, Floats]:
    """The mean over the last axis, and Student's interval around it; NaN where n < 2."""
    count = values.shape[-1]
    if count == 0:
        unknown = np.full(values.shape[:-1], np.nan)
        return unknown, unknown, unknown
    mean = values.mean(axis=-1)
    if count < 2:
        return mean, np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    reach = stdtrit(count - 1, _UPPER) * values.std(axis=-1, ddof=1) / np.sqrt(count)
    return mean, mean - reach, mean + reach


def ratio_interval(numerator: Floats, denominator: Floats) -> tuple[Floats, Floats, Floats]:
    """The ratio of two means, and Fieller's interval for it (Fieller, JRSS B 16, 1954).

    The interval holds every θ for which the mean of u - θ v is not significantly different from 0
    by Student's test: no ratio is ever expanded into a series, so that it also holds for a
    denominator that is known badly. It is unbounded where the denominator itself may be 0.

    Args:
        numerator: u, (..., n): what n independent repetitions contribute.
        denominator: v, (..., n), or of a shape that broadcasts to it.

    Returns:
        Estimate, low and high, (...) each; -inf and inf where unbounded; NaN where n < 2 or the
        denominator is 0 throughout.
    """
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    count = numerator.shape[-1]
    if count < 2:
        unknown = np.full(numerator.shape[:-1], np.nan)
        return unknown, unknown, unknown
    u, v = numerator.mean(axis=-1), denominator.mean(axis=-1)
    away_u, away_v = numerator - u[..., None], denominator - v[..., None]
    reach = stdtrit(count - 1, _UPPER) ** 2 / (count * (count - 1))
    squared = v**2 - reach * (away_v**2).sum(axis=-1)
    linear = u * v - reach * (away_u * away_v).sum(axis=-1)
    constant = u**2 - reach * (away_u**2).sum(axis=-1)
    root = np.sqrt(np.maximum(linear**2 - squared * constant, 0.0))
    bounded, known = squared > 0, v != 0
    divisor = np.where(bounded, squared, 1.0)
    low = np.where(bounded, (linear - root) / divisor, -np.inf)
    high = np.where(bounded, (linear + root) / divisor, np.inf)
    ratio = u / np.where(known, v, np.nan)
    return ratio, np.where(known, low, np.nan), np.where(known, high, np.nan)


def log_ratio_interval(
    numerator: float, numerators: Floats, denominator: float, denominators: Floats
) -> tuple[float, float, float]:
    """A ratio of two variances, and its interval by the jackknife of its logarithm.

    Variances are skewed and their logarithms much less so: with the n pseudo-values
    n log θ - (n - 1) log θ_(-i) of the ratio θ, Student's interval around log θ is symmetric there
    (Tukey 1958; Arvesen, Annals of Mathematical Statistics 40, 1969, for U-statistics).

    Args:
        numerator, denominator: the two estimates, of n independent repetitions.
        numerators, denominators: the same without each of the repetitions, (n,).

    Returns:
        Estimate, low and high; 0 for all of them where the numerator is 0 throughout. Where the
        denominator, or one without some repetition, is not above 0, it may be 0 and the estimate is
        NaN: low is then Fieller's (`ratio_interval`, of both jackknives' pseudo-values) and high
        inf. NaN where n < 3 or something is not known.
    """
    count = len(numerators)
    known = np.isfinite([numerator, denominator, *numerators, *denominators]).all()
    if count < 3 or not known:
        return np.nan, np.nan, np.nan
    if not np.any(numerators > 0):
        return (0.0, 0.0, 0.0) if denominator > 0 else (np.nan, 0.0, np.inf)
    _, low, high = ratio_interval(
        count * numerator - (count - 1) * numerators,
        count * denominator - (count - 1) * denominators,
    )
    if denominator <= 0 or np.any(denominators <= 0):
        return np.nan, max(float(low), 0.0), np.inf
    if np.any(numerators <= 0):
        return numerator / denominator, 0.0, float(high)
    centre = np.log(numerator / denominator)
    pseudo = count * centre - (count - 1) * np.log(numerators / denominators)
    reach = stdtrit(count - 1, _UPPER) * pseudo.std(ddof=1) / np.sqrt(count)
    return (
        float(np.exp(centre)),
        float(np.exp(centre - reach)),
        float(np.exp(centre + reach)),
    )


def spread_interval(redraws: Floats) -> tuple[Floats, Floats, Floats]:
    """The standard deviation over replicates, averaged over checkpoints, and its interval.

    A replicate keeps its draw at all checkpoints, so that their C standard deviations s are not
    independent: for normal losses Cov(s_c, s_d) ≈ s_c s_d ρ_cd² / (2 (R - 1)), with ρ_cd the
    correlation over replicates. The average thus has the relative variance of one standard
    deviation with

        f = (R - 1) (Σ s_c)² / Σ Σ s_c s_d ρ_cd²

    degrees of freedom (Satterthwaite's way), and f s²/σ² is nearly χ²_f; exactly so where all ρ are
    1. ρ² is taken less what chance alone gives, 1/(R - 1). A standard deviation of R values lies
    below the truth by c4(R - 1) = E[χ]/√(R - 1), and so does their average: the interval, not the
    estimate, is mended by c4(f)/c4(R - 1).

    Args:
        redraws: the batch losses, (..., C, R); NaN where one was not measured.

    Returns:
        Estimate, low and high, (...) each. A checkpoint with fewer than 2 finite losses is left
        out; NaN where none is left.
    """
    finite = np.isfinite(redraws)
    counts = finite.sum(axis=-1)
    centre = np.where(finite, redraws, 0.0).sum(axis=-1) / np.maximum(counts, 1)
    away = np.where(finite, redraws - centre[..., None], 0.0)
    measured = counts >= 2
    freedom = np.where(measured, counts - 1.0, 1.0)
    deviation = np.sqrt((away**2).sum(axis=-1) / freedom) * measured
    checkpoints = measured.sum(axis=-1)
    known = checkpoints > 0
    average = deviation.sum(axis=-1) / np.maximum(checkpoints, 1)
    estimate = np.where(known, average, np.nan)
    size = np.where(deviation > 0, deviation * np.sqrt(freedom), 1.0)
    alike = np.einsum("...cr,...dr->...cd", away / size[..., None], away / size[..., None]) ** 2
    # With two replicates every correlation is ±1: nothing is learned from more checkpoints.
    chance = 1 / np.maximum(np.minimum(freedom[..., :, None], freedom[..., None, :]), 1.0)
    corrected = np.clip((alike - chance) / np.where(chance < 1, 1 - chance, 1.0), 0.0, 1.0)
    shared = np.where(chance < 1, corrected, 1.0)
    index = np.arange(redraws.shape[-2])
    shared[..., index, index] = 1.0
    total = deviation.sum(axis=-1)
    mixed = np.einsum("...c,...cd,...d->...", deviation, shared, deviation)
    usual = (freedom * measured).sum(axis=-1) / np.maximum(checkpoints, 1)
    usual = np.maximum(usual, 1.0)
    f = usual * np.where(mixed > 0, total**2 / np.where(mixed > 0, mixed, 1.0), 1.0)
    centred = estimate * np.exp(_log_c4(f) - _log_c4(usual))
    low = centred * np.sqrt(f / chdtri(f, 1 - _UPPER))
    high = centred * np.sqrt(f / chdtri(f, _UPPER))
    return estimate, low, high


def _log_c4(freedom: Floats) -> Floats:
    """log of E[s]/σ for a standard deviation of normal values with these degrees of freedom."""
    return 0.5 * np.log(2 / freedom) + gammaln((freedom + 1) / 2) - gammaln(freedom / 2)
