"""A disk on which a crash comes at the n-th thing that is done to it."""

import ctypes
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from noiseprobe.core import files, manifest
from noiseprobe.core.progress import Reporter
from noiseprobe.run.directory import Run
from noiseprobe.stages.workers import Jobs, work

OWN = {".lock", "manifest.jsonl", "state.pt", "state-before.pt", "log-with.json"}
"""What a process tells of itself: not what was asked for."""

OF_TOOLS = "logs"
"""The folder of a run in which the tools of `--log-with` write, in bytes of their own."""


TOLD = ("train", "tracked", "probe", "metrics", ".json", ".toml")
"""What is compared as it is and not by its checksum, so that a failure shows the difference."""


class Killed(BaseException):
    """What nothing but a test catches, as nothing catches SIGKILL."""


class Disk:
    """Counts what is flushed and renamed, and dies at the n-th, before or after doing it.

    What was renamed without having been flushed is cut in half then, as a disk is free to do with
    what it was not told to keep.

    Args:
        last: at which flush or rename it dies, from 1; None for never.
        done: whether that one still happens.
    """

    def __init__(self, last: int | None, *, done: bool) -> None:
        self.last, self.done = last, done
        self.count = 0
        self.dead = False
        self._flushed: set[int] = set()
        self._loose: list[Path] = []

    def _turn(self) -> None:
        self.count += 1
        if self.count == self.last:
            self.dead = True

    def fsync(self, descriptor: int) -> None:
        """Flush, or die."""
        self._turn()
        if not self.dead or self.done:
            self._flushed.add(os.fstat(descriptor).st_ino)
        if self.dead:
            self.die()

    def replace(self, source: Any, target: Any) -> None:
        """Rename, or die."""
        self._turn()
        if not self.dead or self.done:
            REPLACE(source, target)
            here = Path(target)
            inside = [each for each in (here, *here.rglob("*")) if each.is_file()]
            self._loose += [each for each in inside if each.stat().st_ino not in self._flushed]
        if self.dead:
            self.die()

    def die(self) -> None:
        """Lose what may be lost, and end."""
        for each in self._loose:
            if each.is_file():
                os.truncate(each, each.stat().st_size // 2)
        raise Killed


REPLACE = os.replace


def _partial(path: Path, process: int) -> Path:
    return path.with_name(f".{path.name}.{files.HOST}-{process}-{next(files._COUNT)}.partial")


@contextmanager
def crashing(last: int | None, *, done: bool = False) -> Iterator[Disk]:
    """Let everything within write to such a disk; swallows `Killed`."""
    disk = Disk(last, done=done)
    remove = files._remove
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", disk.fsync)
        patched.setattr(os, "replace", disk.replace)
        # The dead clean up nothing, and are known to be dead by their number.
        gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
        gone.wait()
        patched.setattr(files, "_beside", lambda path: _partial(path, gone.pid))
        patched.setattr(files, "_remove", lambda path: None if disk.dead else remove(path))
        with suppress(Killed):
            yield disk


def recorded(run: Run, traces: Sequence[str]) -> dict[str, str]:
    """The checksum of all that a run says but how long it took, by trace and file."""
    found = {}
    for name in traces:
        trace = getattr(run, f"{name}_trace")()
        trace = trace.loc[:, [not str(column).endswith("seconds") for column in trace]]
        if "metric" in trace:
            trace = trace[trace["metric"] != "measure_seconds"].reset_index(drop=True)
        found[name] = hashlib.sha256(trace.to_csv().encode()).hexdigest()
    for folder in (run.checkpoints_directory, run.result_directory):
        for file in manifest.files_in(folder):
            name = str(file.relative_to(run.directory))
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


class Failing:
    """A disk that does something else than it is told from the n-th flush, rename or mkdir on.

    Args:
        first: from which one on, from 1; None for never.
        otherwise: is called before each of them, with the path where one is known, and may raise.
    """

    def __init__(self, first: int | None, otherwise: Callable[[str | None], None]) -> None:
        self.first, self.otherwise = first, otherwise
        self.count = 0

    def turn(self, path: object = None) -> None:
        """One thing is done."""
        self.count += 1
        if self.first is not None and self.count >= self.first:
            self.otherwise(None if path is None else str(path))


@contextmanager
def failing(first: int | None, otherwise: Callable[[str | None], None]) -> Iterator[Failing]:
    """Let everything within write to such a disk."""
    disk, fsync, mkdir = Failing(first, otherwise), os.fsync, os.mkdir

    def flushed(descriptor: int) -> None:
        disk.turn()
        fsync(descriptor)

    def replaced(source: Any, target: Any) -> None:
        disk.turn(source)
        REPLACE(source, target)

    def made(path: Any, *more: Any, **named: Any) -> None:
        if not Path(path).is_dir():
            disk.turn(path)
        mkdir(path, *more, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", flushed)
        patched.setattr(os, "replace", replaced)
        patched.setattr(os, "mkdir", made)
        yield disk


def refusing(number: int) -> Callable[[str | None], None]:
    """Whatever is done fails with this error number."""

    def refuse(path: str | None) -> None:
        raise OSError(number, os.strerror(number), path)

    return refuse


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """No file may grow to more than `size` bytes, whoever writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Nothing may be made or removed in the folders at `place`, by root neither."""
    folders = [place, *(each for each in place.rglob("*") if each.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    before = _capabilities()
    _capabilities(before & ~CAP_DAC_OVERRIDE)
    try:
        yield
    finally:
        _capabilities(before)
        for folder in folders:
            folder.chmod(0o755)


CAP_DAC_OVERRIDE = 1 << 1
"""What lets root write where permissions do not; see capabilities(7)."""


def _capabilities(effective: int | None = None) -> int:
    """The first 32 that are in effect for this thread; they are changed first, if any are given."""
    version_and_thread = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same of the others
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(version_and_thread, words) == 0
    if effective is not None:
        words[0] = effective
        assert libc.capset(version_and_thread, words) == 0
    return words[0]


def removing(folder: Path) -> Callable[[str | None], None]:
    """The folder is removed once, at a flush, where the file has been written."""
    folders = [folder]

    def remove(path: str | None) -> None:
        while folders and path is None:
            shutil.rmtree(folders.pop())

    return remove


def in_this_process(
    stage: str,
    jobs: Jobs,
    workers: int | None,
    threads: int,
    reporter: Reporter,
    steps: Mapping[Path, tuple[int, int]] | None = None,
) -> dict[str, str]:
    """An engine of sweeps, which does what the others let their workers do; the errors by run."""
    more = () if steps is None else (reporter,)
    told = {str(out): work(function, *given, *more) for out, (function, *given) in jobs.items()}
    return {out: str(each) for out, each in told.items() if each is not None}


def content(place: Path) -> dict[str, str]:
    """All that a command wrote, without what tells how long it took."""
    found: dict[str, Any] = {}
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place).as_posix()
        if not file.is_file() or file.name in OWN or name == "log":
            continue
        if OF_TOOLS in file.parent.relative_to(place).parts:
            continue
        if file.suffix == ".parquet":
            table = parquet.read_table(file)
            kept = [each for each in table.column_names if not each.endswith("seconds")]
            told = table.select(kept).to_pandas().to_csv(index=False, header=False)
            rows = re.sub(r".*_seconds,.*\n", "", told).encode()
            trace = str(Path(name).parent)
            found[trace] = found.get(trace, b"") + rows
        elif file.suffix == ".json":
            found[name] = repr(timeless(json.loads(file.read_text()))).encode()
        else:
            found[name] = file.read_bytes()
    return {
        name: each.decode() if name.endswith(TOLD) else hashlib.sha256(each).hexdigest()
        for name, each in found.items()
    }


def timeless(value: Any) -> Any:
    """A document without its numbers of seconds and its moments."""
    if isinstance(value, dict):
        return {
            name: timeless(each)
            for name, each in value.items()
            if not name.endswith("seconds") and name != "started"
        }
    if isinstance(value, list):
        return [timeless(each) for each in value]
    return re.sub(r"\(\d+ s\)", "", value) if isinstance(value, str) else value
