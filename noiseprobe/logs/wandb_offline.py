"""The `run-ID.wandb` that Weights & Biases keeps of a run, also where it was never uploaded.

A header (`:W&B`, 0xBEE1, a version), then records in LevelDB's framing of blocks of 32768 bytes,
whose checksum is zlib's CRC-32 of the type and the data; each holds a protobuf `Record`
(wandb/proto/wandb_internal.proto), of which `history` is read. The package `wandb` is not needed.
"""

import json
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from noiseprobe.core.errors import UserError
from noiseprobe.logs.json_text import flat_numbers
from noiseprobe.logs.log import TruncatedLogWarning
from noiseprobe.logs.long import pivoted
from noiseprobe.logs.messages import declared
from noiseprobe.logs.table import Table

MAGIC = b":W&B"
KIND = "W&B offline"

_START, _BLOCK, _HEADER = 7, 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

Record = declared(
    {
        "Record": "history=2:History",
        "History": "item=1:Item* step=2:Step",
        "Item": "key=1:bytes nested_key=2:bytes* integer=5:sint64? number=6:double? "
        "value_json=16:bytes",
        "Step": "num=1:int64",
    },
    "Record",
)
"""The message, as far as it holds the history of a run."""


def read_wandb(path: Path, content: bytes) -> Table:
    """The history of the run, in the order in which it was logged.

    Raises:
        UserError: nothing was logged.

    Warns:
        TruncatedLogWarning: the file is cut off or garbled; what stands before the place was read.
    """
    names: list[str] = []
    steps: list[int] = []
    values: list[float] = []
    for place, data in enumerate(_records(path, content)):
        try:
            record = Record.FromString(data)
        except DecodeError:
            _warn(path, place, "it is no message")
            break
        if not record.HasField("history"):
            continue
        found = dict(_numbers(record.history))
        step = record.history.step.num
        step = int(found.get("_step", step)) if math.isfinite(found.get("_step", 0.0)) else step
        for name, value in found.items():
            if name != "_step":
                names.append(name)
                steps.append(step)
                values.append(value)
    if not names:
        raise UserError(f"{path}: no number was logged; let the training log at least one loss")
    return pivoted(path, KIND, names, steps, values, "number {}".format)


def _numbers(history: Any) -> Iterator[tuple[str, float]]:
    """What was logged at once; the sizes of a picture or table, which has a `_type`, are none."""
    named = [
        ([item.key, *item.nested_key] if item.key else list(item.nested_key), item)
        for item in history.item
    ]
    media = [parts[:-1] for parts, _ in named if len(parts) > 1 and parts[-1] == b"_type"]
    for parts, item in named:
        if any(parts[: len(above)] == above for above in media):
            continue
        name = "/".join(part.decode("utf-8", "replace") for part in parts)
        kind = item.WhichOneof("content")
        if kind:
            yield name, float(getattr(item, kind))
            continue
        try:
            value = json.loads(item.value_json or b"null")
        except (ValueError, RecursionError):
            continue
        if not (isinstance(value, dict) and "_type" in value):
            yield from flat_numbers({name: value})


def _records(path: Path, content: bytes) -> Iterator[bytes]:
    """The data of each whole record, up to the first fault if there is one."""
    at, parts, count = _START, b"", 0
    while at < len(content):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        if len(content) - at < _HEADER:
            return _warn(path, count, "it is cut off")
        checksum, length, kind = struct.unpack_from("<IHB", content, at)
        if not checksum and not length and not kind:  # a block that was padded
            at += left
            continue
        data = content[at + _HEADER : at + _HEADER + length]
        if len(data) < length:
            return _warn(path, count, "it is cut off")
        if zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
            return _warn(path, count, "its data are garbled")
        at += _HEADER + length
        parts = data if kind in (_FULL, _FIRST) else parts + data
        if kind in (_FULL, _LAST):
            yield parts
            count += 1


def _warn(path: Path, count: int, fault: str) -> None:
    warnings.warn(
        f"{path}: reading ends before record {count + 1}, because {fault}; what stands before it "
        "is read",
        TruncatedLogWarning,
        stacklevel=4,
    )
