"""A sweep: what its file may say, that it resumes, and that one failure holds up nothing."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from noiseprobe.analysis.comparison import raw_numbers, table
from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Silent
from noiseprobe.run.directory import find_runs
from noiseprobe.stages.pipeline import probe_stage, start, train_stage
from noiseprobe.stages.sweep import progress_of, read_sweep, run_sweep, train_one
from noiseprobe.stages.workers import Jobs, in_processes

SMALL: dict[str, Any] = {
    "steps": 6,
    "window": 3,
    "threshold": 0.6,
    "patience": 1,
    "check_every": 2,
    "checkpoint_every": 2,
    "samples": 2,
    "sampling_steps": 1,
    "train_batch_size": 1,
    "eval_batch": 2,
    "replicates": 2,
    "probe_batch": 2,
    "clip": "tiny-clip",
    "class": "dog",
    "device": "cpu",
}


def written(file: Path, content: dict[str, Any]) -> Path:
    file.write_text(tomli_w.dumps(content))
    return file


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[tuple[str, int, int]] = []
        self.done: list[int] = []

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self.stages.append((name, total, done))

    def advance(self, done: int, note: str = "") -> None:
        self.done.append(done)

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_sweep_goes_on_past_a_failure_resumes_and_fills_the_table(
    tmp_path: Path, photographs: Path, model_directory: Path
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "broken.png").write_bytes(b"no image")
    content = {
        "concepts": [str(photographs), "bad"],
        "methods": ["textual-inversion", "dreambooth-lora"],
        "out": "runs",
        "workers": 2,
        "probe": 6,
        "settings": SMALL | {"model": str(model_directory)},
        "method": {"dreambooth-lora": {"rank": 1}},
    }
    sweep = read_sweep(written(tmp_path / "sweep.toml", content))
    assert len(sweep.runs) == 4
    told = Told()
    failed = run_sweep(sweep, told)
    assert sorted(Path(out).parent.name for out in failed) == ["bad", "bad"]
    assert ["broken.png: not an image" in reason for reason in failed.values()] == [True] * 2, (
        failed
    )
    assert len(told.notes) == 2
    assert told.stages == [("training", 4 * 6, 0), ("measuring", 2, 0)]
    training, measuring = told.done[:-2], told.done[-2:]
    assert measuring == [1, 2]
    assert training == sorted(training)
    assert training[-1] == 4 * 6
    assert len(set(training)) > 2 * 6, "progress is shown within a run"
    stand = progress_of(sweep, failed).set_index(["concept", "method"]).sort_index()
    assert stand.loc["bad", ["step", "failed"]].to_numpy().tolist() == [[0, True]] * 2
    done = stand.loc[photographs.name, ["step", "steps", "failed"]]
    assert done.to_numpy().tolist() == [[6, 6, False]] * 2
    runs = find_runs([tmp_path / "runs"])
    assert {run.config.method for run in runs} == {"textual-inversion", "dreambooth-lora"}
    assert {run.config.rank for run in runs if run.config.method == "dreambooth-lora"} == {1}
    assert all(set(run.probe_trace()["step"]) == {0, 6} for run in runs)
    summary = table(raw_numbers(runs))
    assert set(summary["variant"]) == {"baseline", "clip", "few", "dvar"}
    assert summary["val_clip_img"].notna().all()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.parquet")}
    again = Told()
    assert run_sweep(sweep, again).keys() == failed.keys()
    assert again.stages[0] == ("training", 4 * 6, 2 * 6), "what was done before counts as done"
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_run_that_was_probed_before_its_end_is_trained_to_it(
    tmp_path: Path, photographs: Path, model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content: dict[str, Any] = {
        "concepts": [str(photographs)],
        "out": "runs",
        "probe": 2,
        "settings": SMALL | {"model": str(model_directory)},
    }
    sweep = read_sweep(written(tmp_path / "sweep.toml", content))
    ((out, config),) = sweep.runs.items()
    run, ready = start(config, out)
    with monkeypatch.context() as stopped:
        asked = threading.Event()
        asked.set()
        stopped.setattr("noiseprobe.core.progress.STOP_SOON", asked)
        with pytest.raises(Interrupted):
            train_stage(run, config, ready)
    probe_stage(run, config, ready)
    assert (run.status["stage"], run.status["step"]) == ("training", 0)
    train_one(out, config, 2)
    assert (run.status["stage"], run.status["step"]) == ("probed", 6)
    assert set(run.probe_trace()["step"]) == {0, 2, 4, 6}
    with pytest.raises(UserError, match=r"--seed: this run was started with 0, not 1"):
        train_one(out, config.model_copy(update={"seed": 1}), 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"concept": ["a"]}, "unknown key 'concept'; did you mean 'concepts'?"),
        ({"concepts": ["a"], "settings": {"stpes": 3}}, "'settings.stpes'; did you mean 'steps'?"),
        ({"concepts": ["a"], "method": {"dreamboth": {}}}, "did you mean 'dreambooth'?"),
        ({"concepts": ["a"], "methods": ["lora"]}, "methods: unknown 'lora'; did you mean"),
        ({"concepts": []}, "concepts: [] given, but a list"),
        ({}, "concepts: [] given, but a list"),
        ({"concepts": ["x*"]}, "no folder matches 'x*'"),
        ({"concepts": ["a"], "workers": 0}, "workers: 0 given"),
        ({"concepts": ["a"], "settings": {"steps": 0}}, "--steps: 0 given"),
        ({"concepts": ["a"], "settings": {"stop": "dvar"}}, "settings.stop"),
        ({"concepts": ["a"], "settings": 5}, "settings: 5 given, but a table is expected"),
        ({"concepts": [1]}, "concepts: 1 given, but a text in quotes is expected"),
        ({"concepts": ["a"], "methods": [2]}, "methods: 2 given, but a text"),
        ({"concepts": ["a"], "out": 1}, "out: 1 given, but a text in quotes is expected"),
        ({"concepts": ["a"], "method": 3}, "method: 3 given, but a table is expected"),
        (
            {"concepts": ["a"], "method": {"dreambooth": 1}},
            "method.dreambooth: 1 given, but a table is expected: [method.dreambooth]",
        ),
        ({"concepts": ["x/dog", "y/dog"]}, "'x/dog' and 'y/dog' have the same name; rename"),
    ],
)
def test_a_wrong_file_is_told_of_in_one_line(
    tmp_path: Path, content: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as error:
        read_sweep(written(tmp_path / "sweep.toml", content))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "sweep.toml"]


def test_methods_concepts_and_seeds_are_multiplied(tmp_path: Path) -> None:
    content = {"concepts": ["banded-cup", "patched-dog"], "seeds": [0, 1, 2]}
    sweep = read_sweep(written(tmp_path / "sweep.toml", content))
    assert len(sweep.runs) == 6
    assert tmp_path / "runs/sweep/textual-inversion/patched-dog/seed-2" in sweep.runs
    assert all(config.stop == "none" and config.checks for config in sweep.runs.values())


def end(file: Path, how: str) -> None:
    """A job: it dies, is killed, fails, is asked to stop, or writes which process did it."""
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "fail":
            raise UserError("--steps: too many")
        case "stop":
            os.kill(os.getppid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            raise Interrupted("saved")
        case _:
            file.write_text(str(os.getpid()))


def test_a_process_that_dies_fails_its_own_run_alone(tmp_path: Path) -> None:
    hows = ["good", "kill", "good", "exit", "fail", "good", "good", "kill", "good"]
    jobs: Jobs = {tmp_path / str(i): (end, tmp_path / str(i), how) for i, how in enumerate(hows)}
    told = Told()
    failed = in_processes("training", jobs, 2, 1, told)
    died = "its process died of SIGKILL, as when memory runs out"
    ends = {"kill": died, "exit": "its process ended with exit code 3", "fail": "--steps: too many"}
    assert failed == {str(tmp_path / str(i)): ends[h] for i, h in enumerate(hows) if h in ends}
    assert len(told.notes) == len(failed)
    done = {path.read_text() for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 5
    assert len(done) < 5, "a process does more than one run"


def test_a_signal_to_a_sweep_ends_it_and_no_more_is_begun(tmp_path: Path) -> None:
    hows = ["good", "stop", "good", "good"]
    jobs: Jobs = {tmp_path / str(i): (end, tmp_path / str(i), how) for i, how in enumerate(hows)}
    with pytest.raises(Interrupted, match="the same command goes on") as error:
        in_processes("training", jobs, 1, 1, Silent())
    assert error.value.by == signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert not multiprocessing.active_children()
