"""Files that appear whole or not at all: written beside their place, flushed, renamed."""

import errno
import glob
import itertools
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from noiseprobe.core import manifest
from noiseprobe.core.errors import NOT_WRITTEN, NotWritten, UserError

_COUNT = itertools.count()
HOST = platform.node().replace("-", "_")
"""This machine, as it stands in the names of what a process writes."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it replaces `path`.

    The block creates a file or a directory at the temporary path. It is flushed to disk before the
    rename, so that a crash leaves either the old file or the new one, never a part of it. A
    directory is replaced by a directory alone. Where a folder around it has a list of what was
    written (`noiseprobe.core.manifest`), it is told there. Any number of processes may write the
    same path: the last one stays. What those left that were killed meanwhile is removed.

    Raises:
        UserError: a file is to be written where there is a folder; or its folder, or one around it
            that is `watched`, was removed meanwhile.
        OSError: it cannot be written; its `filename` is `path`. A `NotWritten` where nothing but
            the disk is to blame.
    """
    require_there(path)
    beside = _beside(path)
    try:
        with failing_as(path, beside):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            _remove(beside)
            yield beside
            manifest.flush_all(beside)
            require_there(path)
            if path.is_dir():
                if not beside.is_dir():
                    told = f"{path}: a folder is where a file is to be written; move it away"
                    raise UserError(told)
                manifest.record(path, beside)
                shutil.rmtree(path)
            else:
                manifest.record(path, beside)
            os.replace(beside, path)
            manifest.flush(path.parent)
    finally:
        _discard(beside)


def keep_as(source: Path, target: Path) -> None:
    """Let `target` be the file that is at `source` now, whatever takes its place there later.

    Nothing is copied where the disk has hard links. Raises as `written_whole` does.
    """
    require_there(target)
    beside = _beside(target)
    try:
        with failing_as(target, beside):
            linked(str(source), str(beside))
            manifest.flush(beside)  # which a copy needs
            manifest.record(target, beside, manifest.known_entry(source))
            os.replace(beside, target)
            manifest.flush(target.parent)
    finally:
        _discard(beside)


@contextmanager
def failing_as(path: Path, beside: Path) -> Iterator[None]:
    """Let what fails to be written at `beside`, or in a folder around it, name `path`.

    Raises a `NotWritten` where nothing but the disk is to blame.
    """
    try:
        yield
    except NotWritten:  # of another file, which was written within
        raise
    except Exception as error:
        failed = error if isinstance(error, OSError) and error.errno else None
        failed = failed or _write_error(beside, error)
        if failed is None or not failed.errno:
            raise
        where = Path(failed.filename or beside)
        inside = where.is_relative_to(beside)
        if not (inside or where.name == manifest.NAME or path.is_relative_to(where)):
            raise  # of what was read within
        require_there(path)
        if failed.errno == errno.ENOENT and not path.parent.is_dir():
            raise UserError(
                f"'{path}': its folder was removed while it was being written; put that back and "
                "go on, or begin anew"
            ) from None
        if failed.errno in NOT_WRITTEN:
            raise NotWritten(failed.errno, os.strerror(failed.errno), str(path)) from None
        if not inside:
            raise
        failed.filename = str(path)
        raise failed from None


@dataclass
class _Watched:
    inside: Path
    descriptor: int
    listed: bool = False

    def gone(self, folder: Path) -> bool:
        """Whether `folder` is not the one it was, or has lost its list of what was written."""
        listed = (folder / manifest.NAME).is_file()
        lost = self.listed and not listed
        self.listed |= listed
        try:
            now, then = os.stat(self.inside), os.fstat(self.descriptor)
        except FileNotFoundError:
            return True
        return lost or not os.path.samestat(now, then)


_WATCHED: dict[Path, _Watched] = {}


@contextmanager
def watched(inside: Path) -> Iterator[None]:
    """Notice where the folder of the file `inside` is removed, moved away or emptied meanwhile.

    Within, nothing is written into what has taken its place.

    Raises:
        UserError: it was, also where that made something else fail.
    """
    inside = inside.absolute()
    if inside.parent in _WATCHED:
        yield
        return
    about = _WATCHED[inside.parent] = _Watched(inside, os.open(inside, os.O_RDONLY))
    try:
        yield
        require_there(inside)
    except Exception:
        require_there(inside)
        raise
    finally:
        del _WATCHED[inside.parent]
        os.close(about.descriptor)


def require_there(path: Path) -> None:
    """Raise `UserError` where a folder around `path` is `watched` and is not there any more."""
    for folder in path.absolute().parents:
        if folder in _WATCHED and _WATCHED[folder].gone(folder):
            raise UserError(
                f"'{folder}' was removed, moved away or emptied while it was in use; nothing more "
                "is written there; put it back and go on, or begin anew"
            )


def _beside(path: Path) -> Path:
    """Where a file is written that is to be at `path`; no two processes have the same."""
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}-{next(_COUNT)}.partial")


def remove(path: Path) -> None:
    """Remove a file or a folder that was written whole."""
    manifest.forget(path)
    _remove(path)


def linked(source: str, target: str) -> None:
    """Let `target` be the file `source`, which nobody changes in place; a copy where links fail."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def check_file(flag: str, path: Path) -> None:
    """Raise `UserError` unless a file can be written at `path`."""
    if path.is_dir() or not path.name:
        raise UserError(f"{flag} {path}: it is a folder; name a file in it")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        what = "a link" if path.is_symlink() else "no file, but a pipe or device"
        raise UserError(f"{flag} {path}: it is {what}, which a file would replace; name another")
    check_folder(flag, path.parent)


def check_folder(flag: str, path: Path) -> None:
    """Raise `UserError` unless `path` is a folder to write in, or can be made one."""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{flag} {path}: {there} is no folder; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {path}: no permission to write in {there}; choose another place")


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON, whole or not at all; NaN is refused, not written."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _write_error(beside: Path, error: Exception) -> OSError | None:
    """The error of the disk behind one of safetensors or shutil, which say its number, or of torch,
    which hides it: then no more can be written there. None where there is none.
    """
    if said := re.search(r"(?:\(os error |\[Errno )(\d+)", str(error)):
        return OSError(int(said[1]), os.strerror(int(said[1])))
    try:
        for file in manifest.files_in(beside):
            with file.open("ab") as end:
                end.write(bytes(2**16))
    except OSError as found:
        return found
    return None


def sweep(folder: Path, gone: tuple[str, int] | None = None) -> None:
    """Remove what processes of this machine that live no more left anywhere in `folder`.

    And that of a process of another machine that is known to have `gone`, by host and number.
    """
    of_gone = f"*.{gone[0].replace('-', '_')}-{gone[1]}-*.partial" if gone else None
    for left in folder.rglob(".*.partial"):
        if of_gone and gone and gone[0] != platform.node() and fnmatchcase(left.name, of_gone):
            _remove(left)
        else:
            _remove_left(left)


def _sweep(path: Path) -> None:
    """Remove what such processes left of `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        _remove_left(left)


def _remove_left(left: Path) -> None:
    found = re.fullmatch(rf"\..*\.{re.escape(HOST)}-(\d+)-\d+\.partial", left.name)
    if found:
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            _remove(left)
        except (OverflowError, PermissionError):
            return


def _discard(beside: Path) -> None:
    """Remove what was not finished, unless the disk lets nothing be changed any more."""
    with suppress(OSError):
        _remove(beside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
