"""The sources among files, folders and patterns that a user names."""

import glob
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from noiseprobe.core.errors import UserError
from noiseprobe.logs.content import content_of
from noiseprobe.logs.events import read_events
from noiseprobe.logs.log import PassedOverWarning, TruncatedLogWarning
from noiseprobe.logs.reading import (
    BINARY,
    HEAD,
    TRAINER_STATE,
    event_files,
    is_events,
    is_mlflow,
    is_run,
    is_text,
    read_head,
)
from noiseprobe.logs.records import HEADER
from noiseprobe.logs.table import table_log
from noiseprobe.logs.tags import is_loss, step_columns

_SMALL = 1 << 20
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def find_sources(given: Sequence[str | Path]) -> list[Path]:
    """The sources that `given` names, in that order, each once.

    A file is a source. A folder stands for all sources in it, its own files before its folders, by
    name: each run of noiseprobe and of MLflow; each folder with scalars in TensorBoard events right
    in it; and each other file of numbers with a column that counts steps or one that is named a
    loss.
    Other files there, such as pictures, weights and settings, are passed over, and so are names
    that begin with a dot. Of the `trainer_state.json` that Transformers writes beside each
    checkpoint of one training, only the last counts. A pattern (`*`, `?`, `[…]`, and `**` for any
    folders) stands for the files and folders that it matches, as far as they are logs.

    Raises:
        UserError: there is no such file, one that was named is no log, or nothing was found.
    """
    return list(find_named(given))


def find_named(given: Sequence[str | Path]) -> dict[Path, bool]:
    """The sources of `find_sources`, and whether each was named, itself or by a pattern.

    Those that were not named were found inside a folder.
    """
    found: dict[str, Path] = {}
    named: set[str] = set()
    for each in given:
        for source, is_named in _sources(str(each)):
            place = os.path.realpath(source)
            found.setdefault(place, source)
            named |= {place} if is_named else set()
    if not found:
        raise UserError("no source was given; name a log, a folder or a pattern")
    return {source: place in named for place, source in found.items()}


def _sources(given: str) -> list[tuple[Path, bool]]:
    path = Path(given)
    if os.path.isdir(given):
        sources = _inside(path)
        if not sources:
            raise UserError(
                f"{given}: no log in this folder; name a log of another kind by its path"
            )
        return [(source, source == path) for source in sources]
    if os.path.lexists(given) or not glob.has_magic(given):
        _check(path)
        return [(path, True)]
    matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]
    folders = {match for match in matches if match.is_dir()}
    # What lies in a folder that matches as well is found there, as part of a run if it is one.
    highest = [match for match in matches if folders.isdisjoint(match.parents)]
    matched = [(source, source == match) for match in highest for source in _matched(match)]
    if not matched:
        raise UserError(
            f"{given}: the pattern matches {'nothing' if not matches else 'no log'}; check it"
        )
    return matched


def _matched(match: Path) -> list[Path]:
    return _inside(match) if match.is_dir() else [match] * _is_log(match)


def _check(path: Path) -> None:
    """Raise where a named file can be no log; what may not be read twice is left for later."""
    if path.exists() and not path.is_file():
        return
    head = content_of(path, HEAD)
    if not head and "tfevents" not in path.name:
        raise UserError(f"{path}: the file is empty; record at least one loss")
    if head.startswith(_COMPRESSED):
        raise UserError(f"{path}: the file is compressed; decompress it first")
    if not (is_events(path, head) or head.startswith(BINARY) or is_text(head)):
        raise UserError(
            f"{path}: neither TensorBoard events, Parquet, SQLite, W&B's own file nor text; give a "
            "training log"
        )


def _inside(folder: Path) -> list[Path]:
    sources = list(_walk(folder))
    numbered = {source: number for source in sources if (number := _checkpoint(source)) is not None}
    latest = {source.parent.parent: source for source in sorted(numbered, key=numbered.__getitem__)}
    stale = numbered.keys() - latest.values()
    stale |= {source for above, source in latest.items() if above / TRAINER_STATE in sources}
    return [source for source in sources if source not in stale]


def _checkpoint(source: Path) -> int | None:
    numbered = _CHECKPOINT.fullmatch(source.parent.name)
    return int(numbered[1]) if numbered and source.name == TRAINER_STATE else None


def _walk(folder: Path) -> Iterator[Path]:
    def unread(error: OSError) -> None:
        told = f"passed over {error.filename}: cannot be read ({error.strerror})"
        warnings.warn(told, PassedOverWarning, stacklevel=2)

    for here, folders, names in os.walk(folder, onerror=unread):
        place = Path(here)
        if is_run(place) or is_mlflow(place):
            folders.clear()
            yield place
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [place / name for name in sorted(names) if not name.startswith(".")]
        events = set(event_files(place))
        if events and _has_scalars(place, sorted(events)):
            yield place
        yield from (file for file in files if file not in events and _is_log(file))


def _has_scalars(source: Path, files: Sequence[Path]) -> bool:
    """Whether event files hold a trace; only small ones are read, such as those of settings."""
    if sum(file.stat().st_size for file in files) > _SMALL:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncatedLogWarning)  # told when the log is read
            return bool(read_events(source, files).tags)
    except UserError:
        return False


def _is_log(file: Path) -> bool:
    """Whether a file that was not named itself is a log."""
    try:
        if not file.is_file():
            return False
        if not os.access(file, os.R_OK):
            return True  # reading it says so
        if is_events(file, content_of(file, HEADER)):
            return _has_scalars(file, [file])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncatedLogWarning)  # told when the log is read
            table = read_head(file)
        if table is None or table.height < 2:
            return False
        tags = table_log(table).tags
    except UserError:
        return False
    return bool(tags) and bool(step_columns(list(table.columns)) or any(map(is_loss, tags)))
