"""Columns of numbers out of an Arrow table."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from noiseprobe.logs.table import Numbers, Other


def columns_of(table: pa.Table) -> dict[str, Numbers | Other]:
    """The columns of `table`: nulls are empty cells, and what is no number stays unread."""
    rows = np.arange(table.num_rows, dtype=np.int64)
    columns: dict[str, Numbers | Other] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        empty = column.is_null().to_numpy()
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            values = column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
            columns[name] = Numbers(rows, values, empty, _whole(column))
        elif empty.all():
            columns[name] = Numbers(rows, np.full(len(rows), np.nan), empty)
        else:
            columns[name] = Other(_first(column.filter(pc.is_valid(column))))
    return columns


def _whole(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """The integers of a column, 0 where it is null; None where 64 bits do not hold them."""
    if not pa.types.is_integer(column.type):
        return None
    try:
        whole: NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy()
    except pa.ArrowInvalid:
        return None
    return whole


def _first(told: pa.ChunkedArray) -> object:
    try:
        return told.slice(0, 1).to_pylist()[0]
    except (pa.ArrowException, ValueError, OverflowError):
        return str(told.type)
