"""A run in a bucket: whole at every moment, of one writer at a time."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.core.manifest import DamagedFile
from noiseprobe.run import bucket as module
from noiseprobe.run import lease
from noiseprobe.run.bucket import HOME, Bucket, Index, StoredRun
from noiseprobe.run.holding import InUse
from noiseprobe.run.lease import Lease, leased
from tests.crashing import Killed

NAME = Path("lora/dog/seed-0")
PART = "traces/train/0.parquet"
BEFORE = {"config.toml": "a", "state.pt": "one", "status.json": "1", PART: "x"}
AFTER = BEFORE | {
    "state-before.pt": "one",  # which takes the place of another
    "state.pt": "two",
    "status.json": "2",
    "checkpoints/2/w": "w2",
}
del AFTER[PART]


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(f"memory://{uuid4().hex}/prefix")


class Dying:
    """A file system that dies at the n-th thing that changes it; a list is as many things."""

    def __init__(self, files: Any, last: int) -> None:
        self.files, self.last, self.count = files, last, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.files, name)
        if name not in ("put", "copy", "pipe_file", "rm_file"):
            return found

        def counted(first: Any, *others: Any, **options: Any) -> None:
            many = isinstance(first, list)
            for each in zip(first, *others, strict=True) if many else [(first, *others)]:
                self.count += 1
                if self.count == self.last:
                    raise Killed
                found(*([one] for one in each) if many else each, **options)

        return counted


def laid_out(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def read(run: StoredRun, folder: Path) -> dict[str, str]:
    run.fetch(folder)
    return {
        each.relative_to(folder).as_posix(): each.read_text()
        for each in folder.rglob("*")
        if each.is_file()
    }


def lying(run: StoredRun) -> dict[str, str]:
    """What a copy by any tool would have."""
    below = {each: each.removeprefix(f"{run.place}/") for each in run.files.find(run.place)}
    return {name: run.files.cat_file(each).decode() for each, name in below.items()}


def test_a_crash_at_any_moment_leaves_the_state_before_or_the_new_one(tmp_path: Path) -> None:
    seen, last = set(), 0
    while True:
        last += 1
        bucket = Bucket(f"memory://{uuid4().hex}/prefix")
        first = bucket.run(NAME)
        first.begin(tmp_path / "none")
        first.push(laid_out(tmp_path / f"{last}-before", BEFORE))
        first.settle()
        writer = bucket.run(NAME)
        writer.begin(tmp_path / f"{last}-writer")
        writer.files = dying = Dying(writer.files, last)
        ended = False
        try:
            writer.push(laid_out(tmp_path / f"{last}-after", AFTER))
            writer.settle()
            ended = True
        except Killed:
            pass
        found = read(bucket.run(NAME), tmp_path / f"{last}-found")
        assert found in (BEFORE, AFTER)
        seen.add(found == AFTER)
        again = bucket.run(NAME)
        again.begin(tmp_path / f"{last}-again")
        again.push(laid_out(tmp_path / f"{last}-after", AFTER))
        again.settle()
        assert lying(again) == AFTER
        assert again.files.find(f"{again.home}/new") == []
        if ended:
            break
    assert dying.count > 12
    assert seen == {True, False}


def test_what_was_fetched_before_is_brought_up_to_date(bucket: Bucket, tmp_path: Path) -> None:
    listed = {"manifest.jsonl": json.dumps({"path": PART, "bytes": 1, "sha256": "0"})}
    copy = tmp_path / "copy"
    for state in (BEFORE | listed, AFTER):
        run = bucket.run(NAME)
        run.begin(tmp_path / uuid4().hex)
        run.push(laid_out(tmp_path / uuid4().hex, state))
        run.fetch(copy)
    (copy / "manifest.jsonl").unlink(missing_ok=True)
    assert read(run, copy) == AFTER


def test_what_is_there_is_not_sent_again(bucket: Bucket, tmp_path: Path) -> None:
    run = bucket.run(NAME)
    run.begin(tmp_path / "none")
    run.push(laid_out(tmp_path / "run", BEFORE))
    run.settle()
    run.files = counting = Dying(run.files, -1)
    run.push(tmp_path / "run")
    run.settle()
    assert counting.count == 0
    (tmp_path / "run" / "state-before.pt").write_text("one")  # as state.pt is
    sent: list[str] = []
    run.files = Recording(run.files, sent)
    run.push(tmp_path / "run")
    assert sent == []


def test_what_grows_at_any_time_is_not_sent(bucket: Bucket, tmp_path: Path) -> None:
    run = bucket.run(NAME)
    run.begin(tmp_path / "none")
    live = {"logs/tensorboard/events": "a loss", "logs/aim.txt": "a name"}
    run.push(laid_out(tmp_path / "run", BEFORE | live))
    assert read(run, tmp_path / "copy") == BEFORE


class Recording:
    """A file system that tells what is sent to it."""

    def __init__(self, files: Any, sent: list[str]) -> None:
        self.files, self.sent = files, sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.files, name)

    def put(self, here: list[str], there: list[str]) -> None:
        self.sent += here
        self.files.put(here, there)


def test_damage_is_found_and_other_objects_are_left_alone(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIES", 2)
    run = bucket.run(NAME)
    run.begin(tmp_path / "none")
    run.push(laid_out(tmp_path / "run", BEFORE))
    run.settle()
    run.files.pipe_file(f"{run.place}/notes.txt", b"mine")
    run.push(laid_out(tmp_path / "run", AFTER))
    run.settle()
    assert lying(run)["notes.txt"] == "mine"
    run.files.pipe_file(f"{run.place}/state.pt", b"ten")
    with pytest.raises(DamagedFile, match=r"seed-0': 'state.pt' is damaged"):
        bucket.run(NAME).fetch(tmp_path / "copy")
    run.files.rm_file(f"{run.place}/state.pt")
    with pytest.raises(DamagedFile, match="an object is missing"):
        bucket.run(NAME).fetch(tmp_path / "copy")
    run.files.pipe_file(f"{run.home}/index.json", b"{}")
    with pytest.raises(DamagedFile, match="its index is damaged"):
        bucket.run(NAME).fetch(tmp_path / "copy")
    other = bucket.run(Path("lora/cat/seed-0"))
    other.files.pipe_file(f"{other.place}/config.toml", b"someone's")
    with pytest.raises(UserError, match="holds objects that no sweep"):
        other.begin(tmp_path / "other")


def test_an_index_that_leads_out_of_the_run_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    for path in ("../x", "/x", "a/../../x"):
        entry = {"bytes": 1, "sha256": "0", "settled": True}
        with pytest.raises(ValueError, match="leads out"):
            Index.from_json(
                str({"files": {path: entry}, "placed": [], "done": []})
                .replace("'", '"')
                .replace("True", "true")
                .encode()
            )


def test_a_second_writer_is_refused_and_one_that_was_cut_off_is_followed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 1.0)
    run = bucket.run(NAME)
    where = run.files, run.home, run.url
    with leased(*where) as first:
        with pytest.raises(InUse, match="is in use by process"), leased(*where):
            pass
        first.require()
    assert run.files.find(run.home) == []
    monkeypatch.setattr(lease, "BEAT_SECONDS", 600.0)  # it does not answer
    with leased(*where) as first:
        with leased(*where) as second:
            second.require()
            with pytest.raises(InUse, match="was taken over by process"):
                first.require()
        with pytest.raises(InUse, match="was taken over"):
            first.require()


def test_of_many_that_would_take_a_run_over_one_does(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 0.2)
    run = bucket.run(NAME)
    Lease(run.files, run.home, run.url).acquire()  # and no word more
    together = threading.Barrier(8)
    took: list[Lease] = []

    def take() -> None:
        own = Lease(run.files, run.home, run.url)
        together.wait()
        try:
            own.acquire()
        except InUse:
            return
        took.append(own)

    takers = [threading.Thread(target=take) for _ in range(8)]
    for each in takers:
        each.start()
    for each in takers:
        each.join()
    assert len(took) == 1
    took[0].require()


def test_a_writer_that_another_one_passed_by_changes_nothing(
    bucket: Bucket, tmp_path: Path
) -> None:
    late = bucket.run(NAME)
    late.begin(tmp_path / "none")
    other = bucket.run(NAME)
    other.begin(tmp_path / "none")
    other.push(laid_out(tmp_path / "after", AFTER))
    with pytest.raises(InUse, match="written by another process meanwhile"):
        late.push(laid_out(tmp_path / "before", BEFORE))
    assert read(bucket.run(NAME), tmp_path / "found") == AFTER


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nosuch://bucket/prefix", "Protocol not known: nosuch"),
        ("s3://", "names no bucket"),
    ],
)
def test_a_wrong_address_is_one_line(url: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        Bucket(url).opened()
    assert "\n" not in str(error.value)


def test_runs_are_found_by_their_indexes(bucket: Bucket, tmp_path: Path) -> None:
    assert bucket.runs() == []
    for name in ("b/seed-1", "a/seed-0"):
        run = bucket.run(Path(name))
        run.begin(tmp_path / "none")
        run.push(laid_out(tmp_path / "run", BEFORE))
    assert bucket.runs() == [Path("a/seed-0"), Path("b/seed-1")]
    wanted: Callable[[str], bool] = lambda path: path == "status.json"  # noqa: E731
    with bucket.copied(bucket.runs(), wanted) as folder:
        found = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*.json"))
    assert found == ["a/seed-0/status.json", "b/seed-1/status.json"]
    assert HOME.startswith(".")
