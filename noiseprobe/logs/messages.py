"""TensorBoard's events: as much of their protobuf messages as holds scalars.

Numbers and names are those of tensorboard/compat/proto (event.proto, summary.proto, tensor.proto,
types.proto). Texts are declared as bytes, so that a garbled one spoils no event, and so is what
stands beside a scalar and is not looked into.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MESSAGES = {
    "Event": "wall_time=1:double step=2:int64 summary=5:Summary session_log=7:SessionLog",
    "SessionLog": "status=1:int32",
    "Summary": "value=1:Value*",
    "Value": "tag=1:bytes metadata=9:Metadata simple_value=2:float? old_histogram=3:bytes? "
    "image=4:bytes? histogram=5:bytes? audio=6:bytes? tensor=8:Tensor?",
    "Metadata": "plugin_data=1:PluginData",
    "PluginData": "plugin_name=1:bytes",
    "Tensor": "dtype=1:int32 shape=2:Shape content=4:bytes float_val=5:float* double_val=6:double* "
    "int_val=7:int32* int64_val=10:int64* uint32_val=16:uint32* uint64_val=17:uint64*",
    "Shape": "dim=2:Dim* unknown_rank=3:bool",
    "Dim": "size=1:int64",
}
"""The fields of each message: `*` where there may be several, `?` where only one of them is set."""

_FORMATS = {
    1: ("<f4", "float_val"),
    2: ("<f8", "double_val"),
    3: ("<i4", "int_val"),
    4: ("<u1", "int_val"),
    5: ("<i2", "int_val"),
    6: ("<i1", "int_val"),
    9: ("<i8", "int64_val"),
    17: ("<u2", "int_val"),
    19: ("<f2", ""),
    22: ("<u4", "uint32_val"),
    23: ("<u8", "uint64_val"),
}
"""How `content` holds a number, by the `dtype` of a tensor, and the field that may hold it too."""

_START = 1


class Point(NamedTuple):
    """One scalar of an event.

    Attributes:
        tag: its tag.
        value: the number.
        place: which value of the summary it is.
        field: the field of the value, or of its tensor, that holds it; "" where none does because
            it is zero.
        format: how its bytes hold it, as numpy writes it; "" where their number is not fixed.
    """

    tag: str
    value: float
    place: int
    field: str
    format: str


def declared(messages: Mapping[str, str], name: str) -> Any:
    """The class of the message `name` among `messages`, which are written as `_MESSAGES`."""
    file = descriptor_pb2.FileDescriptorProto(name=name, package="noiseprobe")
    kinds = descriptor_pb2.FieldDescriptorProto
    for each_name, fields in messages.items():
        message = file.message_type.add(name=each_name)
        for each in fields.split():
            told, _, kind = each.partition(":")
            field, _, number = told.partition("=")
            plain = kind.rstrip("*?")
            added = message.field.add(name=field, number=int(number), label=kinds.LABEL_OPTIONAL)
            if plain in messages:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".noiseprobe.{plain}"
            else:
                added.type = kinds.Type.Value(f"TYPE_{plain.upper()}")
            if kind.endswith("*"):
                added.label = kinds.LABEL_REPEATED
                added.options.packed = plain not in messages and plain not in ("bytes", "string")
            if kind.endswith("?"):
                added.oneof_index = 0
        if "?" in fields:
            message.oneof_decl.add(name="content")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"noiseprobe.{name}"))


Event = declared(_MESSAGES, "Event")
"""The message; `Event.FromString` raises `google.protobuf.message.DecodeError`."""


def starts(event: Any) -> bool:
    """Whether the event says that a session starts at its step."""
    return bool(event.session_log.status == _START)


def points_of(event: Any) -> list[Point]:
    """The scalars of an event: plain ones, and tensors of one element."""
    points = []
    for place, value in enumerate(event.summary.value):
        if value.metadata.plugin_data.plugin_name not in (b"", b"scalars"):
            continue
        kind = value.WhichOneof("content")
        found: tuple[float, str, str] | None = None
        if kind == "simple_value":
            found = value.simple_value, kind, "<f4"
        elif kind == "tensor":
            found = _of_tensor(value.tensor)
        if found is not None:
            number, field, form = found
            points.append(Point(value.tag.decode("utf-8", "replace"), number, place, field, form))
    return points


def _of_tensor(tensor: Any) -> tuple[float, str, str] | None:
    """The number in a tensor of one element, its field and format; None for other tensors."""
    if tensor.shape.unknown_rank or any(dim.size != 1 for dim in tensor.shape.dim):
        return None
    form, field = _FORMATS.get(tensor.dtype, ("", ""))
    if form and tensor.content:
        whole = len(tensor.content) == np.dtype(form).itemsize
        return (float(np.frombuffer(tensor.content, form)[0]), "content", form) if whole else None
    if not field:
        return None
    numbers = getattr(tensor, field)
    if not numbers:  # TensorFlow leaves out what is zero.
        return 0.0, "", ""
    fixed = form if field in ("float_val", "double_val") else ""
    return (float(numbers[0]), field, fixed) if len(numbers) == 1 else None
