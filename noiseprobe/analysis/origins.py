"""Which traces are of one origin: of one folder, or byte for byte the same.

The copies of a log, and the logs that one training left in one folder, say the same thing several
times. They are no evidence for each other: what is chosen on one must not be judged on another, and
an interval over them as if they were independent would be too narrow (Davison & Hinkley, Bootstrap
Methods and their Application, 1997, section 3.8).
"""

import hashlib
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path

from noiseprobe.logs import files_of

SAME = "one folder or the same bytes"
"""What makes traces one origin, in words."""


def marks_of(source: Path, run: str = "") -> list[Hashable]:
    """What a trace shares with those of the same origin: its folder, and its bytes.

    Args:
        source: the log: a file, or a folder that is one, which is then its own.
        run: its run, where a log names several: they are trainings of their own.
    """
    place = source.resolve()
    content = hashlib.sha256()
    for file in files_of(source):
        content.update(file.read_bytes())
    return [("folder", place if place.is_dir() else place.parent, run), (content.digest(), run)]


def grouped(marks: Sequence[Collection[Hashable]]) -> list[int]:
    """For each item, the first item of its group: those that share a mark, also through others.

    Examples:
        >>> grouped([["a"], ["b"], ["c", "a"], ["b"], ["d"], ["d", "c"]])
        [0, 1, 0, 1, 0, 0]
    """
    first = list(range(len(marks)))
    seen: dict[Hashable, int] = {}
    for place, own in enumerate(marks):
        for mark in own:
            ends = sorted((_end(first, place), _end(first, seen.setdefault(mark, place))))
            first[ends[1]] = ends[0]
    return [_end(first, place) for place in range(len(marks))]


def _end(first: list[int], place: int) -> int:
    while first[place] != place:
        place = first[place]
    return place
