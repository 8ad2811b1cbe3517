"""Each kind of damage is told, mended, and the run ends as one that was never damaged."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.verifying import findings
from noiseprobe.stages.mending import mend
from noiseprobe.stages.pipeline import probe_stage, reopen, start, train_stage
from noiseprobe.training import driver
from noiseprobe.training.preparing import prepare
from tests.conftest import short
from tests.crashing import crashing
from tests.crashing import recorded as recorded_of

Harm = Callable[[Run], Path]


class Notes(Silent):
    """Keeps what is worth a line."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def made(model_directory: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a state at each checkpoint."""
    few = {"checkpoint_every": 2, "settings": "timesteps", "replicates": 1}
    config = resolve(short(model_directory, photographs) | few)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(driver, "SAVE_SHARE", 1e9)
        run, ready = start(config, tmp_path_factory.mktemp("made") / "run")
        train_stage(run, config, ready)
    probe_stage(run, config, ready)
    return run


@pytest.fixture
def run(made: Run, tmp_path: Path) -> Run:
    shutil.copytree(made.directory, tmp_path / "run")
    return Run(tmp_path / "run")


def recorded(run: Run) -> dict[str, str]:
    """All that a run says but how long it took."""
    return recorded_of(run, ("train", "tracked", "probe"))


def flipped(file: Path) -> Path:
    """One bit of a file is another now."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return file


def cut(file: Path) -> Path:
    """A file ends in its middle."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


def lost(file: Path) -> Path:
    """A file is not there."""
    file.unlink()
    return file


def copied(file: Path) -> Path:
    """A part of a trace is there under another name as well."""
    other = file.with_name("part-00000099.parquet")
    shutil.copy(file, other)
    return other


def part(trace: str, step: int) -> Callable[[Run], Path]:
    return lambda run: run.directory / "traces" / trace / f"part-{step:08}.parquet"


WORD = "learned_embeds.safetensors"
"""What a checkpoint of textual inversion is."""

DAMAGE: dict[str, tuple[Callable[[Path], Path], Callable[[Run], Path]]] = {
    "a bit in the state": (flipped, lambda run: run.state_file),
    "half a state": (cut, lambda run: run.state_file),
    "the newest part of the trace": (flipped, part("train", 5)),
    "an old part of the trace": (lost, part("train", 1)),
    "a copied part": (copied, part("train", 3)),
    "the losses of samples": (cut, part("tracked", 3)),
    "a checkpoint": (flipped, lambda run: run.checkpoint(4) / WORD),
    "the first checkpoint": (lost, lambda run: run.checkpoint(0) / WORD),
    "a part of the probe": (flipped, part("probe", 2)),
    "the status": (cut, lambda run: run.directory / "status.json"),
    "the status and a checkpoint": (
        cut,
        lambda run: (flipped(run.checkpoint(2) / WORD), run.directory / "status.json")[1],
    ),
    "the result": (flipped, lambda run: run.result_directory / WORD),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_and_mended(made: Run, run: Run, kind: str) -> None:
    harm, place_of = DAMAGE[kind]
    place = harm(place_of(run))
    told = [each for each in findings(run) if each.wrong]
    assert place in [each.path for each in told]
    assert all("\n" not in each.what for each in told)
    assert mend(run)
    assert [each for each in findings(run) if each.wrong] == []
    again, config = reopen(run.directory, {})
    ready = prepare(config, again)
    train_stage(again, config, ready)
    probe_stage(again, config, ready)
    assert recorded(again) == recorded(made)
    assert [each for each in findings(again) if each.wrong] == []


@pytest.mark.parametrize("harm", [flipped, cut])
def test_a_damaged_state_falls_back_to_the_one_before(
    made: Run, run: Run, harm: Callable[[Path], Path]
) -> None:
    harm(run.state_file)
    to = Notes()
    config = run.config
    train_stage(run, config, prepare(config, run), to)
    assert any(
        "state.pt' is damaged" in note and "going on from step 4" in note for note in to.notes
    )
    assert recorded(run) == recorded(made)


def test_without_any_state_nothing_is_trained_anew_unasked(run: Run) -> None:
    whole = run.train_trace()
    for file in (run.state_file, run.state_before_file):
        file.unlink()
    with pytest.raises(UserError, match=r"state\.pt' is missing, and there is no earlier state"):
        train_stage(run, run.config, prepare(run.config, run))
    assert run.train_trace().equals(whole)


def test_what_is_damaged_is_not_read(run: Run) -> None:
    for place, read in (
        (run.directory / "config.toml", lambda: run.config),
        (part("train", 3)(run), run.train_trace),
        (part("probe", 2)(run), run.probe_trace),
    ):
        whole = place.read_bytes()
        flipped(place)
        with pytest.raises(UserError, match=f"'{place}' is damaged") as caught:
            read()
        assert "\n" not in str(caught.value)
        place.write_bytes(whole)
    part("train", 3)(run).unlink()
    with pytest.raises(UserError, match="the step after 2 is missing"):
        run.train_trace()


def test_settings_that_were_cut_off_are_not_filled_with_defaults(run: Run) -> None:
    file = run.directory / "config.toml"
    text = file.read_text()
    file.write_text(text[: text.index("steps")])
    with pytest.raises(UserError, match="is damaged"):
        reopen(run.directory, {})
    mend(run)
    assert file in [each.path for each in findings(run) if each.wrong]
    file.write_text(text.replace("steps = 6", "steps = 8"))  # as a person may do on purpose
    mend(run)
    assert run.config.steps == 8
    assert [each for each in findings(run) if each.wrong] == []


def test_damaged_parts_of_a_probe_are_evaluated_anew(made: Run, run: Run) -> None:
    flipped(part("probe", 2)(run))
    to, config = Notes(), run.config
    probe_stage(run, config, prepare(config, run), to)
    assert any("part-00000002" in note and "anew" in note for note in to.notes)
    assert recorded(run) == recorded(made)


def test_a_damaged_status_does_not_keep_a_checkpoint_from_being_mended(made: Run, run: Run) -> None:
    flipped(run.directory / "status.json")
    flipped(run.checkpoint(4) / "learned_embeds.safetensors")
    mend(run)
    assert [each for each in findings(run) if each.wrong] == []
    config = run.config
    train_stage(run, config, prepare(config, run))
    assert recorded(run) == recorded(made)


def test_a_damaged_checkpoint_does_not_become_the_result(run: Run) -> None:
    file = run.checkpoint(6) / "learned_embeds.safetensors"
    content = file.read_bytes()
    file.unlink()  # which the result shares
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    config = run.config
    with pytest.raises(UserError, match=f"'{file}' is damaged"):
        train_stage(run, config, prepare(config, run))
    assert (run.result_directory / file.name).read_bytes() == content


@pytest.mark.parametrize("kind", ["a checkpoint", "the status", "the result"])
def test_a_repair_that_is_cut_off_is_taken_up(made: Run, tmp_path: Path, kind: str) -> None:
    harm, place_of = DAMAGE[kind]
    for number in range(1, 30):
        run = Run(tmp_path / f"run-{number}")
        shutil.copytree(made.directory, run.directory)
        place = harm(place_of(run))
        harmed = place.read_bytes()
        with crashing(number) as disk:
            mend(run)
        if not disk.dead:
            break
        there = place.is_file() and place.read_bytes() == harmed
        assert not there or place in [each.path for each in findings(run) if each.wrong]
        mend(run)
        assert not place.is_file() or place.read_bytes() != harmed
        assert [each for each in findings(run) if each.wrong] == []
    assert number > 1


def test_what_was_announced_and_did_not_come_is_forgotten_by_the_next(run: Run) -> None:
    announced = run.result_directory / "other.safetensors"
    announced.write_bytes(b"weights")
    manifest.record(announced, announced)
    announced.unlink()  # as where a crash came between the two
    assert [each.wrong for each in findings(run)] == [False]
    with run.held():
        assert findings(run) == []


def test_what_a_crash_left_of_a_checkpoint_is_no_damage(run: Run) -> None:
    left = run.checkpoints_directory / ".step-00000007.host-1-1.partial" / "weights.safetensors"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert findings(run) == []
    strange = run.checkpoints_directory / "mine" / "weights.safetensors"
    strange.parent.mkdir()
    strange.write_bytes(b"whole")
    assert [each.path for each in findings(run)] == [strange]


def test_the_command_tells_and_mends(call: Any, run: Run, config: RunConfig) -> None:
    assert call("verify", run.directory)[0] == 0
    flipped(run.state_file)
    code, printed, _ = call("verify", run.directory)
    assert (code, "state.pt is damaged" in " ".join(printed.split())) == (1, True)
    code, printed, _ = call("verify", run.directory, "--repair")
    assert code == 0
    assert call("verify", run.directory, "--json")[0] == 0
    code, _, err = call("verify", run.directory.parent)
    assert (code, err.count("\n")) == (2, 1)
