"""Parquet files."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noiseprobe.core.errors import UserError
from noiseprobe.logs.content import LARGEST, check_size, too_large
from noiseprobe.logs.log import one_line
from noiseprobe.logs.table import Column, Table, column_of

MAGIC = b"PAR1"

_BATCH, _BATCH_OF_TEXT = 1 << 16, 1 << 10
"""Rows that are unpacked at a time; texts may be long."""


def read_parquet(path: Path, content: bytes) -> Table:
    """The columns of numbers and text in a Parquet file; those of structures are left out.

    An index that pandas wrote is a column if it has a name.

    Raises:
        UserError: the file is broken, or has more rows, columns or numbers than are read.
    """
    try:
        table = _flat(path, content)
        columns = {name: _column(table.column(name)) for name in table.column_names}
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path}: broken Parquet ({one_line(error)}); write the file again"
        ) from None
    kind = "W&B export" if {"_step", "_timestamp"} <= set(columns) else "Parquet"
    return Table(
        path,
        kind,
        table.num_rows,
        {**_range_index(table), **columns},
        lambda row: f"row {row + 1}",
        kind != "Parquet",
    )


def _flat(path: Path, content: bytes) -> pa.Table:
    file = pq.ParquetFile(
        pa.BufferReader(content),
        thrift_string_size_limit=len(content) + 1,
        thrift_container_size_limit=len(content) + 1,
    )
    check_size(path, file.metadata.num_rows, 1)
    check_size(path, 1, file.metadata.num_columns)
    schema = file.schema_arrow
    names = [
        name
        for name, kind in zip(schema.names, schema.types, strict=True)
        if not pa.types.is_nested(kind) and not name.startswith("__index_level_")
    ]
    if len(set(names)) < len(names):
        raise ValueError("two columns of one name")
    check_size(path, file.metadata.num_rows, len(names))
    batches, rows, taken = [], 0, 0
    kinds = [schema.field(name).type for name in names]
    plain = all(pa.types.is_primitive(kind) for kind in kinds)
    size = _BATCH if plain else _BATCH_OF_TEXT
    for batch in file.iter_batches(size, columns=names, use_threads=False):
        rows, taken = rows + batch.num_rows, taken + batch.nbytes
        check_size(path, rows, len(names))
        if taken > LARGEST and not plain:  # long texts that are packed well
            raise too_large(path, f"{LARGEST >> 20} MB of texts when it is unpacked")
        batches.append(batch)
    if not batches:
        return pa.table({})
    return pa.Table.from_batches(batches).replace_schema_metadata(schema.metadata)


def _column(column: pa.ChunkedArray) -> Column:
    kind = column.type
    if not pa.types.is_integer(kind) and not pa.types.is_floating(kind):
        return column_of(column.to_pylist())
    empty = column.is_null().to_numpy()
    try:
        numbers = column.cast(pa.int64() if pa.types.is_integer(kind) else pa.float64())
    except pa.ArrowInvalid:  # beyond 63 bits
        numbers = column.cast(pa.float64(), safe=False)
    return Column(np.arange(len(column)), np.ma.array(numbers.fill_null(0).to_numpy(), mask=empty))


def _range_index(table: pa.Table) -> dict[str, Column]:
    """Steps that were the index of a pandas frame: metadata alone where they are evenly spaced."""
    try:
        told = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
        (index,) = [each for each in told["index_columns"] if isinstance(each, dict)]
        name, first, step = index["name"], int(index["start"]), int(index["step"])
        if max(abs(first), abs(first + step * table.num_rows)) >= 2**63:
            return {}
        whole = first + step * np.arange(table.num_rows, dtype=np.int64)
    except (ValueError, KeyError, TypeError, OverflowError, AttributeError, RecursionError):
        return {}
    if not isinstance(name, str) or name in table.column_names:
        return {}
    return {name: Column(np.arange(len(whole)), whole)}
