"""What `pick` says of small batches and of logs, held against a pool that knows the truth."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats
from numpy.random import Generator
from numpy.typing import NDArray

from experiments.turn.forms import Floats, Whole
from experiments.turn.pools import Pool, pool_of
from noiseprobe.analysis.best_of import LEVEL, best_of_samples, best_of_series
from noiseprobe.core.files import written_whole
from noiseprobe.core.progress import Silent

DRAWS, STEPS, EVERY, CHECKPOINT = 512, 600, 20, 60
"""Of the pools: held-out draws, steps, steps between evaluations and between checkpoints."""

REPEATS = 200
SIZES = (8, 32, 128)
REDRAWN, STRATIFIED, UNPAIRED = "batch", "stratified batch", "batch, unpaired intervals"
LOG, LOG_FIXED, LOG_STEPS = "log, drawn anew", "log, one fixed batch", "log, every step"
OF_LOG = ((LOG, (8, 32)), (LOG_FIXED, (8, 32)), (LOG_STEPS, (4,)))

Found = dict[str, float]


def measure_run(place: Path, method: str, concept: str, file: Path) -> None:
    """Train one run if it is not there, and write what is measured of it."""
    pool = pool_of(place, method, concept, Silent(), DRAWS, STEPS, EVERY)
    with written_whole(file) as beside:
        measured(pool).to_csv(beside, index=False)


def measured(pool: Pool, repeats: int = REPEATS) -> pd.DataFrame:
    """One row per kind of losses and size of a batch.

    Columns: `held`, the share of repeats in which the truly best is among the candidates; `share`,
    the mean share of all that are candidates; `sure`, how often there is one alone, and `right`,
    how often that is the truly best (NaN where it never is sure); `lacks`, the mean of what the
    lowest lacks of the truly best, as a share of the range of the truth.
    """
    rows = []
    for kind, size, trial in trials(pool):
        found = pd.DataFrame([trial(np.random.default_rng([n, size])) for n in range(repeats)])
        alone = found["candidates"] == 1
        row = {"method": pool.method, "concept": pool.concept, "kind": kind, "size": size}
        shares = {
            "held": found["held"].mean(),
            "share": (found["candidates"] / found["of"]).mean(),
            "sure": alone.mean(),
            "right": found.loc[alone, "held"].mean(),
            "lacks": found["lacks"].mean(),
        }
        rows.append(row | shares)
    return pd.DataFrame(rows)


def trials(pool: Pool) -> Iterator[tuple[str, int, Callable[[Generator], Found]]]:
    """Each kind of losses, with the size of its batches, and what one repeat of it finds."""
    saved = pool.steps % CHECKPOINT == 0
    steps, losses = pool.steps[saved], pool.losses[saved]
    truth = losses.mean(axis=1)
    for size in SIZES:
        given = (steps, losses, truth, size)
        yield REDRAWN, size, partial(_of_samples, *given)
        yield UNPAIRED, size, partial(_unpaired, *given)
        yield STRATIFIED, size, partial(_of_strata, *given)
    for kind, sizes in OF_LOG:
        for size in sizes:
            yield kind, size, partial(_of_log, pool, kind, size)


def _of_samples(steps: Whole, losses: Floats, truth: Floats, size: int, random: Generator) -> Found:
    drawn = random.integers(losses.shape[1], size=size)
    found = best_of_samples(steps, losses[:, drawn])
    return _told(found.table["candidate"].to_numpy(), found.best, truth)


def _of_strata(steps: Whole, losses: Floats, truth: Floats, size: int, random: Generator) -> Found:
    part = losses.shape[1] // size  # draws lie in the order of their timesteps
    drawn = np.arange(size) * part + random.integers(part, size=size)
    found = best_of_samples(steps, losses[:, drawn])
    return _told(found.table["candidate"].to_numpy(), found.best, truth)


def _unpaired(_: Whole, losses: Floats, truth: Floats, size: int, random: Generator) -> Found:
    """Candidates are those whose interval overlaps that of the lowest mean, each by itself.

    Student's, of 95% for all checkpoints together by Bonferroni.
    """
    given = losses[:, random.integers(losses.shape[1], size=size)]
    mean, error = given.mean(axis=1), given.std(axis=1, ddof=1) / np.sqrt(size)
    reach = scipy.stats.t.ppf(1 - (1 - LEVEL) / len(mean) / 2, size - 1) * error
    best = int(mean.argmin())
    return _told(mean - reach <= mean[best] + reach[best], best, truth)


def _of_log(pool: Pool, kind: str, size: int, random: Generator) -> Found:
    steps, truth, values = log_of(pool, kind, size, random)
    found = best_of_series(steps, values)
    in_blocks = best_of_series(steps, truth).table["loss"].to_numpy()
    return _told(found.table["candidate"].to_numpy(), found.best, in_blocks)


def log_of(pool: Pool, kind: str, size: int, random: Generator) -> tuple[Whole, Floats, Floats]:
    """Steps, expected losses and recorded values of a log of the pool's run, (n,) each.

    A value is the mean of `size` draws: of the same at each evaluation, of others at each, or of
    others at each step; between evaluations, the expected loss is linear and the draws have what
    they differ from it at the nearest one.
    """
    draws = pool.losses.shape[1]
    truth = pool.losses.mean(axis=1)
    if kind == LOG_FIXED:
        return pool.steps, truth, pool.losses[:, random.integers(draws, size=size)].mean(axis=1)
    steps = pool.steps
    if kind == LOG_STEPS:
        steps = np.arange(int(pool.steps[-1]) + 1)
    nearest = np.abs(steps[:, np.newaxis] - pool.steps).argmin(axis=1)
    drawn = random.integers(draws, size=(len(steps), size))
    noise = pool.losses[nearest[:, np.newaxis], drawn].mean(axis=1) - truth[nearest]
    expected = np.interp(steps, pool.steps, truth)
    return steps, expected, expected + noise


def _told(candidate: NDArray[np.bool_], best: int, truth: Floats) -> Found:
    low = int(truth.argmin())
    return {
        "held": float(candidate[low]),
        "candidates": float(candidate.sum()),
        "of": float(len(candidate)),
        "lacks": float((truth[best] - truth[low]) / np.ptp(truth)),
    }
