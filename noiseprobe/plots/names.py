"""Names of sources, short enough for a figure."""

import os
from collections.abc import Sequence


def told_apart(names: Sequence[str], longest: int) -> list[str]:
    """The names without the folder that all share, of so many letters at most."""
    try:
        shared = os.path.commonpath([os.path.dirname(name) for name in names])
    except ValueError:  # some are absolute, some are not
        shared = ""
    return [shortened(name.removeprefix(shared).removeprefix(os.sep), longest) for name in names]


def shortened(name: str, longest: int) -> str:
    """The end of a path, which tells it from others, where all of it would not fit."""
    plain = name.encode("utf-8", "replace").decode()
    return plain if len(plain) <= longest else "…" + plain[1 - longest :]
