"""TFRecord framing: where the records of a TensorBoard event file begin and end.

A record is its length (uint64), the masked CRC-32C of these eight bytes (uint32), the data, and the
masked CRC-32C of the data (uint32), all little-endian:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details. The checksum is
that of RFC 3720 (Castagnoli, reflected polynomial 0x82F63B78); masked, it is rotated right by 15
bits and 0xA282EAD8 is added.

Both checksums are verified, on all records of one length at once: a CRC of n bytes is the XOR of n
table entries, one per byte and its place, because it is linear. That takes 0.2 s of the 0.4 s in
which a million records are found.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from mmap import mmap

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from noiseprobe.logs.content import MOST_ROWS

HEADER = 12
"""Bytes before the data of a record; four more follow it."""

CHECKED = 4096
"""The data of longer records are not verified: pictures, sounds and graphs, but no scalars."""

_FRAME = HEADER + 4
_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
_CUT_OFF, _GARBLED = "it is cut off", "its length is garbled"
_FEW = 4
_ROWS, _BYTES = 1 << 16, 1 << 24


@dataclass(frozen=True)
class Records:
    """The whole records of an event file.

    Attributes:
        content: shape (bytes,), uint8: the file.
        starts: shape (n,), int64: where the data of each record begins.
        lengths: shape (n,), int64: how many bytes of data it has.
        fault: why reading ended before the end of the file; None if it did not.
    """

    content: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    fault: str | None

    def data(self, index: int) -> bytes:
        """The data of one record."""
        first = self.starts[index]
        return self.content[first : first + self.lengths[index]].tobytes()

    def until(self, index: int, fault: str | None) -> "Records":
        """The records before that of `index`, where reading ended because of `fault`."""
        return Records(self.content, self.starts[:index], self.lengths[:index], fault)

    def by_length(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """The records of each length, as their indices (k,) and their bytes (k, length).

        Many records of one length come in slabs, so that no more than a few megabytes are copied
        at a time.
        """
        order = np.argsort(self.lengths, kind="stable")
        edges = np.flatnonzero(np.diff(self.lengths[order])) + 1
        for group in np.split(order, edges):
            if not len(group):
                continue
            length = int(self.lengths[group[0]])
            slab = max(1, min(_ROWS, _BYTES // max(length, 1)))
            for first in range(0, len(group), slab):
                indices = group[first : first + slab]
                yield indices, sliding_window_view(self.content, length)[self.starts[indices]]


def looks_like_records(head: bytes) -> bool:
    """Whether `head`, the first bytes of a file, begins with a record's length and its checksum."""
    if len(head) < HEADER:
        return False
    length, checksum = struct.unpack_from("<QI", head)
    return bool(length < 2**40 and checksum == masked_crc(head[:8]))


def find_records(content: bytes | mmap) -> Records:
    """All whole records at the beginning of `content`, up to the first fault if there is one.

    Of more than `MOST_ROWS`, one more than that.
    """
    starts, fault = _frames(content)
    records = Records(
        np.frombuffer(content, np.uint8), starts[:-1] + HEADER, np.diff(starts) - _FRAME, fault
    )
    if len(records.starts):
        distinct, inverse = np.unique(records.lengths, return_inverse=True)
        stated = [masked_crc(struct.pack("<Q", length)) for length in distinct]
        found = _uint32(records.content, records.starts - 4)
        records = _before(records, np.array(stated, np.uint32)[inverse] != found, _GARBLED)
    wrong = np.zeros(len(records.starts), bool)
    for indices, rows in records.by_length():
        if rows.shape[1] <= CHECKED:
            ends = records.starts[indices] + records.lengths[indices]
            wrong[indices] = _masked_crcs(rows) != _uint32(records.content, ends)
    return _before(records, wrong, "its data are garbled")


def masked_crc(data: bytes) -> int:
    """The masked CRC-32C of `data`, byte by byte.

    Examples:
        >>> hex(masked_crc(b"123456789"))  # CRC-32C 0xe3069283, RFC 3720
        '0xc78ab0e5'
    """
    table = _byte_table().tolist()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def _frames(content: bytes | mmap) -> tuple[NDArray[np.int64], str | None]:
    """Where each frame begins and the last one ends, as the lengths alone tell."""
    size, unpack = len(content), struct.Struct("<Q").unpack_from
    at, fault = 0, None
    places = [0]
    append = places.append
    while at < size and len(places) <= MOST_ROWS + 1:
        if size - at < _FRAME:
            fault = _CUT_OFF
            break
        after = at + unpack(content, at)[0] + _FRAME
        if after > size:
            sound = masked_crc(content[at : at + 8]) == unpack(content, at + 8)[0] & 0xFFFFFFFF
            fault = _CUT_OFF if sound else _GARBLED
            break
        append(after)
        at = after
    return np.array(places, np.int64), fault


def _before(records: Records, wrong: NDArray[np.bool_], fault: str) -> Records:
    return records.until(int(np.argmax(wrong)), fault) if wrong.any() else records


def _uint32(content: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.uint32]:
    return sliding_window_view(content, 4)[places].view("<u4")[:, 0]


@cache
def _byte_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (np.uint32(_POLYNOMIAL) * (table & np.uint32(1)))
    return table


@cache
def _place_tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What each value of a byte with k bytes behind it adds, (k, 256), and the CRCs of k zeros."""
    entries = np.empty((CHECKED, 256), np.uint32)
    entries[0] = first = _byte_table()
    zeros = np.empty(CHECKED + 1, np.uint32)
    zeros[0] = np.uint32(0xFFFFFFFF)
    for behind in range(1, CHECKED):
        nearer = entries[behind - 1]
        entries[behind] = first[nearer & np.uint32(0xFF)] ^ (nearer >> np.uint32(8))
    for count in range(CHECKED):
        zeros[count + 1] = first[zeros[count] & np.uint32(0xFF)] ^ (zeros[count] >> np.uint32(8))
    return entries, zeros ^ np.uint32(0xFFFFFFFF)


def _masked_crcs(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The masked CRC-32C of each row of `rows`, shape (k, length)."""
    length = rows.shape[1]
    if len(rows) < _FEW:
        return np.array([masked_crc(row.tobytes()) for row in rows], np.uint32)
    entries, zeros = _place_tables()
    crcs = np.full(len(rows), zeros[length])
    for place in range(length):
        crcs ^= entries[length - 1 - place][rows[:, place]]
    rotated = (crcs >> np.uint32(15)) | (crcs << np.uint32(17))
    return rotated + np.uint32(_MASK)
