"""What a probe trace says: batch losses, with nothing redrawn, and as a user would see them.

Every function takes the probe trace (`noiseprobe.run.traces.PROBE_COLUMNS`) and returns labelled
data. Losses are in the units of the training objective. A batch with a loss that is not finite was
not measured: its mean is NaN and no statistic counts it.
"""

import numpy as np
import pandas as pd

from noiseprobe.core.errors import UserError
from noiseprobe.draws.factors import NAMED_SETTINGS


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
    """The loss of the probe's fixed batch by step, nothing redrawn; empty if not probed."""
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
    redraws = by_replicate(losses, setting)
    if redraws.empty:
        held = ", ".join(settings_in_order(probe)) or "none"
        raise UserError(f"setting {setting!r} is not in the probe trace; probed settings: {held}")
    steps, replicates = redraws.shape
    turn = np.arange(steps) % replicates
    return pd.Series(redraws.to_numpy()[np.arange(steps), turn], redraws.index, name=setting)


def by_replicate(losses: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The batch losses of `setting`: one row per step, one column per replicate, both sorted."""
    chosen = losses[losses["setting"] == setting]
    return chosen.pivot(index="step", columns="replicate", values="loss")
