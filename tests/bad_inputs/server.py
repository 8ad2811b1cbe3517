"""A process that imports noiseprobe once and runs each case in a fork of itself, watched.

One JSON object per line on standard input is one case, and one on standard output its end. The fork
tells by an audit hook what it opened to write, renamed, started or asked of the network, and which
code it ran; the network it does not get.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

CPU_SECONDS = 10
WALL_SECONDS = 60
ADDRESS_SPACE = 3 << 30
"""Beyond what is mapped at the start: enough for any case, and too little to take the machine."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
_CHANGES = (
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"),
    *("os.truncate", "os.chmod", "shutil.rmtree", "os.utime", "os.chown"),
)


class NetworkIsCut(OSError):
    """What asking the network ends with."""


class Watched:
    """What a process did that an input should not make it do.

    Attributes:
        written: paths that were opened to be written, made, renamed or removed.
        started: programs that were started.
        asked: names and addresses of the network.
        ran: files whose code was run or compiled.
        unpickled: globals that a pickle named to an unrestricted unpickler.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.written: set[str] = set()
        self.started: list[str] = []
        self.asked: list[str] = []
        self.ran: set[str] = set()
        self.unpickled: list[str] = []
        self._inside = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take in one event of `sys.audit`."""
        if self._inside:
            return
        self._inside = True
        try:
            self._take(event, arguments)
        finally:
            self._inside = False

    def _take(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if not isinstance(path, int) and _to_write(mode, flags):
                self._add(path)
        elif event in _CHANGES:
            for each in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if not isinstance(each, int):
                    self._add(each)
        elif event in _STARTS:
            self.started.append(f"{event} {arguments[0]!r}")
        elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            target = arguments[1] if event != "socket.getaddrinfo" else arguments[0]
            if isinstance(target, str | bytes) and event == "socket.connect":
                return  # of this machine alone
            self.asked.append(f"{event} {target!r}")
            raise NetworkIsCut("the network is cut")
        elif event == "exec":
            code = getattr(arguments[0], "co_filename", "")
            if str(code).startswith(self.folder):
                self.ran.add(code)
        elif event == "pickle.find_class":
            self.unpickled.append(".".join(map(str, arguments)))

    def _add(self, path: Any) -> None:
        self.written.add(os.path.abspath(os.fsdecode(path)))


def _to_write(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITES)


def main() -> None:
    """Import what commands import, then serve."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_all()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_one(json.loads(line))), file=answers, flush=True)


def _import_all() -> None:
    from noiseprobe.cli.ends import QUIET_LIBRARIES

    os.environ.pop("HF_HUB_OFFLINE", None)  # a case must be able to ask, or none would be found
    os.environ.update(QUIET_LIBRARIES)
    from tests.bad_inputs import warm

    warm.up()


def _one(case: dict[str, Any]) -> dict[str, Any]:
    """Run one case in a fork: how it ended, what it took, and what it did."""
    scratch = Path(case["scratch"])
    before = _resident()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        _child(case, scratch)
    killed, status, used = _waited(child)
    did: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        did = json.loads((scratch / "did.json").read_text())
    return {
        "code": os.waitstatus_to_exitcode(status),
        "hung": killed,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "megabytes": used.ru_maxrss / 1024,
        "megabytes_before": before,
        "stdout": (scratch / "stdout").read_bytes().decode("utf-8", "backslashreplace"),
        "stderr": (scratch / "stderr").read_bytes().decode("utf-8", "backslashreplace"),
        "did": did,
    }


def _waited(child: int) -> tuple[bool, int, resource.struct_rusage]:
    end = time.monotonic() + WALL_SECONDS
    while time.monotonic() < end:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            return False, status, used
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    return True, status, used


def _child(case: dict[str, Any], scratch: Path) -> None:
    """Be the command; never returns."""
    code = 70
    watched = Watched(case["folder"])
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            opened = os.open(scratch / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(case["folder"])
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch / "tmp")
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["noiseprobe", *case["argv"]]
        from noiseprobe import cli

        sys.addaudithook(watched.hook)
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as Python would say it at its end
        traceback.print_exc()
        code = 1
    watched._inside = True
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
        names = ("started", "asked", "unpickled")
        did = {name: getattr(watched, name) for name in names}
        did |= {name: sorted(getattr(watched, name)) for name in ("written", "ran")}
        (scratch / "did.json").write_text(json.dumps(did))
    os._exit(code)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
