"""The runs of the study: each is trained once, and every layout evaluated at its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.comparison.runs import others
from experiments.fixed_batch.evaluate import joined, losses_of
from experiments.tiny_sd.concepts import every, write
from noiseprobe.core.files import written_whole
from noiseprobe.core.progress import Reporter
from noiseprobe.draws.draws import Batch
from noiseprobe.draws.factors import TRAINERS, Layout
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.sweep import train_one
from noiseprobe.stages.workers import Jobs, in_processes
from noiseprobe.training.preparing import Personalization, prepare

EXPECTED = "expected"
"""What the truth is called among the layouts."""

OURS: tuple[tuple[Layout, int], ...] = (
    *(("stratified", size) for size in (4, 8, 16, 32)),
    ("random", 8),
)
TRAINING_SEED = 300
FIRST_SEED = 7000  # of the draws that are evaluated; no run has those of another


def concepts() -> list[str]:
    """The concepts of the study, none of which another one chose anything on."""
    return others()[30:36]


@dataclass(frozen=True)
class Design:
    """How much is done: `draws` seeds of each layout, `expected` draws for the truth."""

    steps: int = 300
    every: int = 25
    expected: int = 1024
    draws: int = 4

    def config(self, method: str, folder: Path) -> RunConfig:
        """The settings of a run on the concept in `folder`."""
        own = {"rescale": False} if method == "custom-diffusion" else {}
        return resolve(
            own
            | {
                "concept": str(folder),
                "method": method,
                "steps": self.steps,
                "checkpoint_every": self.every,
                "train_batch_size": 4,
                "flip": 0.0,
                "stop": "none",
                "eval_every": self.steps,
                "seed": TRAINING_SEED + concepts().index(folder.name),
                "device": "cpu",
            }
        )


def run_all(
    out: Path,
    workers: int,
    reporter: Reporter,
    names: Sequence[str],
    methods: Sequence[str] = METHODS,
    design: Design | None = None,
) -> dict[str, str]:
    """Do the runs that are not done yet; the errors by run.

    Raises `Interrupted` on Ctrl-C. A training goes on where it was; its evaluation begins anew.
    """
    design = design or Design()
    photographs = out / "photographs"
    missing = [each for each in every() if each.name in names]
    write([each for each in missing if not (photographs / each.name).is_dir()], photographs)
    jobs: Jobs = {}
    for name in names:
        for method in methods:
            file = file_of(out, method, name)
            if not file.is_file():
                run = out / "runs" / method / name
                config = design.config(method, photographs / name)
                jobs[file] = (record, run, config, design, file)
    return in_processes("recipes", jobs, workers, 1, reporter)


def file_of(out: Path, method: str, concept: str) -> Path:
    """Where the numbers of a run are."""
    return out / "numbers" / f"{method} {concept}.parquet"


def gathered(out: Path) -> pd.DataFrame:
    """The numbers of all runs that are done."""
    files = sorted((out / "numbers").glob("*.parquet"))
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def record(directory: Path, config: RunConfig, design: Design, file: Path) -> None:
    """Train the run, evaluate each checkpoint, and write the losses to `file`.

    Columns: concept, method, step, layout, draw (which of its seeds), passes (forward passes of a
    sample), loss, and of the truth `se`, the standard error of its change since step 0.
    """
    train_one(directory, config, 0)
    run = Run.open(directory)
    ready = prepare(config, run)
    batches = evaluated(ready, config, design)
    everything = joined(list(batches.values()))
    ends = np.cumsum([len(batch) for batch in batches.values()])[:-1]
    first: NDArray[np.float64] | None = None
    rows = []
    for step in run.checkpoint_steps():
        ready.method.load(ready.method.read(run.checkpoint(step)))
        parts = np.split(losses_of(ready, everything), ends)
        truth = parts[0]
        first = truth if first is None else first
        for (layout, draw), losses in zip(batches, parts, strict=True):
            known = standard_error(truth - first) if layout == EXPECTED else np.nan
            rows.append((step, layout, draw, len(losses), losses.mean(), known))
    table = pd.DataFrame(rows, columns=["step", "layout", "draw", "passes", "loss", "se"])
    table.insert(0, "method", config.method)
    table.insert(0, "concept", Path(config.concept).name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as beside:
        table.to_parquet(beside, index=False)


def evaluated(
    ready: Personalization, config: RunConfig, design: Design
) -> dict[tuple[str, int], Batch]:
    """What is evaluated at each checkpoint, by layout and draw; the truth comes first."""
    run = (config.seed - TRAINING_SEED) * len(METHODS) + METHODS.index(config.method)
    own = FIRST_SEED + run * (design.draws + 1)
    captions = len(ready.method.captions)

    def batch(number: int, size: int | None, layout: Layout) -> Batch:
        draws = ready.objective.draws(own + number, "probe", captions)
        return fixed_batch(draws, size, layout).batch

    found = {(EXPECTED, 0): batch(design.draws, design.expected, "stratified")}
    for number in range(design.draws):
        for layout, size in OURS:
            found[f"{layout} {size}", number] = batch(number, size, layout)
        for trainer in TRAINERS:
            found[trainer, number] = batch(number, None, trainer)
    return found


def standard_error(change: NDArray[np.float64]) -> float:
    """The standard error of the mean of stratified draws in the order of their strata, (n,)."""
    return float(np.sqrt((np.diff(change) ** 2).mean() / 2 / len(change)))
