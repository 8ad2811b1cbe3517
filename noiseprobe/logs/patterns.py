"""Events that differ only in time, step and values, decoded together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noiseprobe.logs.protobuf import Malformed, Point, parse_event


@dataclass(frozen=True)
class Pattern:
    """An event that stands for others of its length.

    Attributes:
        event: shape (length,), uint8: its bytes.
        fixed: shape (length,), uint8: the bits that others share with it: 0xFF, but 0 where the
            time and values lie and 0x80, which tells how long it is, in the step.
        step: first and last byte + 1 of the step; None where it is left out, being 0.
        points: its scalars.
    """

    event: NDArray[np.uint8]
    fixed: NDArray[np.uint8]
    step: tuple[int, int] | None
    points: tuple[Point, ...]

    @staticmethod
    def of(row: NDArray[np.uint8]) -> "Pattern | None":
        """The pattern of the event with the bytes `row`; None if it must be decoded alone.

        That is so if it is no event, starts a session, holds no scalar (then the rest of it is a
        picture or a text, which others hardly share), or a scalar whose length may change.
        """
        try:
            event = parse_event(row.tobytes())
        except Malformed:
            return None
        if event.starts or not event.points:
            return None
        fixed = np.full(len(row), 0xFF, np.uint8)
        if event.time_place is not None:
            fixed[event.time_place : event.time_place + 8] = 0
        if event.step_place is not None:
            fixed[slice(*event.step_place)] = 0x80
        for point in event.points:
            if point.format == "varint":
                return None
            if point.place is not None:
                fixed[point.place : point.place + np.dtype(point.format).itemsize] = 0
        return Pattern(row, fixed, event.step_place, tuple(event.points))

    def matching(self, rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of `rows`, shape (n, length), have this pattern: shape (n,)."""
        differences = rows ^ self.event
        differences &= self.fixed
        found: NDArray[np.bool_] = np.logical_not(differences.any(axis=1))
        return found

    def steps(self, rows: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The steps of `rows`, shape (n, length), which have this pattern: shape (n,)."""
        steps = np.zeros(len(rows), np.uint64)
        if self.step is not None:
            for shift, place in enumerate(range(*self.step)):
                if shift < 10:
                    digits = (rows[:, place] & 0x7F).astype(np.uint64)
                    steps |= digits << np.uint64(7 * shift)
        return steps.view(np.int64)

    def values(self, point: Point, rows: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The values of one scalar of `rows`, shape (n, length): shape (n,)."""
        if point.place is None:
            return np.full(len(rows), point.value)
        number = np.dtype(point.format)
        cells = np.ascontiguousarray(rows[:, point.place : point.place + number.itemsize])
        return cells.view(number)[:, 0].astype(np.float64)
