"""Run cases of the corpus, and say what is wrong with how one ended."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bad_inputs.cases import Case, Place

MEGABYTES = 1024
"""Of memory that a command may take, with all that it imports."""

CPU_SECONDS = 6
"""Of computing, beside the four seconds that its imports take."""

_OWN = ("subprocess.Popen 'git'", "subprocess.Popen 'uname'")
"""What a run asks of its own checkout and machine when it begins."""

_BEGINNINGS = ("run: ", "model ")
"""How the lines begin that tell with which run a command goes on."""

_UNPRINTABLE = ("\x1b", "\x07", "\x9b", "\x00", "\x08", "\x7f", "\u202e", "\r")


@dataclass(frozen=True)
class End:
    """How a case ended.

    Attributes:
        told: what the server tells of its process.
        changed: what is new, other or gone in its folder.
        outside: what it wrote outside of its folder.
    """

    told: dict[str, Any]
    changed: tuple[str, ...]
    outside: tuple[str, ...]

    def wrong(self, case: Case) -> list[str]:
        """All that is not as it should be; nothing for a case that is as it should be."""
        told, did = self.told, self.told["did"]
        told_lines = [line for line in told["stderr"].splitlines() if line]
        begins = ("noiseprobe: warning: ", *(_BEGINNINGS if case.writes else ()))
        refusals = [line for line in told_lines if not line.startswith(begins)]
        found = []
        if told["hung"]:
            found.append("it hangs")
        code = 0 if case.refused is None else 2
        if told["code"] != code:
            found.append(f"exit code {told['code']}, not {code}")
        if case.refused is not None:
            if len(refusals) != 1 or not refusals[0].startswith("noiseprobe: "):
                found.append(f"{len(refusals)} lines in place of one")
            if case.refused not in "".join(refusals):
                found.append(f"the line does not hold {case.refused!r}")
            if told["stdout"]:
                found.append("something on standard output")
        said = told["stdout"] + told["stderr"]
        found += ["a traceback"] * ("Traceback" in said)
        found += [f"{each!r} in what is shown" for each in _UNPRINTABLE if each in said]
        found += [f"{each!r} is not shown" for each in case.shown if each not in said]
        if told["megabytes"] > MEGABYTES:
            found.append(f"{told['megabytes']:.0f} MB of memory")
        if told["cpu_seconds"] > CPU_SECONDS:
            found.append(f"{told['cpu_seconds']:.1f} s of computing")
        changed = [each for each in self.changed if each.split("/")[0] not in case.writes]
        found += [f"it changed {len(changed)} files, such as {changed[0]}"] if changed else []
        found += [f"it wrote {each}" for each in self.outside]
        found += [f"it started {each}" for each in did.get("started", ()) if each not in _OWN]
        found += [f"it ran {each}" for each in did.get("ran", ())]
        found += [f"it unpickled {each}" for each in did.get("unpickled", ())]
        if not case.hub:
            found += [f"it asked the network: {each}" for each in did.get("asked", ())]
        return found


class Server:
    """The process in which cases run, and the folder in which each has its own."""

    def __init__(self, process: "subprocess.Popen[str]", shared: Path, room: Path) -> None:
        self.process, self.shared, self.room = process, shared, room
        self.count = 0

    def run(self, case: Case) -> End:
        """Make the files of a case and run its command."""
        self.count += 1
        folder, scratch = self.room / f"case-{self.count}", self.room / f"scratch-{self.count}"
        folder.mkdir()
        (scratch / "tmp").mkdir(parents=True)
        argv = [
            os.fsdecode(os.fsencode(str(each))) for each in case.make(Place(folder, self.shared))
        ]
        before = _contents(folder)
        asked = {"argv": argv, "folder": str(folder), "scratch": str(scratch)}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        told = json.loads(self.process.stdout.readline())
        after = _contents(folder)
        names = sorted(before.keys() | after.keys())
        changed = tuple(name for name in names if before.get(name) != after.get(name))
        rooms = (f"{folder}/", f"{scratch}/", "/dev/null")
        written = [each for each in told["did"].get("written", ()) if each != str(folder)]
        outside = tuple(each for each in written if not each.startswith(rooms))
        for each in (folder, scratch):
            _loosen(each)
            shutil.rmtree(each, ignore_errors=True)
        return End(told, changed, outside)


@contextmanager
def serving(shared: Path) -> Iterator[Server]:
    """A server for cases, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="bad-inputs-") as name:
        room = Path(name)
        home = room / "home"
        home.mkdir()
        environment = dict(os.environ) | {
            "HOME": str(home),
            "MPLCONFIGDIR": str(home / "matplotlib"),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "COLUMNS": "120",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bad_inputs.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=room,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield Server(process, shared, room)
        finally:
            process.stdin.close()
            process.wait()


def _contents(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What is in a folder: of each path the kind, size, and when it was changed."""
    found: dict[str, tuple[Any, ...]] = {}
    for here, folders, files in os.walk(os.fsencode(folder)):
        for each in [*folders, *files]:
            path = os.path.join(here, each)
            about = os.lstat(path)
            name = os.fsdecode(os.path.relpath(path, os.fsencode(folder)))
            size = about.st_size if each in files else 0
            changed = about.st_mtime_ns if each in files else 0
            found[name] = (about.st_mode, about.st_ino, size, changed)
    return found


def _loosen(folder: Path) -> None:
    """Let a folder that a case closed be removed."""
    for here, folders, _ in os.walk(folder):
        for each in folders:
            os.chmod(os.path.join(here, each), 0o700)
