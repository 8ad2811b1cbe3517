"""Which trace tells what is drawn: rank correlation with CLIP similarity."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.losses import batch_losses
from noiseprobe.analysis.timesteps import bin_of

Floats = NDArray[np.float64]

THIRDS = ("begin", "middle", "end")
"""The thirds of the timesteps, from the least noise to the most."""


RESAMPLES = 1000

FEWEST_POINTS = 8
"""With fewer points a correlation has no interval: resamples would be the same few again."""


def correlations(
    train: pd.DataFrame, probe: pd.DataFrame, num_timesteps: int = 1000, *, seed: int = 0
) -> pd.DataFrame:
    """How well each trace tells the CLIP similarity of what is drawn: Spearman's rank correlation.

    One row per trace that can be compared (index `trace`), with the columns `rho`, NaN where a
    trace does not vary, `points`, the number of steps at which both are known, and `low`, `high`,
    a 95% interval (`block_bootstrap`). The traces are `loss`, `grad_norm` and `l_det` at the steps
    of CLIP checks, and, of another batch than L_det's, `l_det, begin`, `… middle` and `… end`, a
    name that recorded tables have: the loss of the probe's fixed batch, nothing redrawn, over the
    samples whose timestep is in that third, at the probed checkpoints, with the similarity linear
    between checks. A loss that tells falls as similarity rises: its rho is near -1. What is not
    finite is no point, nor is a step at which one of the samples is not.

    Blocks keep neighbouring steps together; they do not take out a trend that two series have in
    common with anything that grows: two random walks of 20 points exclude 0 in some 3 of 10.
    """
    checks = train[np.isfinite(train["clip_img"].astype("float64"))]
    rows = {}
    for column in ("loss", "grad_norm", "l_det"):
        both = checks[["clip_img", column]]
        both = both[np.isfinite(both.to_numpy("float64")).all(axis=1)]
        if len(both) > 2:
            rows[column] = _told(both[column].to_numpy(), both["clip_img"].to_numpy(), seed)
    fixed = probe[probe["setting"] == "deterministic"]
    third = pd.Series(bin_of(fixed["timestep"].to_numpy(), 3, num_timesteps), fixed.index)
    for number, name in enumerate(THIRDS):
        losses = batch_losses(fixed[third == number]).set_index("step")["loss"].dropna()
        if len(losses) > 2 and len(checks) > 1:
            similarity = np.interp(losses.index, checks["step"], checks["clip_img"])
            rows[f"l_det, {name}"] = _told(losses.to_numpy(), similarity, seed)
    columns = ["rho", "points", "low", "high"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    types = dict.fromkeys(columns, "float64") | {"points": "int64"}
    return table.astype(types).rename_axis(index="trace")


def block_length(points: int) -> int:
    """How many neighbouring steps stay together on average: the cube root of how many there are.

    That is the rate at which the error of a block bootstrap of a variance is least (Künsch, Annals
    of Statistics 17, 1989).
    """
    return max(1, round(points ** (1 / 3)))


def block_bootstrap(
    first: Floats,
    second: Floats,
    *,
    resamples: int = RESAMPLES,
    length: int | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """The 2.5% and 97.5% quantiles of Spearman's rho when steps are drawn anew in blocks.

    Neighbouring steps are not independent, so that single steps drawn anew would look more certain
    than they are. Blocks of both series begin anywhere, wrap around the end, and have a random
    length of mean `length` (default: `block_length`), geometrically distributed: the stationary
    bootstrap (Politis & Romano, Journal of the American Statistical Association 89, 1994). NaN
    where there are fewer than `FEWEST_POINTS` or a series does not vary.

    Args:
        first, second: (n,), in the order of steps.
    """
    count = len(first)
    if count < FEWEST_POINTS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    begins = random.random((resamples, count)) < 1 / (length or block_length(count))
    begins[:, 0] = True
    places = np.arange(count)
    latest = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    starts = random.integers(0, count, (resamples, count))
    chosen = (np.take_along_axis(starts, latest, axis=1) + places - latest) % count
    found = _spearman(first[chosen], second[chosen])
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def _told(first: Floats, second: Floats, seed: int) -> tuple[float, int, float, float]:
    rho = float(_spearman(first[None], second[None])[0])
    return rho, len(first), *block_bootstrap(first, second, seed=seed)


def _spearman(first: Floats, second: Floats) -> Floats:
    """Pearson's correlation of the ranks of each row, ties sharing theirs; NaN where constant."""
    one, other = (pd.DataFrame(each).rank(axis=1).to_numpy() for each in (first, second))
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return (one * other).sum(axis=1) / np.where(size > 0, size, np.nan)
