"""The bytes of a file, or one line that says why there are none; and how much is read at most."""

import mmap
import os
import select
import stat
from pathlib import Path

from noiseprobe.core.errors import UserError

LARGEST = 128 << 20
"""Bytes of a log that is read as a whole; of TensorBoard events, scalars alone count."""

LARGEST_TEXT = 64 << 20
"""Bytes of one that is text, which takes ten times as much while it is read."""

MOST_ROWS = 1_200_000
"""Rows, points or lines of one log."""

MOST_CELLS = 12_000_000
"""Numbers of one log, in all its columns."""

MOST_POINTS = 1_000_000
"""Numbers of a log that has a row for each, as databases do."""

MOST_COLUMNS = 10_000
"""Columns, or names of traces, of one log."""

LARGEST_DOCUMENT = 16 << 20
"""Letters of one JSON document, which takes twenty times as much when it is read."""

_WAIT_MILLISECONDS = 2000
_NEVER_BLOCK = getattr(os, "O_NONBLOCK", 0)


def content_of(path: Path, most: int = -1) -> bytes:
    """The first `most` bytes of the file at `path`; all by default.

    Of a pipe, what is written to it until its other end is closed.

    Raises:
        UserError: there is no such file, it cannot be read, it is larger than `LARGEST`, or a pipe
            out of which nothing comes.
    """
    try:
        with open(path, "rb", opener=_opened) as file:
            _await(path, file.fileno())
            content = file.read(LARGEST + 1 if most < 0 else most)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or directory; check the path") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); check the file") from None
    if len(content) > LARGEST:
        raise too_large(path, f"{LARGEST >> 20} MB")
    return content


def mapped(path: Path) -> bytes | mmap.mmap:
    """The bytes of a file, of which the disk gives what is looked at; as `content_of` if small."""
    if not path.is_file() or path.stat().st_size <= LARGEST:
        return content_of(path)
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_size(path: Path, rows: int, columns: int = 1) -> None:
    """Raise `UserError` where a log has more rows, columns or numbers than are read."""
    if columns > MOST_COLUMNS:
        raise too_large(path, f"{MOST_COLUMNS:,} columns")
    if rows > MOST_ROWS:
        raise too_large(path, f"{MOST_ROWS:,} rows")
    if rows * columns > MOST_CELLS:
        raise too_large(path, f"{MOST_CELLS:,} numbers")


def too_large(path: Path, limit: str) -> UserError:
    """The error of a log that is larger than is read."""
    return UserError(f"{path}: more than {limit}; give a part of it, or the losses alone")


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | _NEVER_BLOCK)


def _await(path: Path, descriptor: int) -> None:
    """Wait for the first byte of a pipe, and then for each; raise where nobody writes to it."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(_WAIT_MILLISECONDS):
        raise UserError(f"{path}: nothing comes out of this pipe; name a file")
    os.set_blocking(descriptor, True)
