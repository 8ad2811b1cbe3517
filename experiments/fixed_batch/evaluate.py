"""L_det of many fixed batches of every layout and size, and the loss that they all estimate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from noiseprobe.core.files import written_whole
from noiseprobe.draws.draws import Batch
from noiseprobe.draws.factors import LAYOUTS, Layout
from noiseprobe.draws.fixed_batch import fixed_batch, sample_weights
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.sweep import train_one
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.preparing import Personalization, prepare

SIZES = (4, 8, 16, 32, 64)
BATCHES = 20  # fixed batches of each layout and size
EXPECTED = 4096  # independent draws for the expected loss
FIRST_SEED = 1000  # of the fixed batches; runs are trained with small seeds
MICRO_BATCH = 64

Key = tuple[Layout, int, int]  # layout, size, number
Losses = dict[Key, NDArray[np.float64]]


def evaluate_run(directory: Path, config: RunConfig, every: int, file: Path) -> None:
    """Write L_det at every `every` steps of the run, trained now if it is not, to `file`.

    Columns: step, layout, size, batch, l_det. The layout `expected` has one row per step, with the
    number of draws as its size.
    """
    if file.is_file():
        return
    train_one(directory, config, 0)
    run = Run.open(directory)
    steps = [step for step in run.checkpoint_steps() if step % every == 0]
    ready = prepare(config, run)
    batches = evaluated(ready)
    everything = joined([expected_draws(ready), *batches.values()])
    rows: list[tuple[int, str, int, int, float]] = []
    first: Losses = {}
    for step in steps:
        ready.method.load(ready.method.read(run.checkpoint(step)))
        losses = losses_of(ready, everything)
        rows.append((step, "expected", EXPECTED, 0, float(losses[:EXPECTED].mean())))
        ends = np.cumsum([len(batch.images) for batch in batches.values()])[:-1]
        here = dict(zip(batches, np.split(losses[EXPECTED:], ends), strict=True))
        first = first or here
        for number in range(BATCHES):
            for layout in LAYOUTS:
                for size in SIZES:
                    start, now = (samples_of(x, layout, size, number) for x in (first, here))
                    l_det = float(sample_weights(start, layout == "weighted") @ now)
                    rows.append((step, layout, size, number, l_det))
    table = pd.DataFrame(rows, columns=["step", "layout", "size", "batch", "l_det"])
    with written_whole(file) as beside:
        table.to_parquet(beside, index=False)


def evaluated(ready: Personalization) -> dict[Key, Batch]:
    """The batches that are evaluated, by layout, size and number.

    A random batch is the beginning of every larger one, and weights do not change what is drawn.
    """
    found: dict[Key, Batch] = {}
    for number in range(BATCHES):
        draws = ready.objective.draws(FIRST_SEED + number, "probe", len(ready.method.captions))
        found["random", SIZES[-1], number] = fixed_batch(draws, SIZES[-1]).batch
        for size in SIZES:
            for layout in ("stratified", "antithetic"):
                found[layout, size, number] = fixed_batch(draws, size, layout).batch
    return found


def samples_of(losses: Losses, layout: Layout, size: int, number: int) -> NDArray[np.float64]:
    """The losses of a fixed batch's samples, (size,), from those that were evaluated."""
    if layout == "random":
        return losses["random", SIZES[-1], number][:size]
    return losses["stratified" if layout == "weighted" else layout, size, number]


def expected_draws(ready: Personalization) -> Batch:
    """Independent draws of all factors, none of which a fixed batch has."""
    draws = ready.objective.draws(FIRST_SEED + BATCHES, "probe", len(ready.method.captions))
    return draws.batch(range(EXPECTED), 1)


def joined(batches: list[Batch]) -> Batch:
    """The samples of all batches, one after the other."""
    arrays = {
        part.name: np.concatenate([getattr(batch, part.name) for batch in batches])
        for part in fields(Batch)
    }
    return Batch(**arrays)


@torch.no_grad()
def losses_of(ready: Personalization, batch: Batch) -> NDArray[np.float64]:
    """The loss of each sample under the live model, (B,) float64."""
    captions = ready.objective.captions(batch, ready.method.captions)
    once = Conditioner(ready.model, keep=True)
    found = [ready.objective.losses(part, captions[place], once) for part, place in parts(batch)]
    return torch.cat(found).double().cpu().numpy()


def parts(batch: Batch) -> Iterator[tuple[Batch, slice]]:
    """The batch in micro-batches, and where each lies in it."""
    for start in range(0, len(batch.images), MICRO_BATCH):
        place = slice(start, start + MICRO_BATCH)
        yield (
            Batch(**{part.name: getattr(batch, part.name)[place] for part in fields(Batch)}),
            place,
        )
