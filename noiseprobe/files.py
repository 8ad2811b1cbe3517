"""Files that appear whole or not at all: written beside their place, flushed, renamed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, it replaces `path`.

    The block creates a file or a directory at the temporary path. A file is flushed to disk before
    the rename, so that a crash leaves either the old file or the new one, never a part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    _remove(beside)
    try:
        yield beside
        for file in [beside] if beside.is_file() else [f for f in beside.rglob("*") if f.is_file()]:
            _flush(file)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(beside, path)
        _flush(path.parent)
    finally:
        _remove(beside)


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON, whole or not at all; NaN is refused, not written."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
