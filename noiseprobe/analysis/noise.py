"""How much of a trace is noise, how much is progress, and what batch would tell them apart.

One estimator stands behind every ratio that is reported. It rests on single samples, not on batch
means: the samples of a batch draw every factor independently of each other, so that B samples with
their redraws are B independent repetitions of one experiment, and what another fixed batch would
have said can be told from how they differ.

Sample b has the losses L_bcr at checkpoint c under redraw r. With a bar for means,

    V_f = mean over b and c of Var_r(L_bcr), redraws of f alone: what f adds to a sample's loss
    S   = Var_c(μ_c) with μ_c = E[L_c], all factors drawn: how far training moves the expected loss

and noise-to-signal of a batch of B is √(V_f / B) / √S. With y_b the curve of sample b over
checkpoints, a mean over its draws, less the curve's own mean, S is estimated without bias by what
different samples have in common, Σ_{b≠d} y_b·y_d / (B (B - 1) (C - 1)), a U-statistic (Hoeffding,
Annals of Mathematical Statistics 19, 1948): what one sample does alone, or one fixed batch, is not
taken for progress.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.intervals import log_ratio_interval, spread_interval
from noiseprobe.analysis.losses import (
    batch_losses,
    by_replicate,
    deterministic_losses,
    settings_in_order,
)
from noiseprobe.draws.factors import parse_setting

Floats = NDArray[np.float64]


def noise_to_signal(probe: pd.DataFrame) -> pd.DataFrame:
    """How large the noise of each setting is beside the progress of the expected loss.

    One row per non-deterministic setting, in canonical order (index `setting`), with the columns

    - `noise`: √(V_f / B), the standard deviation that redraws add to the mean loss of a batch
    - `signal`: √S, the standard deviation over checkpoints of the expected loss
    - `noise_to_signal`: noise / signal; above 1 the noise hides the progress. NaN where the samples
      cannot tell: where S, or S without some sample, is not above 0
    - `low`, `high`: its 95% interval over redraws *and* over the choice of the fixed batch
      (`noiseprobe.analysis.intervals.log_ratio_interval`). It held the truth in 92 to 97% of
      simulations, and of other fixed batches of the bundled model in 94 to 96% for images,
      timesteps and noise. A factor whose noise comes from rare samples is another matter, the VAE's
      noise above all (66%): a batch that lacks them cannot know, and the interval ends too low
      (experiments/noise_to_signal/RESULTS.md). Where the ratio is NaN, `low` still bounds it from
      below, and `high` is inf

    The expected loss is estimated from the draws of the setting that redraws most, `original` where
    it was probed, and the fixed ones. Steps without any finite loss are left out, as after a
    training has diverged; then replicates that were not measured, finite, for every sample and
    step. The noise is NaN with fewer than 2 of them; the signal with fewer than 2 steps or samples.

    Examples:
        >>> from noiseprobe import Run
        >>> table = noise_to_signal(Run.open("runs/dog").probe_trace())  # doctest: +SKIP
        >>> table["noise_to_signal"].idxmax()  # doctest: +SKIP
        'timesteps'
    """
    rows = {
        setting: (found.noise, found.signal, *found.ratio)
        for setting, found in _parts(probe).items()
    }
    return _table(rows, ["noise", "signal", "noise_to_signal", "low", "high"])


def fewest_redraws(probe: pd.DataFrame) -> int:
    """How many redraws the setting has that has the fewest; 0 where nothing was redrawn."""
    redrawn = probe[probe["setting"] != "deterministic"].groupby("setting")["replicate"].nunique()
    return int(redrawn.min()) if len(redrawn) else 0


def signal_to_noise(probe: pd.DataFrame) -> pd.DataFrame:
    """The same, as the share of a trace that is progress, and the batch that its noise would need.

    One row per non-deterministic setting (index `setting`), with the columns

    - `signal`, `noise`: as in `noise_to_signal`
    - `progress`: signal² / (signal² + noise²), the share of a trace's variation that is progress,
      where every step redraws the setting
    - `batch`: the samples of a batch, B
    - `needed_batch`: V_f / S = B noise_to_signal²: where noise and progress are equal; inf where
      there is no signal
    - `needed_low`, `needed_high`: its 95% interval
    - `independence`: Var_r(batch mean) / noise²: 1 where the samples of a batch are independent, B
      where all of them share one redraw. With independent samples it strays from 1 by about
      2 √(2 / (R - 1)).
    """
    rows = {}
    for setting, found in _parts(probe).items():
        noise, signal = found.noise, found.signal
        ratio = noise**2 / signal**2 if signal > 0 else math.inf if noise > 0 else math.nan
        whole = signal**2 + noise**2
        progress = signal**2 / whole if whole > 0 else math.nan
        ends = (found.batch * end**2 for end in found.ratio[1:])
        rows[setting] = (
            *(signal, noise, progress, found.batch),
            *(found.batch * (math.nan if math.isnan(signal) else ratio), *ends),
            found.independence,
        )
    columns = ["signal", "noise", "progress", "batch"]
    columns += ["needed_batch", "needed_low", "needed_high", "independence"]
    return _table(rows, columns)


def published_noise_to_signal(probe: pd.DataFrame) -> pd.DataFrame:
    """Noise-to-signal as published: of one fixed batch, which chance may have made.

    Columns as in `noise_to_signal`: `noise` is the standard deviation over replicates of the batch
    loss, averaged over checkpoints; `signal` is that over checkpoints of the loss of the probe's
    fixed batch (both with ddof 1). Voronov et al. 2023, section 4, show the two as curves.

    Beware: the signal holds what this fixed batch does alone, and none of the interval, which is
    that of the noise (`noiseprobe.analysis.intervals.spread_interval`). On the bundled model, 95%
    of other fixed batches of 32 give signals between 0.0008 and 0.0054
    (experiments/noise_to_signal/RESULTS.md); `noise_to_signal` is the one to report.

    NaN marks what is undefined: a noise with fewer than 2 replicates at every checkpoint; a signal
    with fewer than 2 checkpoints, without the setting `deterministic`, or without any change.
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


@dataclass(frozen=True)
class _Parts:
    """What is known of one setting; `ratio` is noise-to-signal with its interval."""

    noise: float
    signal: float
    ratio: tuple[float, float, float]
    batch: float
    independence: float


def _parts(probe: pd.DataFrame) -> dict[str, _Parts]:
    """The estimates of each redrawn setting, all beside one signal."""
    settings = _redrawn(probe)
    finite = np.isfinite(probe["loss"].astype("float64"))
    probe = probe[probe["step"].isin(probe.loc[finite, "step"].unique())]
    cubes = {setting: _losses(probe, setting) for setting in ["deterministic", *settings]}
    curves = _curves(cubes)
    signal, signals = _signal(curves.to_numpy())
    found = {}
    for setting in settings:
        samples, losses = cubes[setting]
        size = len(samples)
        known = losses.shape[2] > 1 and size > 0
        each = losses.var(axis=2, ddof=1).mean(axis=1) if known else np.full(size, np.nan)
        variance = float(each.mean()) / size if known else math.nan
        ratio = (math.nan, math.nan, math.nan)
        if known and size > 1 and samples.equals(curves.index):
            variances = (each.sum() - each) / (size - 1)
            ratio = log_ratio_interval(size * variance, variances, signal, signals)
        spread = losses.mean(axis=0).var(axis=1, ddof=1).mean() if known else math.nan
        found[setting] = _Parts(
            noise=math.sqrt(variance),
            signal=math.sqrt(max(signal, 0.0)),
            ratio=tuple(math.sqrt(max(end, 0.0) / size) for end in ratio),  # type: ignore[arg-type]
            batch=float(size) if size else math.nan,
            independence=float(spread / variance) if variance > 0 else math.nan,
        )
    return found


def _losses(probe: pd.DataFrame, setting: str) -> tuple[pd.Index, Floats]:
    """The samples, and their losses (samples, steps, replicates) where all of these are finite."""
    chosen = probe[probe["setting"] == setting]
    loss = chosen["loss"].astype("float64")
    table = chosen.assign(loss=loss.where(np.isfinite(loss))).pivot(
        index=["sample", "step"], columns="replicate", values="loss"
    )
    samples, steps = (table.index.unique(level) for level in ("sample", "step"))
    every = pd.MultiIndex.from_product([samples, steps])
    table = table.reindex(every).dropna(axis="columns")
    return samples, table.to_numpy().reshape(len(samples), len(steps), table.shape[1])


def _curves(cubes: Mapping[str, tuple[pd.Index, Floats]]) -> pd.DataFrame:
    """The mean loss of each sample (rows) at each step, over draws of as many factors as any.

    The fixed draws are one more replicate of every setting.
    """
    redraws = {
        name: len(parse_setting(name).redrawn) for name, (_, each) in cubes.items() if each.size
    }
    most = [cubes[name] for name, count in redraws.items() if count == max(redraws.values())]
    fixed_samples, fixed = cubes["deterministic"]
    means = []
    for samples, losses in most:
        if (
            losses is not fixed
            and fixed.shape[:2] == losses.shape[:2]
            and samples.equals(fixed_samples)
        ):
            losses = np.concatenate([fixed, losses], axis=2)
        means.append(pd.DataFrame(losses.mean(axis=2), samples))
    alike = [
        each for each in means if each.index.equals(means[0].index) and each.shape == means[0].shape
    ]
    return sum(alike[1:], alike[0]) / len(alike) if alike else pd.DataFrame()


def _signal(curves: Floats) -> tuple[float, Floats]:
    """S from the curves (samples, steps), and S without each sample; NaN with fewer than 2."""
    samples, steps = curves.shape
    if samples < 2 or steps < 2:
        return math.nan, np.full(samples, np.nan)
    away = curves - curves.mean(axis=1, keepdims=True)
    whole, own = away.sum(axis=0), (away**2).sum(axis=1)
    pairs, fewer = samples * (samples - 1), (samples - 1) * (samples - 2)
    signal = ((whole**2).sum() - own.sum()) / (pairs * (steps - 1))
    rest = ((whole - away) ** 2).sum(axis=1) - (own.sum() - own)
    without = rest / (fewer * (steps - 1)) if fewer else np.full(samples, np.nan)
    return float(signal), without


def _redrawn(probe: pd.DataFrame) -> list[str]:
    return [setting for setting in settings_in_order(probe) if setting != "deterministic"]


def _table(rows: Mapping[str, tuple[float, ...]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(dict(rows), orient="index", columns=columns, dtype="float64")
    return table.rename_axis(index="setting")
