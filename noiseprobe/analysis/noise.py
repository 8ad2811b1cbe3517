"""How much of each trace is noise, how much is progress, and what batch would tell them apart."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.intervals import spread_interval
from noiseprobe.analysis.losses import (
    batch_losses,
    by_replicate,
    deterministic_losses,
    settings_in_order,
)


def noise_to_signal(probe: pd.DataFrame) -> pd.DataFrame:
    """How large the noise of each setting is beside the progress where nothing is redrawn.

    One row per non-deterministic setting, in canonical order (index `setting`), with the columns

    - `noise`: the standard deviation over replicates of the batch loss, averaged over checkpoints
    - `signal`: the standard deviation over checkpoints of the loss of the probe's fixed batch
    - `noise_to_signal`: noise / signal; above 1 the noise hides the progress
    - `low`, `high`: its 95% interval (`noiseprobe.analysis.intervals.spread_interval`)

    The progress, here and in every ratio that is reported, is that of the probe's fixed batch and
    not of L_det: redraws are random draws, and so this batch is one of the same kind, while L_det
    is tracked on a stratified batch because that is steadier.

    Both standard deviations estimate that of a population from a sample (ddof 1). The signal is
    held as measured: the interval tells what other redraws would have given for the same run.

    NaN marks what is undefined: a noise with fewer than 2 replicates at every checkpoint; a signal
    with fewer than 2 checkpoints, without the setting `deterministic`, or without any change.

    Example:
        >>> table = noise_to_signal(read_trace(run / "traces" / "probe", PROBE_COLUMNS))
        >>> table["noise_to_signal"].idxmax()
        'timesteps'
    """
    losses = batch_losses(probe)
    signal = float(deterministic_losses(probe).std(ddof=1))
    divisor = signal if signal > 0 else math.nan
    rows = {}
    for setting in _redrawn(probe):
        redraws = by_replicate(losses, setting).to_numpy(dtype="float64")
        noise, low, high = (float(each) for each in spread_interval(redraws))
        rows[setting] = (noise, signal, noise / divisor, low / divisor, high / divisor)
    return _table(rows, ["noise", "signal", "noise_to_signal", "low", "high"])


def signal_to_noise(probe: pd.DataFrame) -> pd.DataFrame:
    """How much of each setting's trace is progress, and the batch that its noise would need.

    A loss under a setting is split by step c and replicate r, L_cr = μ + α_c + β_r + γ_cr, a
    two-way analysis of variance without repetition. Of a trace as a user sees it, with a fresh
    redraw at each step, α is the progress and β + γ the noise. One row per non-deterministic
    setting (index `setting`), with the columns

    - `signal`: √Var(α): the standard deviation over steps of the replicates' mean, less what
      their redraws add to it, MS(γ)/R; 0 where that is more than all
    - `noise`: √Var(β + γ) = √(mean Var(sample) / B), from each sample's variance over replicates,
      averaged over samples and steps: samples are drawn independently of each other, so that a few
      redraws tell it B times as well as the R means of batches would
    - `progress`: signal² / (signal² + noise²), the share of the trace's variation that is progress
    - `batch`: the samples of a batch, B, where all batches have as many; else NaN
    - `needed_batch`: mean Var(sample) / signal²: where noise and progress are equal; inf where
      there is no signal
    - `independence`: Var(batch mean) / noise², over replicates: 1 where the samples of a batch are
      independent, B where all of them share one redraw. With independent samples it strays from 1
      by about 2 √(2 / (R - 1)).

    Uses only batches that are finite, and replicates that were measured at every step. NaN where
    there are fewer than 2 of them or of the steps. Variances have ddof 1.
    """
    losses = batch_losses(probe)
    rows = {}
    for setting in _redrawn(probe):
        redraws = by_replicate(losses, setting).dropna(axis="columns")
        signal = _signal(redraws.to_numpy(dtype="float64"))
        chosen = probe[probe["setting"] == setting]
        batch, variance = _of_samples(chosen[chosen["replicate"].isin(redraws.columns)])
        noise = math.sqrt(variance) if not math.isnan(signal) else math.nan
        ratio = noise**2 / signal**2 if signal > 0 else math.inf if noise > 0 else math.nan
        whole = signal**2 + noise**2
        progress = signal**2 / whole if whole > 0 else math.nan
        means = float(redraws.var(axis="columns", ddof=1).mean())
        independence = means / variance if variance > 0 else math.nan
        rows[setting] = (signal, noise, progress, batch, batch * ratio, independence)
    columns = ["signal", "noise", "progress", "batch", "needed_batch", "independence"]
    return _table(rows, columns)


def _redrawn(probe: pd.DataFrame) -> list[str]:
    return [setting for setting in settings_in_order(probe) if setting != "deterministic"]


def _table(rows: Mapping[str, tuple[float, ...]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(dict(rows), orient="index", columns=columns, dtype="float64")
    return table.rename_axis(index="setting")


def _signal(losses: NDArray[np.float64]) -> float:
    """√Var(α) of the batch losses (C, R); NaN with fewer than 2 of either."""
    steps, replicates = losses.shape
    if steps < 2 or replicates < 2:
        return math.nan
    by_step, by_redraw = losses.mean(axis=1, keepdims=True), losses.mean(axis=0, keepdims=True)
    rest = losses - by_step - by_redraw + losses.mean()
    interaction = (rest**2).sum() / ((steps - 1) * (replicates - 1))
    between = by_step.var(ddof=1) - interaction / replicates
    return math.sqrt(max(between, 0.0))


def _of_samples(samples: pd.DataFrame) -> tuple[float, float]:
    """The batch size B, and the variance of a batch's mean that its samples' variances make."""
    sizes = samples.groupby(["step", "replicate"]).size()
    batch = float(sizes.iloc[0]) if sizes.nunique() == 1 else math.nan
    loss = samples["loss"].astype("float64")
    each = loss.groupby([samples["step"], samples["sample"]]).var(ddof=1).groupby("step")
    return batch, float((each.mean() / each.size()).mean())
