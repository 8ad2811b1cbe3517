"""Runs in a bucket (S3, GCS, Azure, …), of which a reader sees a whole state, or the one before.

A bucket replaces one object whole or not at all, and renames none. So what is new of a run is
written beside it, under the checksum of its bytes; then one object, the index, is replaced, which
says which files the run has and where they are: that is the moment at which the run is in its new
state. No object that an index names is changed or removed before the next index is there. When a
job ends, the files are settled: copied, within the bucket, to where a run directory has them.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.manifest import DamagedFile, Entry
from noiseprobe.run.holding import LOCK, InUse, held

HOME = ".noiseprobe"
"""Where in a bucket is what is no run directory: by run, its index, its lease, and what is new."""

LAST = (manifest.NAME, "config.toml")
"""What is settled last, in this order: with its settings, a folder is a run."""

TRIES = 5
"""A reader that a writer was in the way of reads so often."""

AT_ONCE = 16
"""So many runs are read at a time."""

INSTALL = {"s3": "pip install 'noiseprobe[s3]'", "gs": "pip install gcsfs"}


def is_url(place: str) -> bool:
    """Whether a place is one in a bucket, and not a folder."""
    return "://" in place


@dataclass(frozen=True)
class Bucket:
    """Where runs are to be, as fsspec opens it.

    Attributes:
        url: a prefix, such as `s3://bucket/sweeps/one`.
        options: of fsspec's file system, such as `endpoint_url`; credentials are found as its
            library finds them.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def opened(self) -> tuple[Any, str]:
        """The file system, and the path of the prefix in it; raises `UserError` for a wrong URL."""
        from fsspec import url_to_fs

        protocol = self.url.partition("://")[0]
        own = {"auto_mkdir": True} if protocol in ("file", "local") else {}
        try:
            files, root = url_to_fs(self.url, use_listings_cache=False, **own, **self.options)
        except ImportError as error:
            told = INSTALL.get(protocol, f"install what opens {protocol}://")
            raise UserError(f"out: '{self.url}': {_line(error)}; {told}") from None
        except (ValueError, TypeError) as error:
            raise UserError(f"out: '{self.url}': {_line(error)}; mend the address") from None
        if not root.strip("/"):
            raise UserError(f"out: '{self.url}' names no bucket; give s3://BUCKET/PREFIX")
        return files, root.rstrip("/")

    def require_writable(self) -> None:
        """Raise `UserError` unless objects can be written, read and removed here."""
        files, root = self.opened()
        place = f"{root}/{HOME}/can-write-{os.urandom(4).hex()}"
        try:
            files.pipe_file(place, b"yes")
            files.cat_file(place)
            files.rm_file(place)
        except Exception as error:
            raise UserError(
                f"out: '{self.url}' cannot be written to ({_line(error)}); check the bucket, your "
                "credentials and the endpoint"
            ) from None

    def run(self, name: Path) -> "StoredRun":
        """The run at a path below the prefix."""
        return StoredRun(self, name)

    def runs(self) -> list[Path]:
        """The paths of all runs below the prefix, in order."""
        files, root = self.opened()
        try:
            found = files.find(f"{root}/{HOME}")
        except Exception as error:
            raise UserError(f"'{self.url}' cannot be read ({_line(error)})") from None
        ends = [PurePosixPath(each) for each in found if each.endswith("/index.json")]
        names = [each.parent.relative_to(PurePosixPath(root) / HOME) for each in ends]
        return sorted(Path(each) for each in names if ".." not in each.parts)

    @contextmanager
    def copied(self, runs: Iterable[Path], wanted: Callable[[str], bool]) -> Iterator[Path]:
        """A folder that lives as long as the block, with the files of `runs` that are `wanted`."""
        with TemporaryDirectory(prefix="noiseprobe-read-") as folder:
            self.copy(runs, Path(folder), wanted)
            yield Path(folder)

    def copy(self, runs: Iterable[Path], folder: Path, wanted: Callable[[str], bool]) -> None:
        """Copy the files of `runs` that are `wanted` to below `folder`, where they are not yet."""

        def copy_one(name: Path) -> None:
            with held(folder / name):
                self.run(name).fetch(folder / name, wanted)

        with ThreadPoolExecutor(AT_ONCE) as readers:
            list(readers.map(copy_one, runs))


@dataclass(frozen=True)
class Stored:
    """A file of a run in a bucket; `settled`: it is where a run directory has it."""

    entry: Entry
    settled: bool = False


@dataclass(frozen=True)
class Index:
    """What a run in a bucket is.

    Attributes:
        files: by path.
        placed: paths where an object may be, settled or of before.
        done: the jobs that the run has behind it, in order: a name, and a checksum of what it was
            told.
    """

    files: Mapping[str, Stored] = field(default_factory=dict)
    placed: frozenset[str] = frozenset()
    done: tuple[tuple[str, str], ...] = ()

    @property
    def beside(self) -> set[str]:
        """The checksums of what is not settled."""
        return {each.entry.sha256 for each in self.files.values() if not each.settled}

    def to_json(self) -> bytes:
        """As it is written."""
        files = {
            path: {
                "bytes": each.entry.bytes,
                "sha256": each.entry.sha256,
                "settled": each.settled,
            }
            for path, each in sorted(self.files.items())
        }
        told = {"files": files, "placed": sorted(self.placed), "done": self.done}
        return json.dumps(told, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Index":
        """As `to_json` wrote it; raises `ValueError` for anything else."""
        try:
            told = json.loads(text)
            files = {
                str(path): Stored(Entry(int(each["bytes"]), each["sha256"]), bool(each["settled"]))
                for path, each in told["files"].items()
            }
            if any({"..", "/"} & set(PurePosixPath(path).parts) for path in files):
                raise ValueError("a path leads out of the run")
            done = tuple((str(name), str(sha256)) for name, sha256 in told["done"])
            return cls(files, frozenset(map(str, told["placed"])), done)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no index ({error})") from error


class StoredRun:
    """A run in a bucket.

    One process writes it at a time, under a lease (`noiseprobe.run.lease`), and remembers which
    index was the last; any number may read it.
    """

    def __init__(self, bucket: Bucket, name: Path) -> None:
        self.files, root = bucket.opened()
        self.url = f"{bucket.url.rstrip('/')}/{name.as_posix()}"
        self.place = f"{root}/{name.as_posix()}"
        self.home = f"{root}/{HOME}/{name.as_posix()}"
        self.committed = Index()
        self._hashed: dict[tuple[str, int, int, int], Entry] = {}

    def read_index(self) -> Index:
        """What the run is now; empty where there is none."""
        try:
            return Index.from_json(self.files.cat_file(f"{self.home}/index.json"))
        except FileNotFoundError:
            return Index()
        except ValueError as error:
            raise DamagedFile(f"'{self.url}': its index is damaged: {error}; restore it") from None

    def fetch(self, folder: Path, wanted: Callable[[str], bool] = lambda path: True) -> Index:
        """Let `folder` have the files that are `wanted`, all of one state, each held against it.

        What was fetched before, and the run has no more, is removed. Raises `DamagedFile`.
        """
        wrong = ""
        is_one = (folder / manifest.NAME).is_file()
        before = set(manifest.manifest_of(folder).current) if is_one else set()
        for tries in range(TRIES):
            time.sleep(0.2 * tries)
            index = self.read_index()
            chosen = {path: each for path, each in index.files.items() if wanted(path)}
            try:
                wrong = self._get(folder, chosen)
            except FileNotFoundError as error:
                wrong = f"an object is missing: {_line(error)}"
            if not wrong:
                for path in filter(wanted, before - set(index.files)):
                    (folder / path).unlink(missing_ok=True)
                return index
        raise DamagedFile(f"'{self.url}': {wrong}; restore it, or remove it to train it anew")

    def _get(self, folder: Path, chosen: Mapping[str, Stored]) -> str:
        """Get these files; what is wrong with one, if anything is."""
        got: dict[str, Path] = {}
        for path, stored in chosen.items():
            target = folder / path
            if not (target.is_file() and self._entry(target) == stored.entry):
                target.parent.mkdir(parents=True, exist_ok=True)
                got[path] = target.with_name(f".{target.name}.{os.getpid()}.fetched.partial")
        try:
            if got:
                keys = [self.key(path, chosen[path]) for path in got]
                self.files.get(keys, [str(each) for each in got.values()])
            for path, beside in got.items():
                if manifest.entry_of(beside) != chosen[path].entry:
                    return f"'{path}' is damaged: its bytes are not those that were written"
            for path, beside in got.items():
                os.replace(beside, folder / path)
        finally:
            for beside in got.values():
                beside.unlink(missing_ok=True)
        return ""

    def key(self, path: str, stored: Stored) -> str:
        """Where the bytes of a file are."""
        return f"{self.place}/{path}" if stored.settled else self._new(stored.entry.sha256)

    def _new(self, sha256: str) -> str:
        return f"{self.home}/new/{sha256}"

    def begin(self, folder: Path) -> None:
        """Take the run up, in `folder`; raises `UserError` where something else is in its place."""
        self.committed = self.fetch(folder)
        if not self.committed.files and self.files.find(self.place):
            raise UserError(
                f"'{self.url}' holds objects that no sweep to this bucket wrote; give `out` "
                "another prefix"
            )

    def push(self, folder: Path, done: tuple[tuple[str, str], ...] | None = None) -> None:
        """Let the run be as it is in `folder`, where nothing is being written.

        It has the jobs behind it that it had, or those that are `done`.
        """
        before = self.committed.files
        now: dict[str, Stored] = {}
        at: dict[str, Path] = {}
        for file in _own_files(folder):
            path, entry = file.relative_to(folder).as_posix(), self._entry(file)
            stays = before.get(path) == Stored(entry, settled=True)
            now[path] = Stored(entry, settled=stays)
            at[entry.sha256] = file
        done = self.committed.done if done is None else done
        index = Index(now, self.committed.placed, done)
        missing = sorted(index.beside - self.committed.beside)
        there = {
            each.entry.sha256: self.key(path, each) for path, each in before.items() if each.settled
        }
        copied = [each for each in missing if each in there]
        sent = [each for each in missing if each not in there]
        if copied:
            self.files.copy([there[each] for each in copied], [*map(self._new, copied)])
        if sent:
            self.files.put([str(at[each]) for each in sent], [*map(self._new, sent)])
        if index != self.committed:
            left = self.committed.beside - index.beside
            self._commit(index)
            self._remove(map(self._new, left))

    def settle(self) -> None:
        """Put all files where a run directory has them."""
        files = self.committed.files
        moved = [path for path, each in files.items() if not each.settled]
        if moved:
            placed = self.committed.placed | set(moved)
            self._commit(replace(self.committed, placed=placed))
            first = [each for each in moved if each not in LAST]
            for group in (first, *([each] for each in LAST if each in moved)):
                keys = [self.key(path, files[path]) for path in group]
                self.files.copy(keys, [f"{self.place}/{path}" for path in group])
        gone = self.committed.placed - set(files)
        if moved or gone:
            self._remove(f"{self.place}/{path}" for path in gone)
            settled = {path: Stored(each.entry, settled=True) for path, each in files.items()}
            self._commit(replace(self.committed, files=settled, placed=frozenset(settled)))
        self._remove(self.files.find(f"{self.home}/new"))

    def _commit(self, index: Index) -> None:
        """Let the run be what `index` says, unless another process has made it something else."""
        if self.read_index() != self.committed:
            raise InUse(
                f"'{self.url}' was written by another process meanwhile; end one of the two sweeps"
            )
        self.files.pipe_file(f"{self.home}/index.json", index.to_json())
        self.committed = index

    def _remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                self.files.rm_file(key)
            except FileNotFoundError:
                continue

    def _entry(self, file: Path) -> Entry:
        """The length and checksum of a file, computed once as long as it is the same."""
        about = file.stat()
        same = str(file), about.st_ino, about.st_size, about.st_mtime_ns
        if same not in self._hashed:
            self._hashed[same] = manifest.entry_of(file)
        return self._hashed[same]


def _own_files(folder: Path) -> list[Path]:
    """The files of a run, without what is of a process."""
    found = manifest.files_in(folder)
    live = folder / "logs"  # which grow at any time, and whose bytes would not be those told
    return [
        each
        for each in found
        if each.name != LOCK and not each.name.endswith(".partial") and live not in each.parents
    ]


def _line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next((each for each in str(error).splitlines() if each), type(error).__name__)
