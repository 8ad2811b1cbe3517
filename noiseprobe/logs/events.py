"""TensorBoard event files: the scalars of one file, or of all files of one folder as one run."""

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.logs.content import MOST_COLUMNS, check_size, mapped, too_large
from noiseprobe.logs.log import (
    Log,
    NumberedLogWarning,
    RestartedLogWarning,
    Series,
    TruncatedLogWarning,
    one_line,
    repeated,
    repeating,
    spelt,
    surviving,
)
from noiseprobe.logs.messages import Event, points_of, starts
from noiseprobe.logs.patterns import Pattern
from noiseprobe.logs.records import Records, find_records
from noiseprobe.logs.tags import no_such_tag

KIND = "TensorBoard events"

_FEW = 16
_MOST_PATTERNS = 64
_LONGEST = 64 << 20
_Piece = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
_Trace = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass
class Scalars:
    """The scalars of one or more event files, not yet in order.

    Attributes:
        pieces: by tag, the indices of the events, their steps and the values, each of shape (k,).
        restarts: index of the event and step of each session that is said to start.
        malformed: index of the first record that is no event; None if all are.
    """

    pieces: dict[str, list[_Piece]] = field(default_factory=lambda: defaultdict(list))
    restarts: list[tuple[int, int]] = field(default_factory=list)
    malformed: int | None = None


def read_events(path: Path, files: Sequence[Path], content: bytes | None = None) -> Log:
    """The run that `files` record together, under the name `path`.

    The files are taken in the order of the time of their first events, and where that is the same,
    of their names. Where the step of a tag falls back, or an event says that a session starts at
    some step, training was restarted from a checkpoint: what was recorded before at that step or
    later ones is left out. Where the longest trace has fewer distinct steps than half of its
    points, as when none was given, they are numbered from 0, and those of other tags by how many of
    them were recorded before.

    `content` is what a file holds that cannot be read again.

    Raises:
        UserError: a file cannot be read, holds too much, or none of them holds an event.

    Warns:
        TruncatedLogWarning: a file is cut off or garbled; what stands before the place was read.

    The log's `series` warns with a `RestartedLogWarning` of points that a restart has replaced.
    """
    runs = []
    for file in files:
        records = find_records(mapped(file) if content is None else content)
        check_size(path, len(records.starts))
        if records.lengths.max(initial=0) > _LONGEST:
            raise too_large(path, f"{_LONGEST >> 20} MB in one event")
        scalars = decode(records)
        check_size(path, 1, len(scalars.pieces))
        if scalars.malformed is not None:
            records = records.until(scalars.malformed, "it is no event")
            scalars = decode(records)
        if not len(records.starts):
            continue
        if records.fault:
            warnings.warn(
                f"{file}: reading ends before record {len(records.starts) + 1}, because "
                f"{records.fault}; what stands before it is read",
                TruncatedLogWarning,
                stacklevel=2,
            )
        runs.append((_first_time(records), str(file), len(records.starts), scalars))
    if not runs:
        raise UserError(f"{path}: no event was recorded; let the training log at least one")
    pieces, fallen = _traces(
        _joined([(count, scalars) for *_, count, scalars in sorted(runs, key=itemgetter(0, 1))])
    )
    traces, numbered = _numbered(pieces)
    unsaid = [numbered] * bool(numbered)

    def series(tag: str) -> Series:
        if tag not in traces:
            raise no_such_tag(path, tag, list(traces))
        if unsaid:
            warnings.warn(
                f"{path}: the steps of {one_line(unsaid.pop())} repeat too often to tell points "
                "apart; its points are numbered from 0 instead, and others by them",
                NumberedLogWarning,
                stacklevel=3,
            )
        if tag in fallen:
            step, lost = fallen.pop(tag)
            warnings.warn(
                f"{path}: the step falls back to {step}; {lost} points of {one_line(tag)} that "
                "were recorded before at that step or later ones are left out; if these are "
                "several runs, name their files one by one",
                RestartedLogWarning,
                stacklevel=3,
            )
        return Series(spelt(path), *traces[tag], tag)

    return Log(path, KIND, tuple(traces), series)


def decode(records: Records, few: int = _FEW) -> Scalars:
    """All scalars in `records`.

    Events of one length are compared with the first of them; those that differ only in time, step
    and values are decoded together, and then the first of the others is the pattern. Where fewer
    than `few` are left, or too many patterns were tried, they are decoded one by one.
    """
    scalars = Scalars()
    for indices, rows in records.by_length():
        left = np.arange(len(indices))
        for _ in range(_MOST_PATTERNS):
            if len(left) < few:
                break
            first = rows[left[0]]
            event = _event(first.tobytes(), int(indices[left[0]]), scalars)
            pattern = event and Pattern.of(event, first)
            if pattern is None:
                _add_event(event, int(indices[left[0]]), scalars)
                left = left[1:]
                continue
            chosen = rows if len(left) == len(rows) else rows[left]
            matching = pattern.matching(chosen)
            chosen = chosen[matching]
            steps = pattern.steps(chosen)
            for point, place in pattern.points:
                values = pattern.values(point, place, chosen)
                scalars.pieces[point.tag].append((indices[left[matching]], steps, values))
            left = left[~matching]
        for each in left:
            if len(scalars.pieces) > MOST_COLUMNS:
                return scalars
            index = int(indices[each])
            _add_event(_event(rows[each].tobytes(), index, scalars), index, scalars)
    return scalars


def _event(data: bytes, index: int, scalars: Scalars) -> Any:
    """The event; None, which is noted in `scalars`, where `data` are none."""
    try:
        return Event.FromString(data)
    except DecodeError:
        if scalars.malformed is None or index < scalars.malformed:
            scalars.malformed = index
        return None


def _add_event(event: Any, index: int, scalars: Scalars) -> None:
    if event is None:
        return
    if starts(event):
        scalars.restarts.append((index, event.step))
    for point in points_of(event):
        piece = np.array([index]), np.array([event.step]), np.array([point.value])
        scalars.pieces[point.tag].append(piece)


def _first_time(records: Records) -> float:
    event = Event.FromString(records.data(0))
    known = event.HasField("wall_time") and math.isfinite(event.wall_time)
    return float(event.wall_time) if known else -math.inf


def _joined(runs: Sequence[tuple[int, Scalars]]) -> Scalars:
    joined, before = Scalars(), 0
    for count, scalars in runs:
        for tag, pieces in scalars.pieces.items():
            for indices, steps, values in pieces:
                joined.pieces[tag].append((indices + before, steps, values))
        joined.restarts += [(index + before, step) for index, step in scalars.restarts]
        before += count
    return joined


def _numbered(traces: Mapping[str, _Piece]) -> tuple[dict[str, _Trace], str]:
    """Steps and values of each tag, and the one by whose points all are numbered; "" if none is.

    The longest trace decides for all, or one could not be held against another.
    """
    most = max(traces, key=lambda tag: len(traces[tag][0]), default="")
    if not traces or not repeating(traces[most][1]):
        return {tag: (steps, values) for tag, (_, steps, values) in traces.items()}, ""
    clock = traces[most][0]
    return {
        tag: (np.maximum(np.searchsorted(clock, indices, side="right") - 1, 0), values)
        for tag, (indices, _, values) in traces.items()
    }, most


def _traces(scalars: Scalars) -> tuple[dict[str, _Piece], dict[str, tuple[int, int]]]:
    """The points of each tag, in order of recording; tags in the order of their firsts.

    And of those tags that lost points in restarts, the lowest step of a restart and how many.
    """
    restarts = np.array(sorted(scalars.restarts), np.int64).reshape(-1, 2)
    traces, firsts, fallen = {}, {}, {}
    clock = _clock(scalars)
    for tag, pieces in scalars.pieces.items():
        indices, steps, values = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        order = np.argsort(indices, kind="stable")
        indices, steps, values = indices[order], steps[order], values[order]
        cuts = np.searchsorted(indices, restarts[:, 0])
        kept = surviving(steps, cuts, restarts[:, 1])
        kept[kept] = ~repeated(steps[kept], indices[kept], clock)
        firsts[tag] = int(indices[0])
        if kept.any():
            traces[tag] = indices[kept], steps[kept], values[kept]
        if not kept.all():
            fallen[tag] = int(steps[~kept].min()), int(np.count_nonzero(~kept))
    return {tag: traces[tag] for tag in sorted(traces, key=firsts.__getitem__)}, fallen


def _clock(scalars: Scalars) -> NDArray[np.int64]:
    """The step of each event, the greatest that there is for one without scalars."""
    pieces = [piece for of_tag in scalars.pieces.values() for piece in of_tag]
    count = max((int(indices[-1]) + 1 for indices, *_ in pieces), default=0)
    clock = np.full(count, np.iinfo(np.int64).max)
    for indices, steps, _ in pieces:
        clock[indices] = steps
    return clock
