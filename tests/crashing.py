"""A disk on which a crash comes at the n-th thing that is done to it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from noiseprobe.core import files, manifest
from noiseprobe.run.directory import Run


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
