"""The scalars of one TensorBoard event: the few protobuf fields of it that are needed.

Field numbers are those of tensorboard/compat/proto (event.proto, summary.proto, tensor.proto,
types.proto); the encoding is https://protobuf.dev/programming-guides/encoding. What is decoded is
not only each number but also where its bytes lie, so that other events which differ from this one
in those bytes alone can be decoded all at once.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_CONTENT = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "<u1",
    5: "<i2",
    6: "<i1",
    9: "<i8",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
"""How `tensor_content` holds one number, by the DataType of the tensor."""

_FLOATS = {1: (5, "<f4"), 2: (6, "<f8")}
"""DataTypes whose numbers may lie in a field of their own as fixed bytes: its number and format."""

_INTEGERS = {3: 7, 4: 7, 5: 7, 6: 7, 17: 7, 9: 10, 22: 16, 23: 17}
"""DataTypes whose numbers may lie in a field of their own as varints."""


class Malformed(ValueError):
    """The bytes are no event."""


@dataclass(frozen=True)
class Point:
    """One scalar of an event.

    Attributes:
        tag: its tag.
        value: the number.
        place: where its bytes begin; None where they are not of a fixed number.
        format: how they hold it, as numpy writes it; "varint" where their number is not fixed, ""
            where there are none because it is zero.
    """

    tag: str
    value: float
    place: int | None = None
    format: str = ""


@dataclass
class Event:
    """What is needed of an event.

    Attributes:
        step: its step.
        step_place: first and last byte + 1 of the step; None where it is left out, being 0.
        time: seconds since 1970; NaN where it has none.
        time_place: where the eight bytes of the time begin; None where it has none.
        starts: whether it says that a session starts at this step.
        points: its scalars.
    """

    step: int = 0
    step_place: tuple[int, int] | None = None
    time: float = float("nan")
    time_place: int | None = None
    starts: bool = False
    points: list[Point] = field(default_factory=list)


def parse_event(data: bytes) -> Event:
    """Decode one event.

    Raises:
        Malformed: `data` is no protobuf message.
    """
    event = Event()
    for number, kind, first, last in _fields(data, 0, len(data)):
        if (number, kind) == (1, FIXED64):
            (event.time,) = struct.unpack_from("<d", data, first)
            event.time_place = first
        elif (number, kind) == (2, VARINT):
            event.step = _signed(_varint(data, first, last)[0])
            event.step_place = (first, last)
        elif (number, kind) == (5, BYTES):
            for inner, inner_kind, begin, end in _fields(data, first, last):
                if (inner, inner_kind) == (1, BYTES):
                    point = _parse_value(data, begin, end)
                    if point is not None:
                        event.points.append(point)
        elif (number, kind) == (7, BYTES):
            states = [
                _varint(data, begin, end)[0]
                for inner, inner_kind, begin, end in _fields(data, first, last)
                if (inner, inner_kind) == (1, VARINT)
            ]
            event.starts = states[-1:] == [1]
    return event


def _parse_value(data: bytes, first: int, last: int) -> Point | None:
    """The scalar of one `Summary.Value`; None if it holds anything else."""
    tag, plugin = "", ""
    found: tuple[float, int | None, str] | None = None
    for number, kind, begin, end in _fields(data, first, last):
        if (number, kind) == (1, BYTES):
            tag = data[begin:end].decode("utf-8", "replace")
        elif (number, kind) == (2, FIXED32):
            found = (struct.unpack_from("<f", data, begin)[0], begin, "<f4")
        elif (number, kind) == (8, BYTES):
            found = _parse_tensor(data, begin, end)
        elif kind == BYTES and number in (3, 4, 5, 6):
            found = None
        elif (number, kind) == (9, BYTES):
            plugin = _plugin(data, begin, end)
    if found is None or plugin not in ("", "scalars"):
        return None
    return Point(tag, *found)


def _plugin(data: bytes, first: int, last: int) -> str:
    name = ""
    for number, kind, begin, end in _fields(data, first, last):
        if (number, kind) == (1, BYTES):
            for inner, inner_kind, inner_begin, inner_end in _fields(data, begin, end):
                if (inner, inner_kind) == (1, BYTES):
                    name = data[inner_begin:inner_end].decode("utf-8", "replace")
    return name


def _parse_tensor(data: bytes, first: int, last: int) -> tuple[float, int | None, str] | None:
    """The number in a tensor of one element, where it lies and how; None for other tensors."""
    dtype, elements = 0, 1
    spans: dict[int, tuple[int, int, int]] = {}
    for number, kind, begin, end in _fields(data, first, last):
        if (number, kind) == (1, VARINT):
            dtype = _varint(data, begin, end)[0]
        elif (number, kind) == (2, BYTES):
            elements = _elements(data, begin, end)
        else:
            spans[number] = (kind, begin, end)
    if elements != 1:
        return None
    content = _CONTENT.get(dtype)
    if content and 4 in spans and spans[4][1] < spans[4][2]:
        return _fixed(data, content, spans[4])
    if dtype in _FLOATS:
        number, content = _FLOATS[dtype]
        # TensorFlow leaves out what is zero.
        return _fixed(data, content, spans[number]) if number in spans else (0.0, None, "")
    if dtype in _INTEGERS:
        _, begin, end = spans.get(_INTEGERS[dtype], (VARINT, 0, 0))
        if begin == end:
            return 0.0, None, ""
        value, after = _varint(data, begin, end)
        return (float(_signed(value)), None, "varint") if after == end else None
    return None


def _fixed(data: bytes, form: str, span: tuple[int, int, int]) -> tuple[float, int, str] | None:
    _, begin, end = span
    if end - begin != np.dtype(form).itemsize:
        return None
    return float(np.frombuffer(data, form, 1, begin)[0]), begin, form


def _elements(data: bytes, first: int, last: int) -> int:
    """How many elements a `TensorShapeProto` says there are; -1 where that is unknown."""
    elements = 1
    for number, kind, begin, end in _fields(data, first, last):
        if (number, kind) == (2, BYTES):
            size = 0
            for inner, inner_kind, inner_begin, inner_end in _fields(data, begin, end):
                if (inner, inner_kind) == (1, VARINT):
                    size = _signed(_varint(data, inner_begin, inner_end)[0])
            # Products of forged sizes would grow without bound.
            elements = 1 if size == 1 == elements else -1
        elif (number, kind) == (3, VARINT) and _varint(data, begin, end)[0]:
            elements = -1
    return elements


def _fields(data: bytes, at: int, last: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in `data[at:last]`: number, kind, and where the payload lies."""
    while at < last:
        key, at = _varint(data, at, last)
        number, kind = key >> 3, key & 7
        begin = at
        if kind == VARINT:
            _, at = _varint(data, at, last)
        elif kind == BYTES:
            length, begin = _varint(data, at, last)
            at = begin + length
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise Malformed("an unknown kind of field")
        if at > last or not number:
            raise Malformed("a field reaches beyond its message")
        yield number, kind, begin, at


def _varint(data: bytes, at: int, last: int) -> tuple[int, int]:
    value = shift = 0
    while at < last and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise Malformed("a number does not end")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
