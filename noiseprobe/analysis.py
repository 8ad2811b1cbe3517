"""Statistics over a probe trace: batch losses, and how much noise each factor adds to progress.

Every function takes the probe trace (`noiseprobe.traces.PROBE_COLUMNS`) and returns labelled data.
Losses are in the units of the training objective; the noise-to-signal ratio has no unit. A batch
with a loss that is not finite was not measured: its mean is NaN and no statistic counts it.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.errors import UserError
from noiseprobe.factors import NAMED_SETTINGS


def settings_in_order(probe: pd.DataFrame) -> list[str]:
    """The settings that `probe` holds: the named ones in canonical order, then others by name."""
    present = {str(setting) for setting in probe["setting"].unique()}
    named = [setting.name for setting in NAMED_SETTINGS if setting.name in present]
    return named + sorted(present.difference(named))


def batch_losses(probe: pd.DataFrame) -> pd.DataFrame:
    """The mean loss of each evaluated batch: columns step, setting, replicate, loss (float64).

    One row per (step, setting, replicate) of `probe`, sorted by them. The mean is NaN where any
    sample's loss is NaN or infinite: a mean over the samples that are left would be another batch.
    """
    key = ["step", "setting", "replicate"]
    loss = probe["loss"].astype("float64")
    samples = probe[key].assign(loss=loss.where(np.isfinite(loss)))
    groups = samples.groupby(key, sort=True)["loss"]
    return groups.mean().where(groups.count() == groups.size()).reset_index()


def deterministic_losses(probe: pd.DataFrame) -> pd.Series:
    """L_det by step: the batch losses of the setting `deterministic`; empty if not probed."""
    losses = batch_losses(probe)
    fixed = losses[losses["setting"] == "deterministic"]
    return pd.Series(fixed["loss"].to_numpy(), fixed["step"].to_numpy(), name="deterministic")


def as_seen(probe: pd.DataFrame, setting: str) -> pd.Series:
    """The batch loss by step as a user sees it who redraws `setting` at each evaluation.

    At the i-th checkpoint (from 0) this is replicate 1 + (i mod R), with R the number of
    replicates; for `deterministic` it is always the one fixed draw. NaN where a checkpoint lacks
    that replicate.

    Raises:
        UserError: `probe` does not hold `setting`.
    """
    losses = batch_losses(probe)
    redraws = _by_replicate(losses, setting)
    if redraws.empty:
        held = ", ".join(settings_in_order(probe)) or "none"
        raise UserError(f"setting {setting!r} is not in the probe trace; probed settings: {held}")
    steps, replicates = redraws.shape
    turn = np.arange(steps) % replicates
    return pd.Series(redraws.to_numpy()[np.arange(steps), turn], redraws.index, name=setting)


def noise_to_signal(probe: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How large the noise of each setting is beside the progress that L_det shows.

    One row per non-deterministic setting, in canonical order (index `setting`), with the columns

    - `noise`: the standard deviation over replicates of the batch loss, averaged over checkpoints
    - `signal`: the standard deviation over checkpoints of the deterministic batch loss
    - `noise_to_signal`: noise / signal; above 1 the noise hides the progress
    - `low`, `high`: the 2.5% and 97.5% quantiles of noise_to_signal over `resamples` bootstraps

    Both standard deviations estimate that of a population from a sample (ddof 1). The bootstrap
    draws replicates with replacement, the same ones at every checkpoint, because a replicate keeps
    its draw during the whole run. A resample repeats replicates and so has on average only
    (R - 1)/R of the variance; each is scaled back by R/(R - 1), else the interval would lie below
    its estimate (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, §10.3). The signal is
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
    for setting in settings_in_order(probe):
        if setting == "deterministic":
            continue
        redraws = _by_replicate(losses, setting).dropna(axis="columns", how="all").to_numpy()
        noise = float(_noise(redraws, np.ones((1, redraws.shape[1])))[0])
        # Seeded anew, so that a setting's interval does not depend on which others were probed.
        spread = _bootstrap(redraws, resamples, np.random.default_rng(seed))
        low, high = np.quantile(spread, [0.025, 0.975]) if spread.size else (math.nan, math.nan)
        rows[setting] = (noise, signal, noise / divisor, low / divisor, high / divisor)
    columns = ["noise", "signal", "noise_to_signal", "low", "high"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype="float64")
    return table.rename_axis(index="setting")


THIRDS = ("begin", "middle", "end")
"""The thirds of the timesteps, from the least noise to the most."""


def correlations(
    train: pd.DataFrame, probe: pd.DataFrame, num_timesteps: int = 1000
) -> pd.DataFrame:
    """How well each trace tells the CLIP similarity of what is drawn: Spearman's rank correlation.

    One row per trace that can be compared (index `trace`), with the columns `rho`, NaN where a
    trace does not vary, and `points`, the number of steps at which both are known. The traces are
    `loss`, `grad_norm` and `l_det` at the steps of CLIP checks, and `l_det, begin`, `… middle` and
    `… end`: the loss of the fixed batch's samples whose timestep is in that third, at the probed
    checkpoints, with the similarity linear between checks. A loss that tells falls as similarity
    rises: its rho is near -1.
    """
    checks = train[train["clip_img"].notna()]
    rows = {}
    for column in ("loss", "grad_norm", "l_det"):
        both = checks[["clip_img", column]].dropna()
        if len(both) > 2:
            rows[column] = _spearman(both[column], both["clip_img"])
    fixed = probe[probe["setting"] == "deterministic"]
    third = (fixed["timestep"] * 3 // num_timesteps).clip(0, 2)
    for number, name in enumerate(THIRDS):
        losses = fixed[third == number].groupby("step")["loss"].mean().dropna()
        if len(losses) > 2 and len(checks) > 1:
            similarity = np.interp(losses.index, checks["step"], checks["clip_img"])
            rows[f"l_det, {name}"] = _spearman(losses, pd.Series(similarity, losses.index))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["rho", "points"])
    return table.astype({"rho": "float64", "points": "int64"}).rename_axis(index="trace")


def _spearman(values: pd.Series, others: pd.Series) -> tuple[float, int]:
    """Pearson's correlation of the ranks, ties sharing theirs; NaN where either is constant."""
    first, second = values.rank(), others.rank()
    if first.nunique() < 2 or second.nunique() < 2:
        return math.nan, len(values)
    return float(np.corrcoef(first, second)[0, 1]), len(values)


def _by_replicate(losses: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The batch losses of `setting`: one row per step, one column per replicate, both sorted."""
    chosen = losses[losses["setting"] == setting]
    return chosen.pivot(index="step", columns="replicate", values="loss")


def _bootstrap(
    redraws: NDArray[np.float64], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """The noise in up to `resamples` draws of R replicates from the R measured, (resamples,).

    Resamples whose noise is undefined are left out; with one replicate, all of them.
    """
    replicates = redraws.shape[1]
    if replicates < 2:
        return np.empty(0)
    counts = generator.multinomial(replicates, np.full(replicates, 1 / replicates), resamples)
    noise = _noise(redraws, counts.astype("float64")) * np.sqrt(replicates / (replicates - 1))
    return noise[np.isfinite(noise)]


def _noise(redraws: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard deviation (ddof 1) over replicates, averaged over checkpoints, (B,).

    `redraws` is (checkpoints, R); `counts` is (B, R), how often each replicate is counted. A
    checkpoint with fewer than 2 finite counted losses is left out; NaN where none is left.
    """
    finite = np.isfinite(redraws)
    known = finite.sum(axis=1, keepdims=True)
    centre = np.where(finite, redraws, 0.0).sum(axis=1, keepdims=True) / np.maximum(known, 1)
    # Squares of centred values: losses that differ in their last digits keep those digits.
    centred = np.where(finite, redraws - centre, 0.0)
    size = counts @ finite.T.astype("float64")
    mean = counts @ centred.T / np.maximum(size, 1)
    squares = counts @ (centred**2).T - size * mean**2
    measured = size >= 2
    deviation = np.sqrt(np.maximum(squares, 0.0) / np.maximum(size - 1, 1)) * measured
    checkpoints = measured.sum(axis=1)
    average = deviation.sum(axis=1) / np.maximum(checkpoints, 1)
    return np.where(checkpoints > 0, average, np.nan)
