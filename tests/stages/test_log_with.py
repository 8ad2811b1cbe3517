"""What `--log-with` shows in other tools: the same numbers, each once, and nothing of training."""

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.logs import find_sources, read_log
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import LOG_WITH
from noiseprobe.stages import log_tools, log_with
from noiseprobe.stages.pipeline import reopen, start, train_stage
from noiseprobe.training.preparing import prepare
from tests.crashing import content
from tests.training.test_driver import KillAt

Traces = dict[str, dict[int, list[float]]]
"""By column and step, the values that a tool has, in the order in which it was given them."""


@dataclass(frozen=True)
class Place:
    """A tool, where it keeps what it is given, and its rounding."""

    tool: str
    read: Callable[[Path, Run], Traces]
    environment: tuple[tuple[str, str], ...] = ()
    rounding: type[np.floating[Any]] = np.float64


def told_once(place: Path) -> Traces:
    """What our own readers find in a log, which is to say nothing twice."""
    with warnings.catch_warnings(action="error"):
        log = read_log(place)
        found: Traces = {}
        for tag in log.tags:
            series = log.series(tag)
            for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
                found.setdefault(tag, {}).setdefault(step, []).append(value)
    return found


def together(places: list[Path]) -> Traces:
    found: Traces = {}
    for place in places:
        for tag, values in told_once(place).items():
            for step, each in values.items():
                found.setdefault(tag, {}).setdefault(step, []).extend(each)
    return found


def of_aim(folder: Path, run: Run) -> Traces:
    import aim

    repo = aim.Repo.from_path(str(folder))
    found: Traces = {}
    for each in repo.iter_runs():
        for metric in each.metrics():
            steps, values = metric.values.sparse_numpy()
            for step, value in zip(steps.tolist(), values.tolist(), strict=True):
                found.setdefault(metric.name, {}).setdefault(step, []).append(value)
    return found


def of_trackio(folder: Path, run: Run) -> Traces:
    """Its database has all runs of the project."""
    import trackio.utils

    found = told_once(trackio.utils.TRACKIO_DIR / "noiseprobe.db")
    name = f"{run.directory.name}-"
    own = {tag: each for tag, each in found.items() if " - " not in tag or tag.startswith(name)}
    return {tag.rpartition(" - ")[2]: each for tag, each in own.items()}


PLACES = {
    "tensorboard": Place(
        "tensorboard",
        lambda folder, run: told_once(run.logs_directory / "tensorboard"),
        rounding=np.float32,
    ),
    "wandb": Place(
        "wandb", lambda folder, run: together(sorted(folder.glob("wandb/offline-run-*/*.wandb")))
    ),
    "trackio": Place("trackio", of_trackio),
    "mlflow files": Place(
        "mlflow",
        lambda folder, run: together(find_sources([folder / "mlruns"])),
        (("MLFLOW_TRACKING_URI", "mlruns"), ("MLFLOW_ALLOW_FILE_STORE", "true")),
    ),
    "mlflow sqlite": Place("mlflow", lambda folder, run: told_once(folder / "mlflow.db")),
    "aim": Place("aim", of_aim),
}


@pytest.fixture(scope="session", autouse=True)
def _trackio_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Which it reads once, when it is imported."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        patched.setenv("WANDB_MODE", "offline")
        patched.setenv("WANDB_SILENT", "true")
        yield


@pytest.fixture(params=list(PLACES))
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    found = PLACES[request.param]
    pytest.importorskip(found.tool, reason=f"{found.tool} is not installed")
    monkeypatch.chdir(tmp_path)
    for name, value in found.environment:
        monkeypatch.setenv(name, value)
    return found


def trained(folder: Path, settings: dict[str, Any], reporter: Any = None) -> Run:
    run, ready = start(resolve(settings), folder)
    train_stage(run, ready.config, ready, reporter)
    return run


def gone_on(run: Run, reporter: Any = None, **given: Any) -> Run:
    run, config = reopen(run.directory, given)
    train_stage(run, config, prepare(config, run), reporter)
    return run


def recorded(run: Run, rounding: type[np.floating[Any]]) -> Traces:
    """What a tool is to have, each value once."""
    trace = run.train_trace()
    found: Traces = {}
    for name in set(log_with.COLUMNS) - {"skipped"}:
        known = trace[np.isfinite(trace[name])]
        if len(known):
            values = known[name].to_numpy().astype(rounding).astype(np.float64)
            steps = known["step"].tolist()
            found[name] = {step: [each] for step, each in zip(steps, values.tolist(), strict=True)}
    last = int(trace["step"].max())
    found["stop_step"] = {last: [float(last)]}
    return found


class Told(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_what_is_logged_reads_back_to_the_same_numbers_each_once_also_after_a_kill(
    place: Place, given: dict[str, Any], tmp_path: Path
) -> None:
    settings = given | {"log_with": (place.tool,), "track": ("paired",)}
    with pytest.raises(MemoryError):
        trained(tmp_path / "run", settings, KillAt(5))  # of which the last state is that of step 4
    run = Run(tmp_path / "run")
    assert run.status["step"] < 5
    told = Told()
    gone_on(run, told)
    assert told.notes == []
    found = place.read(tmp_path, run)
    expected = recorded(run, place.rounding)
    assert {"loss", "grad_norm", "lr", "l_det", "dvar_ratio", "paired"} < expected.keys()
    if place.tool == "wandb":  # has it in its summary, where the last step is done
        del expected["stop_step"]
        found.pop("stop_step", None)
    assert found == expected
    before = place.read(tmp_path, run)
    gone_on(run, told)  # which has nothing left to do
    assert place.read(tmp_path, run) == before
