"""A crash at any write leaves a run that ends as one that was never cut off does."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from noiseprobe.core import manifest
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.verifying import findings
from noiseprobe.stages.pipeline import measure_stage, probe_stage, reopen, start, train_stage
from noiseprobe.training.preparing import prepare
from tests.crashing import crashing, recorded


@pytest.fixture
def brief(given: dict[str, Any]) -> RunConfig:
    few = {"steps": 2, "checkpoint_every": 1, "hold_out": "1", "keep": "best", "watch": "l_val"}
    return resolve(given | few)


EVERY = 3
"""Of the writes, so many are passed over from one crash to the next, to save time."""


def whole(directory: Path, config: RunConfig) -> Run:
    """The run in `directory`, begun or gone on with, as the command does it."""
    if (directory / "config.toml").is_file():
        run, config = reopen(directory, {})
        ready = prepare(config, run)
    else:
        run, ready = start(config, directory)
    train_stage(run, config, ready)
    return run


def content(run: Run) -> dict[str, str]:
    """All that a training says but how long it took."""
    return recorded(run, ("train", "tracked"))


def test_a_crash_at_any_write_costs_nothing_but_time(brief: RunConfig, tmp_path: Path) -> None:
    with crashing(None) as disk:
        reference = content(whole(tmp_path / "whole", brief))
    assert len(reference) == 6
    last = disk.count
    assert last > 30
    for number in range(1, last + 1, EVERY):
        place = tmp_path / f"run-{number}"
        with crashing(number, done=number // EVERY % 2 == 0) as disk:
            whole(place, brief)
        assert disk.dead
        run = whole(place, brief)
        assert content(run) == reference, f"write {number} of {last}"
        assert [each for each in findings(run) if each.wrong] == []
        assert not list(place.rglob("*.partial")), "what the dead one left is removed"


def test_a_file_that_is_renamed_before_it_is_flushed_is_found(
    brief: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk finds the defect that it is there to find."""
    monkeypatch.setattr(manifest, "flush_all", lambda place: None)
    with crashing(14, done=True) as disk:
        whole(tmp_path / "run", brief)
    assert disk.dead
    assert any("damaged" in each.what for each in findings(Run(tmp_path / "run")))


def test_a_crash_at_any_write_of_a_probe_or_a_measure_costs_nothing_but_time(
    given: dict[str, Any], tmp_path: Path
) -> None:
    few: dict[str, Any] = {"steps": 2, "checkpoint_every": 1, "samples": 2, "sampling_steps": 1}
    few |= {"clip": "tiny-clip", "replicates": 1, "probe_batch": 2}
    trained = whole(tmp_path / "trained", resolve(given | few)).directory
    traces = ("train", "probe", "metrics")
    with crashing(None) as disk:
        reference = recorded(judged(trained, tmp_path / "whole"), traces)
    last = disk.count
    assert last > 20
    for number in range(1, last + 1, EVERY):
        place = tmp_path / f"run-{number}"
        with crashing(number, done=number // EVERY % 2 == 0) as disk:
            judged(trained, place)
        assert disk.dead
        run = judged(trained, place)
        assert recorded(run, traces) == reference, f"write {number} of {last}"
        assert [each for each in findings(run) if each.wrong] == []


def judged(trained: Path, place: Path) -> Run:
    """A copy of a trained run at `place`, if there is none yet; probed and measured."""
    if not place.is_dir():
        shutil.copytree(trained, place)
    run, config = reopen(place, {})
    probe_stage(run, config, prepare(config, run))
    measure_stage(run, config, [0, 2])
    return run
