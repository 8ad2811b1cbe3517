"""A sweep on a real Ray cluster of three nodes, of which one is killed during a training."""

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Reporter
from noiseprobe.run.bucket import Bucket
from noiseprobe.run.directory import Run, find_runs
from noiseprobe.run.holding import held
from noiseprobe.stages import on_ray
from noiseprobe.stages.on_ray import ray_engine
from noiseprobe.stages.sweep import Sweep, read_sweep, train_sweep
from noiseprobe.stages.workers import Engine, Jobs
from tests.crashing import recorded
from tests.stages.test_sweep import SMALL, Told, written

pytestmark = pytest.mark.long

TRACES = ("train", "tracked", "probe", "metrics")
UNTIL_KILLED = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without a CPU, and two nodes with one each; what they write is removed with them."""
    pytest.importorskip("ray")
    with (
        # Not below the test's folder, whose path is too long for a socket.
        tempfile.TemporaryDirectory(prefix="r") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("RAY_TMPDIR", folder)
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1)
        try:
            yield made
        finally:
            made.shutdown()


@pytest.fixture
def engine(cluster: Any) -> Iterator[Engine]:
    with ray_engine(cluster.address) as engine:
        yield engine


def begun(file: Path, seconds: float = 500) -> str:
    """What a job wrote, once it has."""
    until = time.monotonic() + seconds
    while not (file.is_file() and file.read_text()):
        assert time.monotonic() < until, f"{file} is not there"
        time.sleep(0.1)
    return file.read_text()


def train_slowly(out: Path, config: Any, probe: int, reporter: Reporter) -> None:
    """`train_one` that says where it runs, and waits a while at step 4, as a long one would be."""
    import ray

    from noiseprobe.stages.sweep import train_one

    class Slow(Told):
        def stage(self, name: str, total: int, done: int = 0) -> None:
            reporter.stage(name, total, done)

        def advance(self, done: int, note: str = "") -> None:
            reporter.advance(done, note)
            place = out.parent / f"{out.name}.node"
            if done == 4 and not place.is_file():
                place.write_text(ray.get_runtime_context().get_node_id())
                time.sleep(UNTIL_KILLED)

    train_one(out, config, probe, Slow())


def test_a_node_that_dies_costs_nothing_but_time(
    cluster: Any,
    tmp_path: Path,
    photographs: Path,
    model_directory: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    content: dict[str, Any] = {
        "concepts": [str(photographs)],
        "methods": ["textual-inversion", "dreambooth-lora"],
        "probe": 6,
        "settings": SMALL | {"model": str(model_directory)},
        "method": {"dreambooth-lora": {"rank": 1}},
    }
    here = read_sweep(written(tmp_path / "here.toml", content | {"out": "here"}))
    assert train_sweep(here, Told()) == {}
    there = read_sweep(written(tmp_path / "there.toml", content | {"out": "there"}))
    first = next(iter(there.runs))
    first.parent.mkdir(parents=True)

    def kill_its_node() -> None:
        name = begun(first.parent / f"{first.name}.node")
        (node,) = (each for each in cluster.worker_nodes if each.node_id == name)
        cluster.remove_node(node, allow_graceful=False)

    jobs: Jobs = {out: (train_slowly, out, config, 6) for out, config in there.runs.items()}
    steps = dict.fromkeys(jobs, (0, 6))
    told = Told()
    killer = threading.Thread(target=kill_its_node)
    killer.start()
    with ray_engine(cluster.address) as engine:
        assert engine("training", jobs, None, 1, told, steps) == {}
        killer.join()
    assert capfd.readouterr().out == "", "what Ray tells of the node is not told among results"
    assert told.notes == [f"{first}: its node died; it goes on from what it saved"]
    assert told.stages == [("training", 12, 0)]
    assert told.done[-1] == 12
    ours, theirs = find_runs([tmp_path / "here"]), find_runs([tmp_path / "there"])
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert recorded(one, TRACES) == recorded(other, TRACES)
        assert one.config == other.config
        assert files(one) == files(other)


def files(run: Run) -> set[str]:
    """All files of a run but those that hold where it may go on from."""
    every = [path for path in run.directory.rglob("*") if path.is_file()]
    names = {str(path.relative_to(run.directory)) for path in every}
    # How the trace is cut depends on where the run was interrupted; its rows do not.
    return {name for name in names if not name.startswith("traces/t")}


def end(file: Path, how: str) -> None:
    """A job: it dies, fails, is asked to stop, waits to be, or is done."""
    match how:
        case "kill":
            with file.open("a") as tries:
                tries.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        case "once":
            if not file.is_file():
                file.write_text("dying")
                os.kill(os.getpid(), signal.SIGKILL)
            file.write_text("done")
        case "fail":
            raise UserError("--steps: too many")
        case "wait":
            from noiseprobe.core.progress import STOP_SOON

            file.write_text("waits")
            for _ in range(6000):
                time.sleep(0.01)  # a step
                if STOP_SOON.is_set():
                    file.write_text("saved")
                    raise Interrupted("stopped")
        case "hold":
            file.with_suffix(".began").write_text("tries")
            with held(file.parent / "run"):
                file.write_text("holds")
        case _:
            file.write_text(str(os.getpid()))


def jobs_of(folder: Path, hows: list[str]) -> Jobs:
    return {folder / f"{i}-{how}": (end, folder / f"{i}-{how}", how) for i, how in enumerate(hows)}


def test_a_job_whose_process_dies_is_begun_again_unless_it_dies_every_time(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "RETRIES", 1)
    told = Told()
    failed = engine("training", jobs_of(tmp_path, ["good", "kill", "fail", "once"]), 2, 1, told)
    assert failed == {
        str(tmp_path / "1-kill"): "its process died, 2 times without coming further",
        str(tmp_path / "2-fail"): "--steps: too many",
    }
    assert (tmp_path / "1-kill").read_text() == "xx"
    assert (tmp_path / "3-once").read_text() == "done"
    assert told.done[-1] == 4


def save(folder: Path, text: str, reporter: Reporter) -> None:
    """A job that writes where it is told to."""
    (folder / "status.json").write_text(text)


def test_what_a_job_writes_on_its_node_gets_to_a_bucket(engine: Engine, tmp_path: Path) -> None:
    bucket = Bucket((tmp_path / "bucket").as_uri())
    sweep = Sweep({}, bucket=bucket, scratch=str(tmp_path / "scratch"))
    names = [Path("lora") / name for name in ("a", "b")]
    jobs: Jobs = {name: sweep.job(name, save, name.name) for name in names}
    assert engine("measuring", jobs, None, 1, Told()) == {}
    assert bucket.runs() == names
    assert [(tmp_path / "bucket" / each / "status.json").read_text() for each in names] == [
        "a",
        "b",
    ]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_ctrl_c_lets_jobs_save_and_begins_no_more(engine: Engine, tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, ["wait", "wait", "good"])

    def interrupt() -> None:
        begun(tmp_path / "0-wait")
        os.kill(os.getpid(), signal.SIGINT)

    asker = threading.Thread(target=interrupt)
    asker.start()
    with pytest.raises(Interrupted, match="the same command goes on") as error:
        engine("training", jobs, 1, 1, Told())
    asker.join()
    assert error.value.by == signal.SIGINT
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0-wait": "saved"}


def test_a_run_that_a_dying_process_still_holds_is_waited_for(
    engine: Engine, tmp_path: Path
) -> None:
    results: list[dict[str, str]] = []
    jobs = jobs_of(tmp_path, ["hold"])
    work = threading.Thread(target=lambda: results.append(engine("training", jobs, 1, 1, Told())))
    with held(tmp_path / "run"):
        work.start()
        begun(tmp_path / "0-hold.began")
        time.sleep(1)
        assert not (tmp_path / "0-hold").is_file()
    work.join()
    assert results == [{}]
    assert (tmp_path / "0-hold").read_text() == "holds"


def one_after_another(
    stage: str, jobs: Jobs, workers: Any, threads: int, reporter: Reporter, steps: Any = None
) -> dict[str, str]:
    """The simplest engine: the jobs in this process."""
    for function, *arguments in jobs.values():
        function(*arguments)
    return {}


@contextmanager
def one_thread() -> Iterator[None]:
    """As the workers have, since sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_command_does_a_sweep_with_cross_on_the_cluster(
    cluster: Any, tmp_path: Path, photographs: Path, model_directory: Path, call: Any
) -> None:
    pair = tmp_path / "pair"
    pair.mkdir()
    for path in sorted(photographs.iterdir())[:2]:
        (pair / path.name).write_bytes(path.read_bytes())
    settings = SMALL | {"model": str(model_directory), "cross": True}
    content: dict[str, Any] = {
        "concepts": ["pair"],
        "settings": settings,
        "resources": {"cpus": 0.5, "gpus": 0, "memory": 0.1},
    }
    file = written(tmp_path / "sweep.toml", content | {"out": "there"})
    code, out, err = call("sweep", file, "--engine", "ray", "--address", cluster.address, "--json")
    assert code == 0, err
    assert "cross: 0 of 12 done" in err
    sweep = read_sweep(written(tmp_path / "here.toml", content | {"out": "here"}))
    with one_thread():
        assert train_sweep(sweep, Told(), one_after_another) == {}
    (ours,), (theirs,) = find_runs([tmp_path / "here"]), find_runs([tmp_path / "there"])
    assert json.loads(out) == {"done": [str(theirs.directory)], "failed": {}}
    assert theirs.status["stopped_by"] == "fixed"
    assert len(theirs.cross_runs()) == 2
    both = [*zip(ours.cross_runs(), theirs.cross_runs(), strict=True), (ours, theirs)]
    for one, other in both:
        assert recorded(one, TRACES[:2]) == recorded(other, TRACES[:2])


def test_what_is_not_there_is_told_of_in_one_line(
    tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "sweep.toml", {"concepts": ["banded-cup"]})
    code, _, err = call("sweep", file, "--engine", "ray", "--address", "127.0.0.1:1")
    assert (code, err.count("\n")) == (2, 1)
    assert "--address 127.0.0.1:1: no Ray cluster there" in err
    code, _, err = call("sweep", file, "--address", "127.0.0.1:1")
    assert (code, err.count("\n")) == (2, 1)
    assert "--engine ray" in err
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    code, _, err = call("sweep", file, "--engine", "ray")
    assert (code, err.count("\n")) == (2, 1)
    assert "pip install 'noiseprobe[ray]'" in err
    assert not (tmp_path / "runs").exists()
