"""A crash at any write leaves a run that ends as one that was never cut off does."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PIL import Image, ImageOps

from noiseprobe import Patience, Tracker
from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import written_whole
from noiseprobe.core.progress import Silent
from noiseprobe.run.directory import Run, find_runs
from noiseprobe.run.foreign import Series
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.verifying import findings
from noiseprobe.stages.foreign import find_series, judge, settings_of, start_foreign
from noiseprobe.stages.mending import mend
from noiseprobe.stages.pipeline import measure_stage, probe_stage, reopen, start, train_stage
from noiseprobe.stages.sweep import read_sweep, run_sweep
from noiseprobe.training.preparing import prepare
from tests.crashing import content as written
from tests.crashing import crashing, in_this_process, recorded

pytestmark = pytest.mark.long


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


EVERY_OF_A_SWEEP, EVERY_OF_A_PICK = 13, 5
"""They write as a training, a probe and a measure do, whose writes are cut off above."""


def test_a_crash_at_any_write_of_a_sweep_costs_nothing_but_time(
    given: dict[str, Any], tmp_path: Path
) -> None:
    """The work of its processes is done in this one."""
    few: dict[str, Any] = {"steps": 2, "samples": 2, "sampling_steps": 1, "clip": "tiny-clip"}
    settings = {key: each for key, each in (given | few).items() if key not in ("concept", "stop")}
    about = {"concepts": [given["concept"]], "out": "runs", "settings": settings | {"window": 2}}
    file = tmp_path / "place" / "sweep.toml"

    def swept() -> dict[str, str]:
        assert run_sweep(read_sweep(file), Silent(), in_this_process) == {}
        return written(file.parent)

    def begin() -> None:
        shutil.rmtree(file.parent, ignore_errors=True)
        file.parent.mkdir()
        file.write_text(tomli_w.dumps(about))

    begin()
    with crashing(None) as disk:
        reference = swept()
    last = disk.count
    assert last > 50
    for number in range(1, last + 1, EVERY_OF_A_SWEEP):
        begin()
        with crashing(number, done=number // EVERY_OF_A_SWEEP % 2 == 0) as disk:
            swept()
        assert disk.dead
        assert swept() == reference, f"write {number} of {last}"
        (run,) = find_runs([file.parent])
        assert [each for each in findings(run) if each.wrong] == []


def test_a_crash_at_any_write_of_a_pick_costs_nothing_but_time(
    given: dict[str, Any], brief: RunConfig, tmp_path: Path
) -> None:
    trained = whole(tmp_path / "trained", brief)
    mirrored = tmp_path / "mirrored"
    mirrored.mkdir()
    picture = Image.open(Path(given["concept"]) / "00.png")
    ImageOps.mirror(picture).save(mirrored / "00.png")
    of_pick = {"settings": "original", "validation": str(mirrored), "val_batch": 2}
    names = ("concept", "class_noun", "model", "device", "replicates", "probe_batch")
    asked = of_pick | {name: given[name] for name in names}
    caption = "a photo of a <v> dog"
    series = find_series([str(trained.checkpoints_directory)], asked, caption)
    with crashing(None) as disk:
        reference = picked(series, asked, tmp_path / "whole")
    last = disk.count
    assert last > 20
    for number in range(1, last + 1, EVERY_OF_A_PICK):
        place = tmp_path / f"run-{number}"
        with crashing(number, done=number // EVERY_OF_A_PICK % 2 == 0) as disk:
            picked(series, asked, place)
        assert disk.dead
        assert picked(series, asked, place) == reference, f"write {number} of {last}"
        assert [each for each in findings(Run(place)) if each.wrong] == []


def picked(series: Series, asked: dict[str, Any], place: Path) -> dict[str, str]:
    """What the pick among checkpoints of another trainer recorded in `place`."""
    if (place / "config.toml").is_file():
        run = Run.open(place)
        ready = prepare(run.config, run, series=run.foreign)
    else:
        run, ready = start_foreign(series, settings_of(series, asked), place)
    judge(run, ready)
    return recorded(run, ("train", "tracked", "held_out"))


def tracked(place: Path) -> tuple[dict[str, str], list[int]]:
    """A loop of four steps that saves the tracker's state after every second, and goes on from it.

    What is in the folder at its end, and the steps that it took.
    """
    saved, curves = place / "mine.json", {"a": 0.5, "b": 0.4}
    now = [0]

    def losses(rate: float) -> Any:
        return lambda: np.array([rate ** now[0], 1 + rate * now[0]])

    def save(state: dict[str, Any]) -> None:
        with written_whole(saved) as beside:
            beside.write_text(json.dumps(state))

    watching = {name: losses(rate) for name, rate in curves.items()}
    tracker = Tracker(watching, watch="b", criterion=Patience(3), out=place / "tracked")
    if saved.is_file():
        tracker.load_state_dict(json.loads(saved.read_text()))
    else:
        save(tracker.state_dict())
    begun = len(tracker.frame())
    for step in range(begun, 5):
        now[0] = step
        tracker.update(step)
        if step % 2 == 0:
            save(tracker.state_dict())
    tracker.close()
    return written(place / "tracked"), tracker.frame()["step"].tolist()


def test_a_crash_at_any_write_of_a_tracker_costs_nothing_but_time(tmp_path: Path) -> None:
    with crashing(None) as disk:
        reference, steps = tracked(tmp_path / "whole")
    assert steps == [*range(5)]
    last = disk.count
    assert last > 40
    for number in range(1, last + 1):
        place = tmp_path / f"run-{number}"
        with crashing(number, done=number % 2 == 0) as disk:
            tracked(place)
        assert disk.dead
        assert tracked(place) == (reference, steps), f"write {number} of {last}"
        assert [each for each in findings(Run(place / "tracked")) if each.wrong] == []


def test_a_damaged_part_of_a_tracker_is_told_and_never_read(tmp_path: Path) -> None:
    tracked(tmp_path)
    run = Run(tmp_path / "tracked")
    part = run.tracked_directory / "part-00000003.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    for read in (run.tracked_trace, lambda: tracked(tmp_path)):
        with pytest.raises(UserError, match=r"part-00000003\.parquet' is damaged: .* remove it"):
            read()
    assert {each.path for each in findings(run) if each.wrong} == {part}
    assert mend(run) == [], "no command makes it again"
    part.unlink()
    assert tracked(tmp_path)[1] == [*range(5)]
