"""Events that differ only in time, step and values, decoded together."""

from collections.abc import Callable
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
        points: its scalars, each with the place where it lies; None for one that is left out.
    """

    event: NDArray[np.uint8]
    fixed: NDArray[np.uint8]
    step: slice
    points: tuple[tuple[Point, slice | None], ...]

    @staticmethod
    def of(event: Any, row: NDArray[np.uint8]) -> "Pattern | None":
        """The pattern of `event`, whose bytes are `row`; None if it must be decoded alone.

        That is so if it starts a session, holds no scalar (then the rest of it is a picture or a
        text, which others hardly share), or a scalar whose length may change, or was written in
        another way than protobuf's own, so that where its numbers lie cannot be told.
        """
        points = points_of(event)
        if starts(event) or not points or event.SerializeToString() != row.tobytes():
            return None
        fixed = np.full(len(row), 0xFF, np.uint8)
        if event.HasField("wall_time"):
            fixed[
                _place(row, lambda copy, byte: setattr(copy, "wall_time", _filled("<f8", byte)))
            ] = 0
        step = slice(0, 0)
        if event.HasField("step"):
            length = max(1, -(-event.step.bit_length() // 7))
            if event.step < 0 or length > _LONGEST_STEP:
                return None
            ones = sum(1 << 7 * place for place in range(length))
            step = _place(row, lambda copy, byte: setattr(copy, "step", byte * ones))
            fixed[step] = 0x80
        places: list[slice | None] = []
        for point in points:
            if point.field and not point.format:
                return None
            places.append(_place(row, _changed(point)) if point.field else None)
            if places[-1] is not None:
                fixed[places[-1]] = 0
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

    def values(self, rows: NDArray[np.uint8]) -> list[tuple[str, NDArray[np.float64]]]:
        """The tag of each scalar and its values in `rows`, shape (n, length): shape (n,)."""
        return [
            (
                point.tag,
                np.full(len(rows), point.value)
                if place is None
                else np.ascontiguousarray(rows[:, place]).view(point.format)[:, 0].astype(float),
            )
            for point, place in self.points
        ]


def _filled(form: str, byte: int) -> Any:
    """The number in this format all of whose bytes are `byte`."""
    number = np.dtype(form)
    return np.frombuffer(bytes([byte]) * number.itemsize, number)[0].item()


def _changed(point: Point) -> Callable[[Any, int], None]:
    """What gives an event another number for `point`."""

    def change(event: Any, byte: int) -> None:
        value = event.summary.value[point.place]
        if point.field == "simple_value":
            value.simple_value = _filled(point.format, byte)
        elif point.field == "content":
            value.tensor.content = bytes([byte]) * len(value.tensor.content)
        else:
            getattr(value.tensor, point.field)[0] = _filled(point.format, byte)

    return change


def _place(row: NDArray[np.uint8], change: Callable[[Any, int], None]) -> slice:
    """Where the bytes `row` of an event differ from those of it with other bytes in one number.

    One of two bytes differs from any third.
    """
    differing = np.zeros(len(row), bool)
    for byte in (1, 2):
        event = Event.FromString(row.tobytes())
        change(event, byte)
        differing |= np.frombuffer(event.SerializeToString(), np.uint8) != row
    places = np.flatnonzero(differing)
    return slice(int(places[0]), int(places[-1]) + 1)
