"""A log in columns, from any kind of file: its traces, its steps, and which rows a trace has."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noiseprobe.errors import UserError
from noiseprobe.sources.log import Log, RestartedLogWarning, Series, one_line, surviving
from noiseprobe.sources.tags import is_clock, no_such_tag, step_columns

_EMPTY = {"", "na", "none", "null"}
_ROWS_PER_RESTART = 4


@dataclass(frozen=True)
class Cells:
    """Cells as the file has them.

    Attributes:
        rows: the rows that have one, rising.
        cells: the cell of each of them.
    """

    rows: Sequence[int]
    cells: Sequence[Any]


@dataclass(frozen=True)
class Numbers:
    """Cells that are all numbers or empty.

    Attributes:
        rows: shape (k,): the rows that have a cell, rising.
        values: shape (k,), float64; NaN where the cell is empty.
        empty: shape (k,): where it is.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    empty: NDArray[np.bool_]


@dataclass(frozen=True)
class Other:
    """A column that a fast reader found to hold something else than numbers.

    Attributes:
        first: its first cell that is not empty; None if all are.
    """

    first: Any


Column = Cells | Numbers | Other


class _Unread(Exception):
    """It matters what a column holds that a fast reader left unread."""


@dataclass(frozen=True)
class Table:
    """A log in columns.

    Attributes:
        path: where it lies.
        kind: what it is, as in `Log`.
        height: the number of rows.
        columns: by name.
        place: what row k is called in messages, such as "line 3".
        sparse: whether an empty cell always means that nothing was recorded.
        vague: whether an empty cell may also be one that the row lacks.
        careful: reads the same table slowly and so that every fault has its place; None if this
            is that table.
    """

    path: Path
    kind: str
    height: int
    columns: Mapping[str, Column]
    place: Callable[[int], str]
    sparse: bool = False
    vague: bool = False
    careful: "Callable[[], Table] | None" = None


def table_log(table: Table) -> Log:
    """The traces of `table`.

    A trace is a column whose first cell that says anything is a number, and which neither counts
    steps nor tells the time; the only column that does neither is one in any case. Rows that lack
    the column are left out, and so are those where it is empty while another trace has a number:
    nothing was recorded there. Any other empty cell is a point, NaN.

    The steps come from the first column of `STEP_COLUMNS` that has one for every point. They are
    0 … n−1 if there is no such column, or if it holds fractions of epochs. Where a step falls back,
    training was restarted, and what was recorded before at that step or later ones is left out; but
    steps that fall more often than at every fourth row are those of a table that is not in order.

    Raises:
        UserError: the table has no rows.
    """
    if not table.height:
        raise UserError(f"{table.path}: no rows; record at least one loss")
    steps = step_columns(list(table.columns))
    names = [name for name in table.columns if name not in steps]
    measured = [name for name in names if not is_clock(name)] or names
    numeric = [name for name in measured if _begins_with_number(table.columns[name])]
    tags = tuple(numeric or (measured if len(measured) == 1 else []))
    careful = cache(table.careful) if table.careful else None

    def series(tag: str) -> Series:
        if careful is None:
            return _series(table, tag, tags)
        try:
            return _series(table, tag, tags)
        except (UserError, _Unread):
            return _series(careful(), tag, tags)

    return Log(table.path, table.kind, tags, series)


def is_number(cell: Any) -> bool:
    """Whether the cell is a number, or text that says one; an empty cell is none."""
    try:
        _number(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return not is_empty(cell)


def is_empty(cell: Any) -> bool:
    """Whether the cell says that there is no value."""
    if isinstance(cell, str):
        return cell.strip().lower() in _EMPTY
    return cell is None


def _series(table: Table, tag: str, tags: Sequence[str]) -> Series:
    if tag not in table.columns:
        raise no_such_tag(table.path, tag, tags)
    found = _numbers(table, tag)
    if found.empty.any():
        kept = ~(found.empty & (table.sparse | _elsewhere(table, tag, tags)[found.rows]))
        found = Numbers(found.rows[kept], found.values[kept], found.empty[kept])
        if table.vague and found.empty.any():
            raise _Unread(tag)
    if not len(found.rows):
        raise UserError(f"{table.path}: no {one_line(tag)} was recorded; name another with --tag")
    steps = _steps(table, found.rows)
    kept = surviving(steps)
    if not kept.all():
        fall = int(np.argmax(np.diff(steps) < 0)) + 1
        warnings.warn(
            f"{table.path}, {table.place(int(found.rows[fall]))}: the step falls back to "
            f"{steps[fall]}; {np.count_nonzero(~kept)} points of {one_line(tag)} that were "
            "recorded before at that step or later ones are left out",
            RestartedLogWarning,
            stacklevel=4,
        )
    return Series(str(table.path), steps[kept], found.values[kept], tag)


def _elsewhere(table: Table, tag: str, tags: Sequence[str]) -> NDArray[np.bool_]:
    """In which rows another trace has a number."""
    told = np.zeros(table.height, bool)
    for name in tags:
        if name != tag and name in table.columns:
            told |= _told(table, name)
    return told


def _told(table: Table, name: str) -> NDArray[np.bool_]:
    """In which rows the column has a number."""
    column = table.columns[name]
    if isinstance(column, Other):
        raise _Unread(name)
    told = np.zeros(table.height, bool)
    if isinstance(column, Numbers):
        told[column.rows[~column.empty]] = True
    else:
        pairs = zip(column.rows, column.cells, strict=True)
        told[[row for row, cell in pairs if is_number(cell)]] = True
    return told


def _steps(table: Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The steps of the points in `rows`, in the order of the table."""
    numbered = np.arange(len(rows), dtype=np.int64)
    names = step_columns(list(table.columns))
    if not names:
        return numbered
    name = next((name for name in names if _told(table, name)[rows].all()), names[0])
    found = _numbers(table, name)
    there = np.zeros(table.height, bool)
    there[found.rows] = True
    steps = np.full(table.height, np.nan)
    steps[found.rows] = found.values
    steps = steps[rows]
    if not there[rows].all():
        row = int(rows[np.argmin(there[rows])])
        raise UserError(
            f"{table.path}, {table.place(row)}: {one_line(name)} is missing; give whole numbers"
        )
    fractional = steps != np.round(steps)
    if name.lower() == "epoch" and np.any(fractional & np.isfinite(steps)):
        return numbered
    unusable = fractional | ~np.isfinite(steps) | (np.abs(steps) >= 2**63)
    falling = np.append(False, steps[1:] < steps[:-1])
    shuffled = falling & (np.count_nonzero(falling) * _ROWS_PER_RESTART > len(steps))
    for wrong, mend in [
        (unusable, "give whole numbers"),
        (shuffled, "sort the rows, or keep one run per file"),
    ]:
        if wrong.any():
            at = int(np.argmax(wrong))
            before = f" after {steps[at - 1]:g}" if wrong is shuffled else ""
            raise UserError(
                f"{table.path}, {table.place(int(rows[at]))}: {one_line(name)} is {steps[at]:g}"
                f"{before}; {mend}"
            )
    return steps.astype(np.int64)


def _numbers(table: Table, name: str) -> Numbers:
    column = table.columns[name]
    if isinstance(column, Numbers):
        return column
    if isinstance(column, Other):
        raise _Unread(name)
    values = np.empty(len(column.cells))
    for place, cell in enumerate(column.cells):
        try:
            values[place] = _number(cell)
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                f"{table.path}, {table.place(column.rows[place])}: {one_line(name)} is "
                f"{_shown(cell)}, not a number; mend the row or name another trace with --tag"
            ) from None
    empty = np.array([is_empty(cell) for cell in column.cells], bool)
    return Numbers(np.asarray(column.rows, np.int64), values, empty)


def _begins_with_number(column: Column) -> bool:
    if isinstance(column, Numbers):
        return not column.empty.all()
    if isinstance(column, Other):
        return is_number(column.first)
    return is_number(next((cell for cell in column.cells if not is_empty(cell)), None))


def _number(cell: Any) -> float:
    if isinstance(cell, bool):
        raise TypeError("a truth value is not a number")
    return float("nan") if is_empty(cell) else float(cell)


def _shown(cell: Any) -> str:
    if isinstance(cell, list | dict):
        return "a list" if isinstance(cell, list) else "an object"
    return one_line(repr(cell))
