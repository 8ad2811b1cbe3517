"""One run of the study: trained in parts, judged between them, its numbers written to one file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.overfitting.design import ALL, EVERY, Cell, Design, cells, numbered, seed_of
from experiments.overfitting.judges import Judges
from experiments.overfitting.raw import COLUMNS, as_rows, write
from experiments.overfitting.things import Folders, names_of, things, write_photographs
from noiseprobe.core.progress import Reporter, Silent
from noiseprobe.pictures.photographs import photographs_in
from noiseprobe.pictures.sampling import Sampler
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import samples_of
from noiseprobe.stages import pipeline
from noiseprobe.stages.workers import Jobs, in_processes
from noiseprobe.training.driver import train
from noiseprobe.training.preparing import prepare
from noiseprobe.training.prior import draw_class_images, find_class_images

PARTS = {
    "choosing": ("choosing", (0,)),
    "testing": ("testing", (0,)),
    "all": ("all", (ALL,)),
    "folds": ("all", (1, 2)),
    "sized": ("all", (0,)),
}
"""What there is to run: the group of things, and the photographs that are held out in turn."""

RESCALING = "custom-diffusion"
"""The method that trains on photographs at random sizes, which `sized` does again."""


def run_part(
    part: str,
    out: Path,
    workers: int,
    reporter: Reporter,
    design: Design | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, str]:
    """Do the runs of a part that are not done yet; the errors by run.

    Raises `Interrupted` on Ctrl-C; a run that was cut off begins anew, all others stay.
    """
    design = design or Design()
    if part == "sized":
        design = replace(design, steps={RESCALING: design.steps[RESCALING]})
    group, helds = PARTS[part]
    chosen = list(cells(names or names_of(group), helds, design.steps))
    made = numbered([thing for group in things() for thing in group])
    write_photographs(out, [made[name][1] for name in {cell.concept for cell in chosen}])
    jobs: Jobs = {}
    configs: dict[str, RunConfig] = {}
    for cell in chosen:
        index, thing = made[cell.concept]
        config = design.config(cell, out, seed_of(index, cell.held), thing.class_noun)
        if not file_of(out, cell).is_file():
            jobs[file_of(out, cell)] = (study, out, cell, config, design)
            if config.prior:
                configs.setdefault(thing.class_noun, config)
    classes: Jobs = {
        out / "class-images" / noun: (draw_class, config) for noun, config in configs.items()
    }
    failed = in_processes("class images", classes, workers, 1, reporter)
    return failed | in_processes(part, jobs, workers, 1, reporter)


def take_up(numbers: pd.DataFrame, out: Path) -> None:
    """Write the file of each run that such a table of all has, where it is missing in `out`."""
    for (concept, method, held), of_run in numbers.groupby(
        ["concept", "method", "held"], observed=True
    ):
        path = file_of(out, Cell(str(concept), str(method), int(str(held))))
        if not path.is_file():
            write(of_run, path)


def file_of(out: Path, cell: Cell) -> Path:
    """Where the numbers of a run lie."""
    return out / "numbers" / f"{cell.name}.parquet"


def draw_class(config: RunConfig) -> None:
    """Draw the class images of a run by the untrained model, where they are missing."""
    ready = prepare(config)
    images = find_class_images(config, ready.concept, None)
    sampler = Sampler(ready.model, config.sampling_steps, config.guidance)
    draw_class_images(images, sampler, config.sampling_seed, Silent())


def study(out: Path, cell: Cell, config: RunConfig, design: Design) -> None:
    """Train the run to its last step, judge it on the way, and write what was measured.

    L_det is evaluated at every step until DVAR has fired, which needs it; from the next part of the
    run on at every fifth.
    """
    place, began = out / "running" / cell.name, time.process_time()
    shutil.rmtree(place, ignore_errors=True)  # of a run that was cut off
    run, ready = pipeline.start(config, place)
    judges = Judges(ready, photographs_in(Folders.of(out, cell.concept).judging))
    prior = pipeline.prepare_prior(run, config, ready) if config.prior else None
    rows: list[dict[str, Any]] = []
    every = 1
    for step in design.judged(cell.method):
        now = config.model_copy(update={"steps": step, "eval_every": every})
        train(run, ready.objective, ready.method, now, prior=prior, held_out=ready.held_out)
        found = judges.by_pictures() | judges.by_loss()
        if step in design.prompted or step == config.steps:
            found |= judges.by_prompts()
        rows += [{"step": step, "name": name, "value": value} for name, value in found.items()]
        shutil.rmtree(run.checkpoints_directory)
        if (run.train_trace()["dvar_ratio"] < config.threshold).any():
            every = EVERY
    rows += recorded(run)
    rows.append({"step": config.steps, "name": "cpu_seconds", "value": time.process_time() - began})
    numbers = pd.DataFrame(rows).assign(concept=cell.concept, method=cell.method, held=cell.held)
    write(numbers.reindex(columns=[*COLUMNS]), file_of(out, cell))
    shutil.rmtree(place)


def recorded(run: Run) -> list[dict[str, Any]]:
    """L_det where it was evaluated, and the held-out loss of each sample at every fifth step."""
    l_det = run.train_trace().set_index("step")["l_det"].dropna()
    l_val = samples_of(run.tracked_trace(), "l_val")
    return as_rows("l_det", l_det.to_frame()) + as_rows("l_val", l_val[l_val.index % EVERY == 0])
