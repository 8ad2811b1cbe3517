"""One process at a time works on a run, and a start that was cut off makes room."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.run.directory import Run
from noiseprobe.run.holding import LOCK, began, held
from noiseprobe.run.settings import RunConfig


def hold(directory: Path, line: Any) -> None:
    with held(directory):
        line.send("held")
        line.recv()


def test_a_second_process_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    line, far = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path, far))
    process.start()
    assert line.recv() == "held"
    told = f"in use by process {process.pid} on .* since 20"
    with pytest.raises(UserError, match=told), held(tmp_path):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with held(tmp_path), held(tmp_path):  # which one process may do repeatedly
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()


def test_what_a_dead_machine_left_half_written_is_removed(tmp_path: Path) -> None:
    """The lock tells who held the run, and that it does no more; of others nothing is known."""
    about = {"process": 7, "host": "other-node", "since": "2026-01-01"}
    (tmp_path / LOCK).write_text(json.dumps(about))
    left = [tmp_path / f".state.pt.other_node-{process}-3.partial" for process in (7, 77)]
    for path in left:
        path.write_text("half")
    with held(tmp_path):
        assert [path.is_file() for path in left] == [False, True]


def test_a_start_that_was_cut_off_makes_room(config: RunConfig, tmp_path: Path) -> None:
    place = tmp_path / "run"
    run = Run.create(place, config, "cpu")
    assert not began(place)
    for name in ("config.toml", "environment.json"):
        (place / name).unlink()
    (place / ".config.toml.host-1-0.partial").write_text("model = 'x")
    assert began(place)
    assert Run.create(place, config, "cpu").config == config
    assert not list(place.glob("*.partial"))
    assert run.status["stage"] == "created"


def test_what_is_someone_elses_is_left_alone(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        Run.create(tmp_path, config, "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
