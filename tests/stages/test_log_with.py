"""What `--log-with` shows in other tools: the same numbers, each once, and nothing of training."""

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noiseprobe.analysis.ending import ending_of
from noiseprobe.cli.flags import forbid_network
from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.logs import find_sources, read_log
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import LOG_WITH
from noiseprobe.run.verifying import findings
from noiseprobe.stages import log_tools, log_with
from noiseprobe.stages.pipeline import finish, reopen, start, train_stage
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
    """What our own readers find in a log, which is to say nothing twice, nor be cut off."""
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
    """Whoever only reads sees what `aim up` has indexed."""
    import aim

    repo = aim.Repo.from_path(str(folder))
    (name,) = repo.list_all_runs()
    quiet = {"system_tracking_interval": None, "capture_terminal_logs": False}
    opened = aim.Run(name, repo=repo, force_resume=True, **quiet)
    found: Traces = {}
    for metric in opened.metrics():
        steps, (values, *_) = metric.data.items_list()
        for step, value in zip(steps, values, strict=True):
            found.setdefault(metric.name, {}).setdefault(step, []).append(value)
    opened.close()
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
        patched.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    found = PLACES[request.param]
    if found.tool == "aim":  # which is not made for every Python
        pytest.importorskip("aim")
    monkeypatch.chdir(tmp_path)
    for name, value in found.environment:
        monkeypatch.setenv(name, value)
    return found


def trained(folder: Path, settings: dict[str, Any], reporter: Any = None) -> Run:
    run, ready = start(resolve(settings), folder)
    train_stage(run, ready.config, ready, reporter)
    return run


def killed(folder: Path, settings: dict[str, Any]) -> Run:
    """A training that ended at step 5, of which the last state is that of step 4.

    What hands over to a tool may outlast it here, as it would not outlast a process.
    """
    with pytest.raises(MemoryError):
        trained(folder, settings, KillAt(5))
    for thread in threading.enumerate():
        if thread.name.startswith("log-with-"):
            thread.join()
    return Run(folder)


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
    ending = ending_of(run)
    ends = {"stop_step": ending.steps, "best_step": ending.best_step}
    told = {name: step for name, step in ends.items() if step is not None}
    return found | {name: {ending.steps: [float(step)]} for name, step in told.items()}


class Told(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_what_is_logged_reads_back_to_the_same_numbers_each_once_also_after_a_kill(
    place: Place, given: dict[str, Any], tmp_path: Path
) -> None:
    pictures = {"checks": True, "check_every": 3, "samples": 2, "sampling_steps": 1}
    settings = given | pictures | {"clip": "tiny-clip", "track": ("paired",)}
    settings |= {"log_with": (place.tool,)}
    run = killed(tmp_path / "run", settings)
    assert run.status["step"] < 5
    told = Told()
    gone_on(run, told)
    assert told.notes == []
    found = place.read(tmp_path, run)
    expected = recorded(run, place.rounding)
    columns = {"loss", "grad_norm", "lr", "l_det", "dvar_ratio", "paired", "clip_img"}
    assert columns < expected.keys()
    if place.tool == "wandb":  # has it in its summary, where the last step is done
        del expected["stop_step"]
        found.pop("stop_step", None)
    assert found == expected
    before = place.read(tmp_path, run)
    gone_on(run, told)  # which has nothing left to do
    assert place.read(tmp_path, run) == before


@pytest.fixture
def of_tensorboard(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"log_with": ("tensorboard",)}


def in_tensorboard(run: Run) -> Traces:
    """All that TensorBoard's own reader finds, also what it would take for replaced."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = str(run.logs_directory / "tensorboard")
    read = EventAccumulator(place, {"scalars": 0}, purge_orphaned_data=False).Reload()
    found: Traces = {}
    for tag in read.Tags()["scalars"]:
        for each in read.Scalars(tag):
            found.setdefault(tag, {}).setdefault(each.step, []).append(each.value)
    return found


def test_nothing_but_what_tools_write_differs_with_them(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tools = [name for name in LOG_WITH if find_spec(name)]
    assert set(tools) >= set(LOG_WITH) - {"aim"}
    pictures = {"checks": True, "check_every": 3, "samples": 2, "sampling_steps": 1}
    settings = given | pictures | {"clip": "tiny-clip"}
    plain = trained(tmp_path / "a" / "run", settings)
    told = Told()
    shown = trained(tmp_path / "b" / "run", settings | {"log_with": tools}, told)
    assert not [note for note in told.notes if "log-with" in note]
    without, with_them = content(plain.directory), content(shown.directory)
    changed = {name for name in with_them if with_them[name] != without.get(name)}
    assert changed == {"config.toml"}
    assert without.keys() == with_them.keys()
    assert shown.config.model_copy(update={"log_with": ()}) == plain.config
    assert not [each for each in findings(shown) if each.wrong]


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_what_a_kill_has_cut_off_is_handed_over_again_and_nothing_twice(
    cut: int, of_tensorboard: dict[str, Any], tmp_path: Path
) -> None:
    run = killed(tmp_path / "run", of_tensorboard)
    (file,) = (run.logs_directory / "tensorboard").glob("events*")
    file.write_bytes(file.read_bytes()[:-cut])
    left = in_tensorboard(run)
    gone_on(run)
    assert in_tensorboard(run) == recorded(run, np.float32)
    assert 4 <= max(left["loss"]) <= 5


def test_a_tool_that_is_named_later_gets_what_came_before(
    given: dict[str, Any], tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", given)
    gone_on(run, steps=8, log_with="tensorboard")
    found = in_tensorboard(run)
    assert sorted(found["loss"]) == list(range(1, 9))
    assert found == recorded(run, np.float32)


def test_a_tool_that_fails_ends_nothing_and_gets_all_of_it_later(
    of_tensorboard: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    with monkeypatch.context() as patched:
        patched.setattr(log_tools.TensorBoard, "start", failing)
        run = trained(tmp_path / "run", of_tensorboard, told)
    failed, lacks = [note for note in told.notes if "log-with" in note]
    assert "the network is gone" in failed
    assert "tensorboard: it lacks" in lacks
    assert run.status["stopped_by"] == "steps"
    told = Told()
    gone_on(run, told)
    assert not [note for note in told.notes if "log-with" in note]
    assert in_tensorboard(run) == recorded(run, np.float32)


def failing(tool: log_tools.Tool) -> None:
    raise ConnectionError("the network is gone")


def test_a_tool_that_answers_no_more_is_not_waited_for(
    of_tensorboard: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(log_tools.TensorBoard, "start", lambda tool: answers.wait() and None)
    monkeypatch.setattr(log_with, "PATIENCE_SECONDS", 0.1)
    told = Told()
    run = trained(tmp_path / "run", of_tensorboard, told)
    assert run.status["stopped_by"] == "steps"
    assert [note for note in told.notes if "does not answer, and lacks" in note]
    answers.set()


def test_pictures_verdict_and_figures_are_shown_once(
    of_tensorboard: dict[str, Any], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    pictures = {"checks": True, "check_every": 3, "samples": 2, "sampling_steps": 1}
    settings = of_tensorboard | pictures | {"clip": "tiny-clip", "settings": "timesteps"}
    run, ready = start(resolve(settings), tmp_path / "run")
    summary = finish(run, ready.config, ready)
    finish(run, ready.config, prepare(ready.config, run))  # which has nothing to add
    found = EventAccumulator(str(run.logs_directory / "tensorboard")).Reload()
    assert [each.step for each in found.Images("pictures")] == [0, 3, 6]
    drawn = Image.open(io.BytesIO(found.Images("pictures")[0].encoded_image_string))
    assert drawn.width == 2 * drawn.height
    (text,) = found.Tensors("verdict/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "\n\n".join(summary["verdict"])
    figures = {Path(each).stem for each in summary["figures"]}
    assert figures == {
        tag.removeprefix("figures/") for tag in found.Tags()["images"] if "figures/" in tag
    }
    assert all(len(found.Images(f"figures/{name}")) == 1 for name in figures)


def test_a_tool_that_is_not_installed_is_named_before_anything_is_done(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_tools, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--log-with: aim is not installed; pip install aim"):
        start(resolve(given | {"log_with": "aim"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tools_are_named_with_commas_or_one_by_one(given: dict[str, Any]) -> None:
    one_by_one = resolve(given | {"log_with": ["wandb", "mlflow,wandb"]})
    assert one_by_one.log_with == ("wandb", "mlflow")
    assert resolve(given | {"log_with": "wandb, mlflow"}).log_with == one_by_one.log_with
    with pytest.raises(UserError, match=r"--log-with: 'tensorbord' given; .*tensorboard"):
        resolve(given | {"log_with": "tensorbord"})


def test_offline_no_tool_sends_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

    for before, after in (("online", "offline"), ("disabled", "disabled")):
        monkeypatch.setenv("WANDB_MODE", before)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
        forbid_network(True)
        assert os.environ["WANDB_MODE"] == after
        assert MLFLOW_DISABLE_TELEMETRY.get()
