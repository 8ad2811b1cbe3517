"""Events that differ only in time, step and values, decoded together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noiseprobe.logs.messages import Event, Point, points_of, starts

_LONGEST_STEP = 9
"""Bytes of the longest step that is not below 0."""


@dataclass(frozen=True)
class Pattern:
    """An event that stands for others of its length.

    Attributes:
        event: shape (length,), uint8: its bytes.
        fixed: shape (length,), uint8: the bits that others share with it: 0xFF, but 0 where the
            time and values lie and 0x80, which tells how long it is, in the step.
        step: where the step lies; empty where it is left out, being 0.
        points: its scalars, each with the place where it lies; empty for one that is left out.
    """

    event: NDArray[np.uint8]
    fixed: NDArray[np.uint8]
    step: slice
    points: tuple[tuple[Point, slice], ...]

    @staticmethod
    def of(event: Any, row: NDArray[np.uint8]) -> "Pattern | None":
        """The pattern of `event`, whose bytes are `row`; None if it must be decoded alone.

        That is so if it starts a session, holds no scalar (then the rest of it is a picture or a
        text, which others hardly share), or a scalar whose length may change, or was written in
        another way than protobuf's own, so that where its numbers lie cannot be told.
        """
        points = points_of(event)
        alone = starts(event) or any(point.field and not point.format for point in points)
        length = max(1, -(-event.step.bit_length() // 7))
        if alone or not points or event.step < 0 or length > _LONGEST_STEP:
            return None
        if event.SerializeToString() != row.tobytes():
            return None
        # Of two bytes, one differs from any third.
        others = (np.frombuffer(_filled(row, points, length, byte), np.uint8) for byte in (1, 2))
        differing = np.flatnonzero(np.any([other != row for other in others], axis=0))
        # Between two numbers there is always a key.
        runs = iter(np.split(differing, np.flatnonzero(np.diff(differing) > 1) + 1))
        fixed = np.full(len(row), 0xFF, np.uint8)
        if event.HasField("wall_time"):
            fixed[next(runs)] = 0
        step = _slice(next(runs)) if event.HasField("step") else slice(0, 0)
        fixed[step] = 0x80
        places = [_slice(next(runs)) if point.field else slice(0, 0) for point in points]
        for place in places:
            fixed[place] = 0
        return Pattern(row, fixed, step, tuple(zip(points, places, strict=True)))

    def matching(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of `rows`, shape (n, length), have this pattern: shape (n,)."""
        differences = rows ^ self.event
        differences &= self.fixed
        found: NDArray[np.bool_] = np.logical_not(differences.any(axis=1))
        return found

    def steps(self, rows: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The steps of `rows`, shape (n, length), which have this pattern: shape (n,)."""
        steps = np.zeros(len(rows), np.int64)
        for shift, digits in enumerate(rows[:, self.step].T):
            steps |= (digits & 0x7F).astype(np.int64) << (7 * shift)
        return steps

    def values(self, point: Point, place: slice, rows: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The values of one scalar of `rows`, shape (n, length): shape (n,)."""
        if not point.field:
            return np.full(len(rows), point.value)
        cells = np.ascontiguousarray(rows[:, place]).view(point.format)
        return cells[:, 0].astype(np.float64)


def _filled(row: NDArray[np.uint8], points: list[Point], length: int, byte: int) -> bytes:
    """The event `row` with `byte` for all bytes of its numbers; its step has `length` of them."""

    def number(form: str) -> float:
        return float(np.full(np.dtype(form).itemsize, byte, np.uint8).view(form)[0])

    event = Event.FromString(row.tobytes())
    if event.HasField("wall_time"):
        event.wall_time = number("<f8")
    if event.HasField("step"):
        event.step = sum(byte << 7 * place for place in range(length))
    for point in points:
        value = event.summary.value[point.place]
        if point.field == "simple_value":
            value.simple_value = number(point.format)
        elif point.field == "content":
            value.tensor.content = bytes([byte]) * len(value.tensor.content)
        elif point.field:
            getattr(value.tensor, point.field)[0] = number(point.format)
    return bytes(event.SerializeToString())


def _slice(places: NDArray[np.int64]) -> slice:
    return slice(int(places[0]), int(places[-1]) + 1)
