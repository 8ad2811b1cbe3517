"""What each form does on batches of a pool, by what the whole pool knows."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from experiments.turn.forms import FORMS, NOT, TURN, Floats, Whole, flips
from experiments.turn.pools import Pool, batches

BATCHES, FLIPPED = 200, 25
CONFIDENCE = 0.95
SIZES = (16, 32)
PASSING = 0.02
"""A later fall by more than this share of the whole gain makes a stop an early one."""


def measured(pool: Pool) -> pd.DataFrame:
    """One row per layout, size and form.

    Columns: `level`, the share of batches on which it fires though the mean never rises; `fires`,
    the share on which it does on the run as it was; `unfounded`, that on which the pool's mean at
    the stop is not above that at the best it names; `early`, that after which the pool's mean falls
    by `PASSING` of the gain below its lowest up to the stop; `delay`, the median of steps from the
    pool's best up to the stop, to the stop; `regret`, the mean over batches of what the best that
    it names lacks of the pool's lowest, in shares of the gain; `regret_never`, the same of the best
    of the whole curve.
    """
    rows: list[dict[str, object]] = []
    for stratified in (True, False):
        for size in SIZES:
            drawn = batches(pool.losses.shape[1], size, stratified, BATCHES)
            for name, form in FORMS.items():
                some = drawn[:FLIPPED] if form is flips else drawn
                real, level = (np.moveaxis(x[:, some], 1, 0) for x in (pool.losses, pool.level))
                row: dict[str, object] = {
                    "method": pool.method,
                    "concept": pool.concept,
                    "size": size,
                }
                row |= {"layout": "stratified" if stratified else "random", "form": name}
                row["level"] = float((form(level, CONFIDENCE)[0] != NOT).mean())
                rows.append(row | judged(pool, real, *form(real, CONFIDENCE)))
    return pd.DataFrame(rows)


def judged(pool: Pool, batch: Floats, stop: Whole, kept: Whole) -> dict[str, float]:
    """The columns of `measured` that are of the run as it was."""
    mean, last = pool.losses.mean(axis=1), len(pool.losses) - 1
    gain = mean[0] - mean.min()
    lacking = (mean - mean.min()) / gain if gain else np.full(len(mean), np.nan)
    so_far = np.minimum.accumulate(mean)
    to_come = np.append(np.minimum.accumulate(mean[::-1])[::-1][1:], np.inf)
    fires = stop != NOT
    at = np.where(fires, stop, last)
    best = np.array([int(np.argmin(mean[: end + 1])) for end in range(last + 1)])
    delays = (pool.steps[at] - pool.steps[best[at]])[fires]
    return {
        "fires": float(fires.mean()),
        "unfounded": float((fires & (mean[at] <= mean[kept])).mean()),
        "early": float((fires & (so_far[at] - to_come[at] > PASSING * gain)).mean()),
        "delay": float(np.median(delays)) if fires.any() else np.nan,
        "regret": float(lacking[kept].mean()),
        "regret_never": float(lacking[batch.mean(axis=2).argmin(axis=1)].mean()),
    }


def simulated(seed: int = 0, batches: int = 500, size: int = 16) -> pd.DataFrame:
    """How often forms fire on made losses whose expectation is level: columns process, looks, form.

    Samples are independent, each a level of its own and: fresh noise at each evaluation; a first
    order autoregression with coefficient 0.9; a random walk; or a random walk whose pace differs
    between samples as a gamma number of shape 1/2, the rise of which is skewed.
    """
    rows = []
    random = np.random.default_rng(seed)
    for count in (60, 300):
        steps = random.normal(size=(batches, count, size))
        regression = steps.copy()
        for k in range(1, count):
            regression[:, k] = 0.9 * regression[:, k - 1] + np.sqrt(1 - 0.81) * steps[:, k]
        pace = random.gamma(0.5, 2, (batches, 1, size))
        drift = (pace - 1) * np.sqrt(np.arange(count))[:, np.newaxis]
        made = {
            "fresh noise": steps,
            "autoregression": regression,
            "random walk": steps.cumsum(axis=1),
            "skewed": steps.cumsum(axis=1) + drift,
        }
        for process, losses in made.items():
            for name, form in FORMS.items():
                if form is not flips:
                    fired = float((form(losses, CONFIDENCE)[0] != NOT).mean())
                    rows.append({"process": process, "looks": count, "form": name, "level": fired})
    return pd.DataFrame(rows)


def by_spacing(
    pool: Pool,
    thinnings: Sequence[int] = (1, 2, 4),
    confidences: Sequence[float] = (0.9, CONFIDENCE, 0.99),
    forms: Sequence[str] = (TURN,),
) -> pd.DataFrame:
    """As `measured`, of stratified batches, at every so manieth evaluation of the pool."""
    rows: list[dict[str, object]] = []
    for size, thin in product(SIZES, thinnings):
        drawn = batches(pool.losses.shape[1], size, True, BATCHES)
        thinned = Pool(pool.method, pool.concept, pool.losses[::thin], pool.steps[::thin])
        real, level = (np.moveaxis(x[:, drawn], 1, 0) for x in (thinned.losses, thinned.level))
        for confidence, form in product(confidences, forms):
            row: dict[str, object] = {"method": pool.method, "concept": pool.concept, "size": size}
            row |= {"every": int(thinned.steps[1]), "form": form, "confidence": confidence}
            row["level"] = float((FORMS[form](level, confidence)[0] != NOT).mean())
            rows.append(row | judged(thinned, real, *FORMS[form](real, confidence)))
    return pd.DataFrame(rows)
