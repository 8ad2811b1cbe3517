"""A sweep to a real S3 server on this machine: killed, gone on with elsewhere, the same bytes."""

import importlib
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Reporter, Silent
from noiseprobe.run import lease
from noiseprobe.run.bucket import HOME, Bucket
from noiseprobe.run.directory import find_runs
from noiseprobe.run.verifying import findings
from noiseprobe.stages.in_bucket import in_bucket
from noiseprobe.stages.sweep import progress_of, read_sweep, run_sweep, train_one
from noiseprobe.stages.workers import Jobs, in_processes
from tests.cli.test_kills import content
from tests.stages.test_on_ray import one_after_another, one_thread
from tests.stages.test_sweep import SMALL, Told, written

pytestmark = pytest.mark.long

URL = "s3://sweeps/one"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server with a bucket, to which the environment leads."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", address)
        patched.setenv("AWS_ACCESS_KEY_ID", "someone")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patched.setenv("AWS_CONFIG_FILE", os.devnull)
        patched.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        Bucket(URL).opened()[0].mkdir("sweeps")
        try:
            yield address
        finally:
            started.stop()


def train_and_die(folder: Path, config: Any, probe: int, reporter: Reporter) -> None:
    """`train_one` whose process is killed after step 5, with a state saved at steps 2 and 4."""
    from noiseprobe.stages import in_bucket as module
    from noiseprobe.training import driver

    module.SHARE = 1.0
    driver.SAVE_SHARE = 1e9

    class Deadly(Silent):
        def advance(self, done: int, note: str = "") -> None:
            reporter.advance(done, note)
            if done == 5:
                os.kill(os.getpid(), signal.SIGKILL)

    train_one(folder, config, probe, Deadly())


def objects(files: Any, root: str) -> dict[str, Any]:
    """What tells that an object was not written again, by its name."""
    found = files.find(root, detail=True)
    return {name: (each["ETag"], each["LastModified"]) for name, each in found.items()}


def test_a_sweep_to_a_bucket_goes_on_elsewhere_and_ends_with_the_same_bytes(
    server: str,
    tmp_path: Path,
    photographs: Path,
    model_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
) -> None:
    inputs: dict[str, Any] = {
        "concepts": [str(photographs)],
        "seeds": [0, 1],
        "probe": 6,
        "settings": SMALL | {"model": str(model_directory)},
    }
    there = {"out": URL, "scratch": str(tmp_path / "scratch")}
    file = written(tmp_path / "there.toml", inputs | there)
    sweep = read_sweep(file)
    assert sweep.bucket is not None
    first = next(iter(sweep.runs))
    jobs: Jobs = {first: sweep.job(first, train_and_die, sweep.runs[first], 6)}
    failed = in_processes("training", jobs, 1, 1, Told(), {first: (0, 6)})
    assert list(failed.values()) == ["its process died of SIGKILL, as when memory runs out"]
    assert progress_of(sweep, failed)["step"].tolist() == [4, 0]
    (left,) = (tmp_path / "scratch").iterdir()

    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 1.0)
    with one_thread():
        assert run_sweep(sweep, Told(), one_after_another) == {}
        here = read_sweep(written(tmp_path / "here.toml", inputs | {"out": "here"}))
        assert run_sweep(here, Told(), one_after_another) == {}
    assert not left.exists(), "what the killed process left on its node is removed"
    assert list((tmp_path / "scratch").iterdir()) == []

    files, root = sweep.bucket.opened()
    copied = tmp_path / "copied"
    names = files.find(root)
    files.get(names, [str(copied / each.removeprefix(f"{root}/")) for each in names])
    assert all((copied / HOME / name / "index.json").is_file() for name in sweep.runs)
    assert len([each for each in (copied / HOME).rglob("*") if each.is_file()]) == 2
    for own in (copied / HOME).rglob("index.json"):
        own.unlink()
    assert content(copied) == content(tmp_path / "here")
    own_files = {each.relative_to(tmp_path / "here") for each in (tmp_path / "here").rglob("*.*")}
    theirs = {each.relative_to(copied) for each in copied.rglob("*.*")} - {Path(HOME)}
    lock = {each for each in own_files if each.name == ".lock"}
    assert {each for each in own_files - lock if "traces/t" not in str(each)} == {
        each for each in theirs if "traces/t" not in str(each)
    }
    for run in find_runs([copied]):
        assert [each for each in findings(run) if each.wrong] == []

    before = objects(files, root)
    with one_thread():
        assert run_sweep(sweep, Told(), one_after_another) == {}
    assert {
        name: each for name, each in objects(files, root).items() if "can-write" not in name
    } == (before)

    code, out, err = call("fetch", URL, tmp_path / "fetched", "--traces", "--json")
    assert code == 0, err
    assert json.loads(out) == [str(tmp_path / "fetched" / name) for name in sorted(sweep.runs)]
    code, theirs_told, err = call("table", tmp_path / "fetched", "--json")
    assert code == 0, err
    _, ours_told, _ = call("table", tmp_path / "here", "--json")
    timeless = [
        [
            {key: each for key, each in row.items() if "minutes" not in key and "speed" not in key}
            for row in json.loads(told)
        ]
        for told in (theirs_told, ours_told)
    ]
    assert timeless[0] == timeless[1]
    assert not list((tmp_path / "fetched").rglob("*.safetensors"))


def write_and(folder: Path, how: str, reporter: Reporter) -> None:
    """A job: it writes something, and fails or is stopped or ends."""
    (folder / "status.json").write_text('{"stage": "training", "step": 3}')
    match how:
        case "fail":
            raise UserError(f"'{folder}/config.toml': no such word")
        case "break":
            raise RuntimeError("ours")


def test_what_a_job_saved_before_it_failed_is_in_the_bucket(server: str, tmp_path: Path) -> None:
    bucket = Bucket("s3://sweeps/failing")
    for how, error in {"fail": UserError, "break": RuntimeError}.items():
        name = Path("lora") / how
        with pytest.raises(error) as told:
            in_bucket(bucket, str(tmp_path), name, write_and, (how,))
        if how == "fail":
            assert str(told.value) == "'s3://sweeps/failing/lora/fail/config.toml': no such word"
        run = bucket.run(name)
        assert b'"step": 3' in run.files.cat_file(f"{run.place}/status.json")
        in_bucket(bucket, str(tmp_path), name, write_and, ("end",))
        assert [job for job, _ in run.read_index().done] == ["write_and"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_a_bucket_is_one_line_before_anything_is_trained(
    server: str, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(content: dict[str, Any]) -> str:
        file = written(tmp_path / "sweep.toml", {"concepts": ["banded-cup"], **content})
        code, out, err = call("sweep", file)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        return str(err)

    nobody = {
        "endpoint_url": "http://127.0.0.1:1",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    assert "does not exist" in told({"out": "s3://nosuch-bucket/one"})
    assert "Could not connect" in told({"out": URL, "storage": nobody})
    assert "Protocol not known" in told({"out": "s4://bucket/one"})
    assert "settings.cross" in told({"out": URL, "settings": {"cross": True}})
    assert "storage: it belongs to" in told({"out": "runs", "storage": {"anon": True}})
    assert "scratch: it belongs to" in told({"scratch": "/tmp"})
    with monkeypatch.context() as without:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            without.delenv(name)
        without.setenv("AWS_EC2_METADATA_DISABLED", "true")
        own = {"skip_instance_cache": True}
        assert "Unable to locate credentials" in told({"out": "s3://sweeps/two", "storage": own})
    with monkeypatch.context() as without:
        without.setitem(__import__("sys").modules, "s3fs", None)
        known = importlib.import_module("fsspec.registry")
        without.delitem(cast(Any, known)._registry, "s3")
        assert "pip install 'noiseprobe[s3]'" in told({"out": "s3://sweeps/three"})
    assert list(tmp_path.iterdir()) == [tmp_path / "sweep.toml"]
    code, _, err = call("fetch", "s3://sweeps/nothing", tmp_path / "fetched")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds no run" in err
    code, _, err = call("fetch", "runs", tmp_path / "fetched")
    assert (code, err.count("\n")) == (2, 1)
