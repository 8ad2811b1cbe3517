"""One process at a time changes a run directory, and what it has before it is one."""

import json
import os
import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import failing_as, sweep, watched

LOCK = ".lock"
"""The file in a run directory that a process locks, and in which it says who it is."""


class InUse(UserError):
    """Another process holds a run directory; the message says which, and where."""


_FIRST = (manifest.NAME, LOCK, "environment.json", "status.json", "checkpoints.json")
"""What a run directory has before its settings."""


def began(directory: Path) -> bool:
    """Whether a start in `directory` was cut off before there was anything to go on with."""
    there = list(directory.iterdir()) if directory.is_dir() else []
    return bool(there) and all(map(of_a_start, there))


def of_a_start(path: Path) -> bool:
    """Whether a file in a run directory is there before its settings are."""
    return path.name in _FIRST or bool(re.fullmatch(r"\..+\.partial", path.name))


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a run directory, which is made, against other processes; one may hold it repeatedly.

    The lock is the operating system's, so that it ends with the process however that ends, and the
    next one takes over, and removes what that one left half written, and what it announced alone.

    Raises:
        InUse: another process holds it; the message says which, and on which machine.
        UserError: it was removed meanwhile; see `noiseprobe.core.files.watched`.
        NotWritten: there is no room.
    """
    from filelock import FileLock, Timeout

    path = directory / LOCK
    with failing_as(path, path):
        directory.mkdir(parents=True, exist_ok=True)
    require_own_places(directory)
    before = _about(path)  # which some versions of filelock empty when they lock it
    lock = FileLock(path, timeout=0, is_singleton=True, thread_local=False)
    try:
        lock.acquire()
    except PermissionError:  # nothing can be changed there, by anyone
        yield
        return
    except Timeout:
        raise InUse(f"'{directory}' is in use by {_owner(path)}; wait for it, or end it") from None
    try:
        if lock.lock_counter == 1:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            about = {"process": os.getpid(), "host": platform.node(), "since": since}
            with failing_as(path, path):
                path.write_text(json.dumps(about) + "\n", encoding="utf-8")
            sweep(directory, (before["host"], before["process"]) if before else None)
            manifest.settle(directory)
        with watched(path):
            yield
    finally:
        lock.release()


def noticing_removal(directory: Path) -> AbstractContextManager[None]:
    """Notice where a run directory is removed meanwhile, without holding it.

    See `noiseprobe.core.files.watched`. Of one that was never held, nothing is noticed.
    """
    lock = directory / LOCK  # which stays the same file
    return watched(lock) if lock.is_file() else nullcontext()


def require_own_places(directory: Path) -> None:
    """Raise `UserError` where a link in a run directory would lead writing out of it."""
    for inside in (directory, directory / "traces"):
        for each in inside.iterdir() if inside.is_dir() else ():
            if each.is_symlink():
                raise UserError(
                    f"'{each}' is a link, and a run is written inside of its folder alone; put "
                    "there what it leads to"
                )


def _owner(path: Path) -> str:
    about = _about(path)
    if about is None:
        return "another process"
    return f"process {about['process']} on {about['host']} since {about['since']}"


def _about(path: Path) -> dict[str, Any] | None:
    """Who holds a run, or held it last; None where that is not told."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return {
            "process": int(about["process"]),
            "host": str(about["host"]),
            "since": str(about["since"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
