"""Runs made after the criteria were fixed: other things, other seeds, the same three methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.comparison.runs import WIDELY
from experiments.tiny_sd.concepts import COUNT, SEED, Thing, make_concept, write
from noiseprobe.cli.terminal import Terminal
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.sweep import WATCHED, Sweep, train_sweep

CONCEPTS = 36
THINGS_SEED = SEED + 1  # other colours, patterns, photographs and backgrounds than any run had
TRAINING_SEED = 1


def things() -> list[Thing]:
    """36 of 48 new things, by lot."""
    chosen = np.random.Generator(np.random.Philox(THINGS_SEED)).permutation(COUNT)[:CONCEPTS]
    return [make_concept(int(index), THINGS_SEED) for index in chosen]


def train_fresh(out: Path, workers: int) -> dict[str, str]:
    """Train every method on every new thing in `out`, watched to the last step; errors by run."""
    folder = out / "photographs"
    if not folder.is_dir():
        write(things(), folder)
    runs = {}
    for thing in things():
        for method in WIDELY:
            run = out / "runs" / method / thing.name
            given = WATCHED | {
                "concept": str(folder / thing.name),
                "method": method,
                "device": "cpu",
                "seed": TRAINING_SEED,
                "fixed_batch": "random",
                "eval_every": 1,
            }
            runs[run] = resolve(given)
    with Terminal() as terminal:
        return train_sweep(Sweep(runs, workers), terminal)
