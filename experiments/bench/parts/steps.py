"""A training step, held against the example scripts of diffusers, and what tracking adds to it.

After each of our steps, or on a GPU after those that are read together, as many of theirs are
taken: a busy machine is busy for both.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from experiments.bench.families import (
    compile_as_by_default,
    model_of,
    ready_of,
    settings_of,
    shapes_of,
)
from experiments.bench.measured import Asked, Goal, Row, each
from experiments.bench.stock import stock_step
from noiseprobe.core.progress import Silent
from noiseprobe.models import load_model
from noiseprobe.run.defaults import DEFAULT_CONCEPT
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.training import driver
from noiseprobe.training.driver import TOGETHER
from noiseprobe.training.preparing import Personalization, prepare

MEASURED = ("textual-inversion", "dreambooth-lora", "dreambooth")
NAME = "SD 1.5"
FASTER, TRACKED = Goal("at least", 1.5), Goal("at most", 1.1)


def measure(asked: Asked) -> Iterator[Row]:
    """Two rows for each method."""
    methods = MEASURED[: asked.of(1, 3, 3)]
    things = {f"{method}, a step": partial(_in_a_folder, asked, method) for method in methods}
    return each(asked, things, asked.of(0, 0, 60))


def _in_a_folder(asked: Asked, method: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield from _of(asked, method, Path(folder))


def _of(asked: Asked, method: str, folder: Path) -> Iterator[Row]:
    warm = asked.of(2, 5, TOGETHER)  # steps left out at first; on a GPU so many are read at once
    steps = warm + asked.of(4, 44, 44)
    given: dict[str, Any] = {
        "method": method,
        "device": str(asked.device),
        "precision": asked.precision,
        "steps": steps,
        "checkpoint_every": steps,
        "stop": "none",
    }
    bundled = asked.size == "small"
    if bundled:
        config = resolve(given | {"concept": DEFAULT_CONCEPT})
        ready = prepare(config)
        other = load_model(config.model, str(asked.device), asked.precision)
    else:
        config = settings_of(NAME, folder, given, asked.small)
        parts = shapes_of(NAME, asked.small)
        ready = ready_of(NAME, config, parts, asked.device)
        other = model_of(NAME, config, parts, asked.device)
    step = stock_step(
        other, method, ready.concept.photographs, config.samples_per_step, asked.precision
    )
    if asked.size != "tiny":
        compile_as_by_default(ready.model, config)
    rounds = [alternating(config, ready, folder, warm, Beside(step, asked.wait))]
    for _ in range(asked.rounds - (asked.size == "tiny")):  # the first warms all up
        if asked.budget.left < 0:
            break
        rounds.append(alternating(config, ready, folder, warm, Beside(step, asked.wait)))
    ours, tracked, theirs = zip(*rounds[len(rounds) > 1 :], strict=True)
    what = (
        f"{method}, {other.resolution} pixels, batch {config.samples_per_step}, {asked.precision}"
    )
    loop = "the loop of the example script of diffusers"
    yield Row(what, loop, "theirs / ours", "s", ours, theirs, FASTER)
    what = f"{method}, with default tracking (L_det every {config.eval_every} steps)"
    yield Row(what, "without", "ours / theirs", "s", tracked, ours, TRACKED)


class Beside(Silent):
    """Takes a step of another loop after each of a training's, and keeps its seconds."""

    def __init__(self, step: Callable[[], float], wait: Callable[[], None]) -> None:
        self.step, self.wait = step, wait
        self.seconds: list[float] = []

    def advance(self, done: int, note: str = "") -> None:
        """Take as many as are done."""
        while len(self.seconds) < done:
            started = time.perf_counter()
            self.step()
            self.wait()
            self.seconds.append(time.perf_counter() - started)


def alternating(
    config: RunConfig, ready: Personalization, folder: Path, warm: int, beside: Beside
) -> tuple[float, float, float]:
    """The mean seconds of a step after the first ones: ours, ours with L_det where due, theirs.

    Nothing is saved but the trace: what a user waits for at a checkpoint is no part of a step.
    """
    model = ready.model
    with tempfile.TemporaryDirectory(dir=folder) as own:
        run = Run.create(Path(own) / "run", config, str(model.device), model.path.num_timesteps)
        with patch.object(driver, "save_state"), patch.object(ready.method, "save", _nothing):
            driver.train(run, ready.objective, ready.method, config, beside)
        trace = run.train_trace().set_index("step")
    first, last = counted(config.steps, config.eval_every, warm)
    tracked, l_det = (
        float(trace[name].loc[last] - trace[name].loc[first]) / (last - first)
        for name in ("seconds", "l_det_seconds")
    )
    theirs = sum(beside.seconds[first:last]) / (last - first)
    return tracked - l_det, tracked, theirs


def counted(steps: int, every: int, warm: int) -> tuple[int, int]:
    """The steps after which seconds are counted, and up to which.

    These are whole spacings of L_det, so that as many values are in as belong there; none where it
    is evaluated at the end alone.
    """
    first = -(-warm // every) * every
    whole = (steps - first) // every * every
    return (first, first + whole) if whole > 0 else (warm, steps - 1)


def _nothing(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
