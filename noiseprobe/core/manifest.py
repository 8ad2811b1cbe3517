"""What was written into a folder: the length and checksum of every file, in one growing list.

A folder has such a list from when `begin` made it, and every file that `noiseprobe.core.files`
writes anywhere in it is told there, in a line that is on disk before the file takes its place. So
a file is as it was written if it is as *any* line about its path says: where a crash came between
the two, it is still the one before. What is in the list and not as told is damaged, and what is not
in the list was put there by someone else; neither is read.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from noiseprobe.core.errors import UserError

NAME = "manifest.jsonl"
"""The list: one JSON object per line, `path` and `bytes` and `sha256`, or `path` and `gone`."""


class DamagedFile(UserError):
    """A file that is not as it was written; the message names it, and the mend."""


@dataclass(frozen=True)
class Entry:
    """A file as it was written."""

    bytes: int
    sha256: str


@dataclass
class Manifest:
    """What the list of a folder tells.

    Attributes:
        versions: by path, all that was ever written there.
        current: by path, what was written last and not removed since.
        last: the paths of the last thing that was written, of which a crash may have come before.
    """

    versions: dict[str, set[Entry]] = field(default_factory=lambda: defaultdict(set))
    current: dict[str, Entry] = field(default_factory=dict)
    last: set[str] = field(default_factory=set)

    def add(self, line: str) -> None:
        """Take in one line; one that a crash cut off tells nothing."""
        try:
            told: dict[str, Any] = json.loads(line)
            path = str(told["path"])
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                return  # nothing outside of the folder is told of here
            if told.get("gone"):
                inside = f"{path}/"
                for each in [p for p in self.current if p == path or p.startswith(inside)]:
                    del self.current[each]
                return
            entry = Entry(int(told["bytes"]), str(told["sha256"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return
        self.versions[path].add(entry)
        self.current[path] = entry
        same = told.get("part")
        self.last = {*self.last, path} if same else {path}


def begin(folder: Path) -> None:
    """Make the list of a folder, which is made as well."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).touch()
    flush(folder)


def folder_of(path: Path) -> Path | None:
    """The nearest folder around `path` that has a list; None if none has."""
    return next((each for each in path.absolute().parents if (each / NAME).is_file()), None)


def manifest_of(folder: Path) -> Manifest:
    """What the list of `folder` tells."""
    file = folder / NAME
    about = file.stat()
    return _read(file, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=16)
def _read(file: Path, size: int, changed: int) -> Manifest:
    found = Manifest()
    for line in file.read_bytes().decode("utf-8", "replace").splitlines():
        found.add(line)
    return found


def record(path: Path, beside: Path, known: Entry | None = None) -> None:
    """Tell the list that what lies at `beside`, a file or a folder, is about to be at `path`.

    The entry of a file is told as it is `known`, if it is.
    """
    folder = folder_of(path)
    if folder is None:
        return
    name = _name(path, folder)
    lines: list[dict[str, Any]] = []
    if beside.is_dir():
        lines.append({"path": name, "gone": True})
    for file in files_in(beside):
        inside = name if file == beside else f"{name}/{file.relative_to(beside).as_posix()}"
        entry = known or entry_of(file)
        part = {"part": True} if lines and "bytes" in lines[-1] else {}
        lines.append({"path": inside, "bytes": entry.bytes, "sha256": entry.sha256} | part)
    _append(folder, lines)


def forget(path: Path) -> None:
    """Tell the list that what lies at `path` is about to be removed."""
    folder = folder_of(path)
    if folder is not None:
        _append(folder, [{"path": _name(path, folder), "gone": True}])


def settle(folder: Path) -> None:
    """Forget what was about to be written when a crash came, and did not come to be there."""
    if not (folder / NAME).is_file():
        return
    told = manifest_of(folder)
    names = sorted(told.last & told.current.keys())
    lines = [{"path": name, "gone": True} for name in names if not (folder / name).exists()]
    if lines:
        _append(folder, lines)


def known_entry(path: Path) -> Entry | None:
    """What was written at `path` last; None where nothing is known of it."""
    folder = folder_of(path)
    return manifest_of(folder).current.get(_name(path, folder)) if folder else None


def check(path: Path, mend: str = "") -> None:
    """Raise `DamagedFile` unless `path`, a file or a folder of them, is as it was written.

    Where no folder around it has a list, nothing is known of it.
    """
    for place, wrong in wrong_in(path):
        raise DamagedFile(f"'{place}' {wrong}; {mend or _mend(path)}")


def wrong_in(path: Path) -> list[tuple[Path, str]]:
    """Each file at or in `path` that is not as it was written, and what is wrong with it.

    Another process may be writing: what seems wrong is looked at again when the list has grown.
    """
    folder = folder_of(path)
    while folder is not None:
        told = manifest_of(folder)
        found = list(_wrong(folder, _name(path, folder), told))
        if not found or manifest_of(folder) is told:
            return found
    return []


def _wrong(folder: Path, name: str, told: Manifest) -> Iterator[tuple[Path, str]]:
    inside = [p for p in told.current if p == name or p.startswith(f"{name}/")]
    for each in inside or [name]:
        place = folder / each
        if not place.exists():
            if each in told.current:
                yield place, "is missing"
        elif each not in told.versions:
            yield place, "was put there by something else than noiseprobe"
        elif wrong := difference(place, told.versions[each]):
            yield place, wrong


def difference(file: Path, known: set[Entry]) -> str:
    """How a file differs from all that was ever written at its place; empty if it does not."""
    size = file.stat().st_size
    sizes = sorted({entry.bytes for entry in known})
    if size not in sizes:
        return f"is damaged: it has {size} bytes, and was written with {sizes[-1]}"
    if entry_of(file) not in known:
        return "is damaged: its bytes are not those that were written"
    return ""


def entry_of(file: Path) -> Entry:
    """The length and checksum of a file."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
        return Entry(opened.tell(), digest.hexdigest())


def files_in(place: Path) -> list[Path]:
    """The files at or in `place`, in the order of their names."""
    return [each for each in (place, *sorted(place.rglob("*"))) if each.is_file()]


def flush_all(place: Path) -> None:
    """Let the disk have all that lies at or in `place`."""
    for each in (place, *place.rglob("*")):
        if each.is_file() or each.is_dir():
            flush(each)


def flush(path: Path) -> None:
    """Let the disk have what was written to a file, or which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _append(folder: Path, lines: list[dict[str, Any]]) -> None:
    file = folder / NAME
    with file.open("ab") as opened:
        # A line that a crash cut off must not take the next one with it.
        start = b"" if not opened.tell() or _ends_a_line(file) else b"\n"
        opened.write(start + "".join(json.dumps(line) + "\n" for line in lines).encode())
        opened.flush()
        os.fsync(opened.fileno())


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) == b"\n"


def _name(path: Path, folder: Path) -> str:
    return path.absolute().relative_to(folder).as_posix()


def _mend(path: Path) -> str:
    return f"what can be mended, this does: noiseprobe verify {folder_of(path)} --repair"
