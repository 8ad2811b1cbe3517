"""Which trace tells what is drawn: rank correlation with CLIP similarity."""

import math

import numpy as np
import pandas as pd

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
