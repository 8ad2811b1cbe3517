"""Small files that others wrote, read without harm: no device, no pipe, nothing without end."""

import json
import os
from pathlib import Path
from typing import Any

from noiseprobe.core.errors import UserError

MOST_BYTES = 16 << 20
"""Of a file of settings, captions or configurations."""


def require_regular(path: Path, told: str = "") -> None:
    """Raise `UserError` where `path` is there and is no file: a folder, pipe, device, broken link.

    `told` is what the error says that it was given by, such as `--concept: `.
    """
    if os.path.lexists(path) and not path.is_file():
        what = "a link to no file" if path.is_symlink() else "no file, but a folder, pipe or device"
        raise UserError(f"{told}{path}: it is {what}; remove it")


def text_of(path: Path, most: int = MOST_BYTES) -> str:
    """The text in a file of at most so many bytes, in UTF-8.

    Raises:
        UserError: it is no file, or larger.
        OSError, UnicodeDecodeError: it cannot be read, or is no text.
    """
    require_regular(path)
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(f"{path}: larger than {most >> 20} MB, which none of its kind is; mend it")
    return content.decode("utf-8")


def json_of(path: Path) -> Any:
    """What a JSON file says; raises `ValueError` for one that says nothing, and as `text_of`."""
    text = text_of(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
