"""The loss by timestep: where the fine-tune has learned, and where it still does.

The mean over all timesteps is ruled by the few with large losses. A draw keeps its photograph,
caption, noises and timestep at every checkpoint, so that changes are compared draw by draw, and
what the draws differ by cancels.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr

from noiseprobe.analysis.intervals import mean_interval, ratio_interval

Floats = NDArray[np.float64]

BINS = 10
"""Bins of equal width, from the least noise to the most."""

SIGNIFICANCE = 0.05
"""The chance that any bin at all is called learning where none is."""


def timestep_losses(
    probe: pd.DataFrame,
    sobol: pd.DataFrame | None = None,
    *,
    bins: int = BINS,
    num_timesteps: int = 1000,
) -> pd.DataFrame:
    """The loss in bins of timesteps at each checkpoint, and its change since the first.

    Args:
        probe: the probe trace. Of its settings that redraw timesteps the first of `original`,
            `timesteps` and others by name is used.
        sobol: the trace of the Sobol design, whose rows A and B are draws of `original` as well.
        bins: how many, of equal width over `num_timesteps`.

    Returns:
        One row per checkpoint and bin: step, bin (from 0), from, to (timesteps, `to` not
        included), samples (how many draws), loss (their mean), change (mean of loss less that of
        the first checkpoint), change_low, change_high, relative (change / loss at the first),
        relative_low, relative_high: 95% intervals, Student's and Fieller's. Draws that are not
        finite at every checkpoint are left out; a bin without draws is NaN.
    """
    losses, timesteps = paired_draws(probe, sobol)
    number = bin_of(timesteps, bins, num_timesteps)
    rows = []
    for index in range(bins):
        here = losses.to_numpy()[number == index]
        change = here - here[:, :1]
        mean = here.mean(axis=0) if len(here) else np.full(here.shape[1], np.nan)
        intervals = (
            mean_interval(change.T),
            ratio_interval(change.T, here[:, 0]) if len(here) else mean_interval(change.T),
        )
        columns = [each for interval in intervals for each in interval]
        for place, step in enumerate(losses.columns):
            of_bin = (step, index, *edges(index, bins, num_timesteps), len(here), mean[place])
            rows.append((*of_bin, *(column[place] for column in columns)))
    names = ["step", "bin", "from", "to", "samples", "loss", "change", "change_low", "change_high"]
    names += ["relative", "relative_low", "relative_high"]
    return pd.DataFrame(rows, columns=names).sort_values(["step", "bin"], ignore_index=True)


def learning_bins(
    probe: pd.DataFrame,
    sobol: pd.DataFrame | None = None,
    *,
    bins: int = BINS,
    num_timesteps: int = 1000,
) -> pd.DataFrame:
    """Which bins of timesteps the fine-tune is still learning, over the last third of checkpoints.

    For each draw, the change over the last third (of at least 3 checkpoints) is the slope of a
    least-squares line through its losses times the steps that it spans. A bin's mean change is
    tested against 0 by Student's test over its draws, and all bins together by Holm's procedure
    (Scandinavian Journal of Statistics 6, 1979).

    Returns:
        One row per bin: bin, from, to, samples, change, low, high (95%, of this bin alone), p, and
        trend: `falling`, `rising`, or `none` where it is not significant. Empty with fewer than 3
        checkpoints.
    """
    losses, timesteps = paired_draws(probe, sobol)
    number = bin_of(timesteps, bins, num_timesteps)
    steps = losses.columns.to_numpy(dtype="float64")
    names = ["bin", "from", "to", "samples", "change", "low", "high", "p", "trend"]
    if len(steps) < 3:
        return pd.DataFrame(columns=names)
    last = slice(-max(3, -(-len(steps) // 3)), None)
    away = steps[last] - steps[last].mean()
    weights = away / (away**2).sum() * np.ptp(steps[last])
    changes = losses.to_numpy()[:, last] @ weights
    rows = []
    for index in range(bins):
        here = changes[number == index]
        mean, low, high = (float(each) for each in mean_interval(here))
        own = (index, *edges(index, bins, num_timesteps), len(here))
        rows.append((*own, mean, low, high, _p_value(here)))
    table = pd.DataFrame(rows, columns=names[:-1])
    found = holm(table["p"].to_numpy())
    trend = np.where(table["change"] < 0, "falling", "rising")
    return table.assign(trend=np.where(found, trend, "none"))


def bin_of(timesteps: Floats, bins: int, num_timesteps: int) -> NDArray[np.int64]:
    """The bin of each timestep, of `bins` of equal width; that of a flow at its end is the last."""
    return np.minimum(timesteps * bins // num_timesteps, bins - 1).astype(np.int64)


def edges(index: int, bins: int, num_timesteps: int) -> tuple[int, int]:
    """The first timestep of a bin, and the first of the next: t is in bin t · bins // T."""
    return -(-index * num_timesteps // bins), -(-(index + 1) * num_timesteps // bins)


def paired_draws(
    probe: pd.DataFrame, sobol: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, Floats]:
    """The loss of each draw (rows) at each step (columns), and the timestep of each draw.

    Which draws: see `timestep_losses`. Only those that are finite at every step.
    """
    samples = probe[probe["setting"] == _varied(probe)]
    if sobol is not None and len(sobol) and _varied(probe) in ("original", None):
        # The pair's A and B are the replicates 2r - 1 and 2r of `original` (draws/sobol.py).
        whole = sobol[sobol["setting"].isin(["A", "B"])]
        of_b = (whole["setting"] == "B").astype("int64")
        whole = whole.assign(replicate=2 * whole["replicate"] - 1 + of_b)
        samples = pd.concat([samples, whole]) if len(samples) else whole
    samples = samples.drop_duplicates(["step", "replicate", "sample"])
    columns = ["replicate", "sample"]
    losses = samples.pivot(index=columns, columns="step", values="loss").astype("float64")
    losses = losses.loc[np.isfinite(losses.to_numpy()).all(axis=1)]
    timesteps = samples.drop_duplicates(columns).set_index(columns)["timestep"]
    return losses, timesteps.reindex(losses.index).to_numpy(dtype="float64")


def holm(p_values: Floats) -> NDArray[np.bool_]:
    """Which hypotheses Holm's procedure rejects at `SIGNIFICANCE`; NaN never."""
    order = np.argsort(p_values)  # NaN last
    left = np.arange(len(p_values), 0, -1)
    below = p_values[order] * left <= SIGNIFICANCE
    rejected = np.zeros(len(p_values), dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(below)
    return rejected


def _varied(probe: pd.DataFrame) -> str | None:
    """The setting whose draws are used: one in which timesteps are redrawn."""
    held = {str(setting) for setting in probe["setting"].unique()}
    mixed = sorted(setting for setting in held if "timesteps" in setting.split("+"))
    found = [setting for setting in ("original", "timesteps", *mixed) if setting in held]
    return found[0] if found else None


def _p_value(values: Floats) -> float:
    """Student's two-sided test of the mean against 0; NaN where n < 2 or nothing varies."""
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    if not deviation > 0:
        return float("nan")
    score = values.mean() / deviation * np.sqrt(len(values))
    return float(2 * stdtr(len(values) - 1, -abs(score)))
