"""Time and memory with 1, 4, 16 and 64 times as much: rows, checkpoints, runs, points of a trace.

Each is measured in a process of its own that has done the same with the least amount before. Time
is linear where 64 times as much takes four times as long as 16 times; memory is flat where its peak
is that of the least amount.
"""

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from experiments.bench.children import in_a_child, peak_memory, settle_memory
from experiments.bench.many_runs import make_run
from experiments.bench.measured import Asked, Goal, Row, each
from experiments.bench.parts.dvar import falling
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import NAMED_SETTINGS
from noiseprobe.run.defaults import DEFAULT_CONCEPT
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start
from noiseprobe.stages.probing import evaluate, plan_rows, probe
from noiseprobe.training.preparing import prepare

TIMES = (1, 4, 16, 64)
LINEAR, FLAT = Goal("at most", 1.15), Goal("at most", 1.1)


@dataclass(frozen=True)
class Grown:
    """What one amount took: how many things there were, seconds, and bytes at the peak."""

    times: int
    count: int
    seconds: float
    memory: int


def measure(asked: Asked) -> Iterator[Row]:
    """Two rows for each thing that there may be more of."""
    names = list(GROWING)[asked.of(2, 0, 0) :]
    things = {f"growth of {name}": partial(_of, asked, name) for name in names}
    return each(asked, things, asked.of(0, 0, 40))


def _of(asked: Asked, name: str) -> Iterator[Row]:
    told = str(asked.device), asked.size == "tiny"
    rounds = [
        [in_a_child(grown, name, times, *told) for times in TIMES[: asked.of(2, 4, 4)]]
        for _ in range(asked.of(1, min(asked.rounds, 3), 1))
    ]
    yield from rows_of(name, rounds)


def rows_of(name: str, rounds: list[list[Grown]]) -> Iterator[Row]:
    """The rows of rounds of amounts, from the least to the largest."""
    last, before = (tuple(each[place].seconds for each in rounds) for place in (-1, -2))
    counts = {place: rounds[0][place].count for place in (-1, -2)}
    own, other = (
        tuple(1e3 * each / counts[place] for each in seconds)
        for place, seconds in ((-1, last), (-2, before))
    )
    detail = {
        "name": name,
        "count": [each.count for each in rounds[0]],
        "seconds": [[each.seconds for each in own] for own in rounds],
        "memory": [[each.memory for each in own] for own in rounds],
    }
    most, less = (f"{rounds[0][place].count:,} {name}" for place in (-1, -2))
    least = f"{rounds[0][0].count:,}"
    yield Row(
        f"time of each of {most}", f"of {less}", "ours / theirs", "ms", own, other, LINEAR, detail
    )
    peaks, first = (tuple(float(each[place].memory) for each in rounds) for place in (-1, 0))
    yield Row(f"peak memory of {most}", f"of {least}", "ours / theirs", "B", peaks, first, FLAT)


def grown(name: str, times: int, device: str, tiny: bool) -> Grown:
    """What so many times as much takes, after the least amount was done once."""
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
        place, make = Path(folder), GROWING[name]
        least = 1 if tiny else 4
        _, warm = make(place / "least", 1, least, device)
        warm()
        count, action = make(place / "more", times, least, device)
        on_cuda = torch.cuda.is_initialized()
        settle_memory()
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        action()
        if on_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        peak = torch.cuda.max_memory_allocated() if on_cuda else peak_memory()
    return Grown(times, count, seconds, peak)


Made = tuple[int, Callable[[], object]]
"""How many things there are, and what is done with them."""


def rows(place: Path, times: int, least: int, device: str) -> Made:
    """Rows of a probe of one checkpoint, of the settings that draw anew."""
    ready = prepare(resolve({"concept": DEFAULT_CONCEPT, "device": device}))
    draws = ready.objective.draws(0, "probe", len(ready.method.captions))
    plan = plan_rows(NAMED_SETTINGS[1:], times, 2 * least)
    return len(plan), lambda: evaluate(ready.objective, ready.method, draws, plan)


def checkpoints(place: Path, times: int, least: int, device: str) -> Made:
    """Checkpoints that are probed."""
    given = {"concept": DEFAULT_CONCEPT, "device": device}
    config = resolve(given | {"probe_batch": least, "replicates": 1})
    run, ready = start(config, place)
    for step in range(times):
        with written_whole(run.checkpoint(step)) as beside:
            ready.method.save(beside)
    objective = ready.objective
    return times, lambda: probe(run, objective, ready.method, config)


def runs(place: Path, times: int, least: int, device: str) -> Made:
    """Runs in a table."""
    count = least * times
    for number in range(count):
        make_run(place, number, 50)
    return count, lambda: command("table", str(place), "--json")


def points(place: Path, times: int, least: int, device: str) -> Made:
    """Points of a trace that is replayed."""
    place.mkdir()
    count = 1000 * least * times
    frame = pd.DataFrame({"step": np.arange(count), "l_det": falling(count)})
    frame.to_csv(place / "log.csv", index=False)
    return count, lambda: command("dvar-replay", str(place / "log.csv"), "--json")


def command(*words: str) -> None:
    """Run a command of noiseprobe in this process, whatever it says."""
    from noiseprobe.cli.app import app

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        app(words, prog_name="noiseprobe", standalone_mode=False)


GROWING: dict[str, Callable[[Path, int, int, str], Made]] = {
    "rows of a probe": rows,
    "checkpoints probed": checkpoints,
    "runs in a table": runs,
    "points replayed": points,
}
"""What there may be more of."""
