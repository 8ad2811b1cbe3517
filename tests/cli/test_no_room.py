"""A disk that is full, a folder that nothing may be written in, a run that is removed meanwhile."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image, ImageOps

from noiseprobe.core.errors import UserError
from noiseprobe.run.directory import find_runs
from noiseprobe.run.resolving import resolve
from noiseprobe.run.verifying import findings
from noiseprobe.stages.pipeline import measure_stage, probe_stage, reopen, start, train_stage
from tests.conftest import short
from tests.crashing import (
    content,
    failing,
    files_at_most,
    in_this_process,
    read_only,
    refusing,
    removing,
)

pytestmark = pytest.mark.long

REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO)
"""What the system says, one after the other."""


@dataclass(frozen=True)
class Case:
    """A command, what is there before it, and at how many of its writes the disk fails."""

    name: str
    words: tuple[str, ...]
    before: str = "nothing"
    failures: int = 3


PICK = "--checkpoints run/checkpoints --validation VALIDATION --val-batch 4 --device cpu"
CASES = [
    Case("train", ("train", "--config", "settings.toml", "--out", "run"), failures=8),
    Case("run", ("run", "--config", "settings.toml", "--out", "run"), failures=2),
    Case("probe", ("probe", "run"), "trained"),
    Case("measure", ("measure", "run", "--steps", "0,2"), "trained"),
    Case("plot", ("plot", "run"), "done", failures=2),
    Case("sweep", ("sweep", "sweep.toml"), failures=5),
    Case("pick", ("pick", *PICK.split(), "--out", "picked"), "trained", failures=6),
    Case("dvar-replay", ("dvar-replay", "run", "--csv", "a/b.csv", "--plot", "a/b.png"), "trained"),
    Case("table", ("table", "run", "--out", "a", "--plot", "a/c.png"), "done", failures=4),
]
LARGEST = 9000
"""Bytes, that are enough for settings and too few for states, traces and figures."""

REMOVED_AT = 25
"""The write at which a run is removed."""

FOLDERS = ("run", "runs", "a", "picked")
"""Where they write."""


@pytest.fixture(scope="module")
def places(
    model_directory: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Folders to begin in: with nothing but settings, with a trained run, with one that is done."""
    root = tmp_path_factory.mktemp("places")
    settings = short(model_directory, photographs) | {"steps": 2, "checkpoint_every": 1}
    settings |= {"hold_out": "1", "watch": "l_val", "keep": "best", "replicates": 1}
    settings |= {"samples": 2, "sampling_steps": 1, "clip": "tiny-clip", "probe_batch": 2}
    settings |= {"check_every": 2}
    of_all = {key: value for key, value in settings.items() if key not in ("concept", "stop")}
    sweep = {"concepts": [settings["concept"]], "out": "runs", "settings": of_all}
    (root / "nothing").mkdir()
    (root / "nothing" / "settings.toml").write_text(tomli_w.dumps(settings))
    (root / "nothing" / "sweep.toml").write_text(tomli_w.dumps(sweep))
    (root / "mirrored").mkdir()
    ImageOps.mirror(Image.open(photographs / "00.png")).save(root / "mirrored" / "00.png")
    shutil.copytree(root / "nothing", root / "trained")
    run, ready = start(resolve(settings), root / "trained" / "run")
    train_stage(run, ready.config, ready)
    shutil.copytree(root / "trained", root / "done")
    run, config = reopen(root / "done" / "run", {})
    probe_stage(run, config, ready)
    measure_stage(run, config, [0, 2])
    return {path.name: path for path in root.iterdir()}


@pytest.fixture
def begin(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Case], Path]:
    """Make the folder anew in which a command is given, and be there."""
    place = tmp_path / "place"

    def make(case: Case) -> Path:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(places[case.before], place)
        monkeypatch.chdir(place)
        return place

    monkeypatch.setattr("noiseprobe.stages.workers.in_processes", in_this_process)
    return make


@pytest.fixture
def given_words(
    places: dict[str, Path], model_directory: Path, photographs: Path
) -> Callable[[Case], list[str]]:
    """What is given on the command line."""

    def words(case: Case) -> list[str]:
        given = [{"VALIDATION": str(places["mirrored"])}.get(word, word) for word in case.words]
        if case.name == "pick":
            given += ["--model", str(model_directory), "--concept", str(photographs)]
            given += ["--class", "dog", "--caption", "a photo of a <v> dog"]
        return given

    return words


def wrong_in(place: Path) -> list[str]:
    """What `verify` would find in the runs there."""
    try:
        runs = find_runs([place])
    except UserError:
        return []  # where there are none
    return [f"{each.path} {each.what}" for run in runs for each in findings(run) if each.wrong]


def line_of(err: str) -> str:
    """The one line that says what went wrong."""
    assert "Traceback" not in err, err
    told = [line for line in err.splitlines() if line.startswith(("noiseprobe: ", "failed: "))]
    told = [line for line in told if "warning: " not in line]
    assert len(dict.fromkeys(told)) == 1, err
    return told[0]


def require_refused(case: Case, place: Path, code: int, said: str, why: str) -> None:
    """One line says what and why; nothing is damaged, and nothing half written is left."""
    told = line_of(said)
    assert code in (1, 2), said
    assert why.lower() in told.lower()
    assert any(f"{folder}/" in told or f"'{folder}'" in told for folder in FOLDERS), told
    assert not list(place.rglob("*.partial"))
    assert wrong_in(place) == []


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_where_nothing_can_be_written_is_one_line_and_the_same_command_does_the_rest(
    case: Case,
    begin: Callable[[Case], Path],
    given_words: Callable[[Case], list[str]],
    call: Any,
) -> None:
    """Again and again, further on each time, on what the ones before have left."""
    command, place = given_words(case), begin(case)
    with failing(None, refusing(errno.ENOSPC)) as disk:
        assert call(*command)[0] == 0
    reference, writes = content(place), disk.count
    place = begin(case)
    before = content(place)
    with read_only(place):
        code, _, err = call(*command)
    require_refused(case, place, code, err, os.strerror(errno.EACCES))
    assert content(place) == before
    with files_at_most(LARGEST):
        code, _, err = call(*command)
    require_refused(case, place, code, err, os.strerror(errno.EFBIG))
    refused = []
    for at in range(case.failures):
        number = REFUSALS[at % len(REFUSALS)]
        with failing(1 + writes * at // case.failures, refusing(number)) as disk:
            code, out, err = call(*command)
        assert disk.first is not None
        if disk.count < disk.first:
            assert code == 0, err
            break
        refused.append(disk.first)
        require_refused(case, place, code, err, os.strerror(number))
        assert not out.strip() or case.name == "sweep", "nothing passes for a result"
    assert len(refused) > 1
    code, _, err = call(*command)
    assert code == 0, err
    assert content(place) == reference
    print(f"{case.name}: read-only, too large, refused from the writes {refused} of {writes} on")


@pytest.mark.parametrize("case", CASES[:7], ids=[case.name for case in CASES[:7]])
def test_a_run_that_is_removed_meanwhile_is_not_written_again(
    case: Case,
    begin: Callable[[Case], Path],
    given_words: Callable[[Case], list[str]],
    call: Any,
) -> None:
    command, place = given_words(case), begin(case)
    folder = place / {"pick": "picked", "sweep": "runs"}.get(case.name, "run")
    with failing(REMOVED_AT, removing(folder)) as disk:
        code, out, err = call(*command)
    assert disk.count >= REMOVED_AT
    assert code == (1 if case.name == "sweep" else 2), err
    assert "was removed" in line_of(err)
    assert not out.strip() or case.name == "sweep"
    assert [path for path in folder.rglob("*") if path.is_file()] == []
