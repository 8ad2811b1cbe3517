"""A log in columns, from any kind of file: its traces, its steps, and which rows a trace has."""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.logs.log import (
    Log,
    NumberedLogWarning,
    RestartedLogWarning,
    Series,
    one_line,
    repeated,
    repeating,
    spelt,
    surviving,
)
from noiseprobe.logs.tags import (
    counts_epochs,
    is_clock,
    is_usual_step,
    no_such_tag,
    step_columns,
)

_EMPTY = {"", "na", "none", "null"}
_ROWS_PER_RESTART = 4
INEXACT = 2**53
"""From here on, not every integer is a float64."""

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_MEND = "mend the row or name another trace with --tag"
_OR = ", or leave the column out"
_WHOLE_NUMBERS = f"whole numbers{_OR}"


@dataclass(frozen=True)
class Column:
    """Cells of a table, one below the other.

    Attributes:
        rows: shape (k,): the rows that have one, rising.
        cells: shape (k,): numbers, int64 or float64, masked where a cell is empty; or, as objects,
            what the file has.
    """

    rows: NDArray[np.int64]
    cells: NDArray[Any]

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """Which cells say that there is no value: shape (k,)."""
        if self.cells.dtype != object:
            return np.ma.getmaskarray(self.cells)
        return np.fromiter(map(is_empty, self.cells), bool, len(self.cells))


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
    """

    path: Path
    kind: str
    height: int
    columns: Mapping[str, Column]
    place: Callable[[int], str]
    sparse: bool = False


def column_of(cells: Sequence[Any], rows: NDArray[np.int64] | None = None) -> Column:
    """The column of these cells, in `rows`; in all by default."""
    rows = np.arange(len(cells)) if rows is None else rows
    kinds = set(map(type, cells))
    if kinds in ({int}, {float}, {int, float}):
        with suppress(OverflowError):
            numbers = np.fromiter(cells, np.int64 if kinds == {int} else np.float64, len(cells))
            if len(kinds) == 1 or not np.any(np.abs(numbers) >= INEXACT):
                return Column(rows, numbers)
    return Column(rows, np.fromiter(cells, object, len(cells)))


def table_log(table: Table) -> Log:
    """The traces of `table`.

    A trace is a column whose first cell that says anything is a number, and which neither counts
    steps nor tells the time; the only column that does neither is one in any case. Rows that lack
    the column are left out, and so are those where it is empty while another trace has a number:
    nothing was recorded there. Any other empty cell is a point, NaN.

    The steps come from the first column of `step_columns` that has one for every point. They are
    the numbers of the rows, from 0, if there is no such column, or if none of them tells points
    apart: it holds fractions of epochs, begins anew in each epoch, or has fewer distinct steps than
    half of the points of the longest trace. Where a step falls back otherwise, training was
    restarted, and what was recorded before at that step or later ones is left out; but steps that
    fall more often than at every fourth row are those of a table that is not in order.

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
    said: set[str] = set()

    def series(tag: str) -> Series:
        found, warned = _series(table, tag, tags)
        for each in warned:
            if str(each) not in said:
                warnings.warn(each, stacklevel=3)
            said.add(str(each))
        return found

    return Log(table.path, table.kind, tags, series, tuple(steps))


def is_number(cell: Any) -> bool:
    """Whether the cell is a number, or text that says one; an empty cell is none."""
    try:
        number_of(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return not is_empty(cell)


def is_empty(cell: Any) -> bool:
    """Whether the cell says that there is no value."""
    if isinstance(cell, str):
        return cell.strip().lower() in _EMPTY
    return cell is None


def _series(table: Table, tag: str, tags: Sequence[str]) -> tuple[Series, list[RuntimeWarning]]:
    """One trace, and what is to be said about its steps."""
    if tag not in table.columns:
        raise no_such_tag(table.path, tag, tags)
    values, rows, empty = _values(table, tag), table.columns[tag].rows, table.columns[tag].empty
    if empty.any():
        there = ~(empty & (table.sparse | _elsewhere(table, tag, tags)[rows]))
        values, rows = values[there], rows[there]
    if not len(rows):
        raise UserError(f"{table.path}: no {one_line(tag)} was recorded; name another with --tag")
    steps, clock, fault = _steps(table, rows, tags)
    warned: list[RuntimeWarning] = []
    if fault:
        warned.append(
            NumberedLogWarning(f"{table.path}: {fault}; its rows are numbered from 0 instead")
        )
    kept = surviving(steps)
    if not kept.all():
        fall = int(np.argmax(np.diff(steps) < 0)) + 1
        warned.append(
            RestartedLogWarning(
                f"{table.path}, {table.place(int(rows[fall]))}: the step falls back to "
                f"{steps[fall]}; {np.count_nonzero(~kept)} points of {one_line(tag)} that were "
                "recorded before at that step or later ones are left out"
            )
        )
    twice = repeated(steps[kept], rows[kept], clock)
    if twice.any():
        warned.append(
            RestartedLogWarning(
                f"{table.path}: {np.count_nonzero(twice)} points of {one_line(tag)} that were "
                "recorded again at their step after a restart are left out"
            )
        )
    kept[kept] = ~twice
    return Series(spelt(table.path), steps[kept], values[kept], tag), warned


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
    told = np.zeros(table.height, bool)
    if column.cells.dtype == object:
        numbers = np.fromiter(map(is_number, column.cells), bool, len(column.cells))
    else:
        numbers = ~column.empty
    told[column.rows[numbers]] = True
    return told


def _steps(
    table: Table, rows: NDArray[np.int64], tags: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """The steps of the points in `rows`, and of all rows, in the order of the table.

    Where no column tells them, they are the numbers of the rows, and the text says why.
    """
    numbers = np.arange(table.height)
    names = [
        name
        for name in step_columns(list(table.columns))
        if is_usual_step(name) or _begins_with_number(table.columns[name])
    ]
    if not names:
        return rows, numbers, "no column counts steps"
    faults = []
    for name in names:
        if _told(table, name)[rows].all():
            steps, clock, fault = _counted(table, name, rows, tags)
            if not fault:
                return steps, clock, ""
            faults.append(fault)
    if faults:
        return rows, numbers, faults[0]
    return _counted(table, names[0], rows, tags)


def _counted(
    table: Table, name: str, rows: NDArray[np.int64], tags: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """What the column `name` has in `rows` and in all, and why that does not do for steps, if so.

    A row without a step has the greatest that there is.
    """
    numbers = np.arange(table.height)
    found, values = table.columns[name], _values(table, name, f"give {_WHOLE_NUMBERS}")
    whole, usable = _whole(found, values)
    places = np.full(table.height, -1)
    places[found.rows] = np.arange(len(found.rows))
    cells = places[rows]
    if np.any(cells < 0):
        row = int(rows[np.argmin(cells)])
        raise UserError(
            f"{table.path}, {table.place(row)}: {one_line(name)} is missing; give {_WHOLE_NUMBERS}"
        )
    if counts_epochs(name) and np.any(np.isfinite(values) & (values != np.round(values))):
        return rows, numbers, f"{one_line(name)} holds fractions"
    steps = whole[cells]
    if not usable[cells].all():
        at = int(np.argmin(usable[cells]))
        value = values[cells[at]]
        beyond = math.isfinite(value) and value == round(value)
        raise UserError(
            f"{table.path}, {table.place(int(rows[at]))}: {one_line(name)} is {value:g}; give "
            + (f"whole numbers below 2^63{_OR}" if beyond else _WHOLE_NUMBERS)
        )
    counted, counts = found.rows[usable], whole[usable]
    if _begins_in_each_epoch(table, counted, counts):
        return rows, numbers, f"{one_line(name)} begins anew in each epoch"
    falling = np.append(False, steps[1:] < steps[:-1])
    if np.count_nonzero(falling) * _ROWS_PER_RESTART > len(steps):
        at = int(np.argmax(falling))
        raise UserError(
            f"{table.path}, {table.place(int(rows[at]))}: {one_line(name)} is {steps[at]} after "
            f"{steps[at - 1]}; sort the rows, or keep one run per file"
        )
    if repeating(steps) or repeating(counts):
        # The longest trace decides for all, or one could not be held against another.
        told = (usable & _told(table, tag)[found.rows] for tag in tags)
        longest = max(told, key=np.count_nonzero, default=cells)
        if repeating(whole[longest]):
            return rows, numbers, f"{one_line(name)} repeats too often to tell points apart"
    clock = np.full(table.height, np.iinfo(np.int64).max)
    clock[counted] = counts
    return steps, clock, ""


def _begins_in_each_epoch(table: Table, rows: NDArray[np.int64], steps: NDArray[np.int64]) -> bool:
    """Whether steps, those of `rows`, fall back where an epoch begins."""
    fall = np.flatnonzero(steps[1:] < steps[:-1])
    for name in step_columns(list(table.columns)) if len(fall) else []:
        if counts_epochs(name) and _told(table, name)[rows].all():
            epochs = _values(table, name)[np.searchsorted(table.columns[name].rows, rows)]
            return bool((epochs[fall + 1] > epochs[fall]).any())
    return False


def _whole(
    column: Column, values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The cells of a column, whose numbers are `values`, as integers, and which of them are."""
    if column.cells.dtype == object:
        exact = [_integer(cell) for cell in column.cells]
        usable = np.array([each is not None for each in exact], bool)
        return np.array([each or 0 for each in exact], np.int64), usable
    if column.cells.dtype == np.int64:
        return np.ma.filled(column.cells, 0), ~column.empty
    usable = (values == np.round(values)) & (np.abs(values) < 2**63)
    return np.where(usable, values, 0).astype(np.int64), usable


def _integer(cell: Any) -> int | None:
    """The cell as an integer of 64 bits; None if it is none."""
    try:
        whole = int(cell)
        if not isinstance(cell, int | str) and whole != cell:
            return None
    except (TypeError, ValueError, OverflowError):
        value = number_of(cell)
        if not value.is_integer():
            return None
        whole = int(value)
    return whole if -(2**63) <= whole < 2**63 else None


def _values(table: Table, name: str, mend: str = _MEND) -> NDArray[np.float64]:
    """The numbers of a column, NaN where a cell is empty."""
    column = table.columns[name]
    if column.cells.dtype != object:
        return np.ma.filled(column.cells.astype(np.float64), np.nan)
    values = np.empty(len(column.cells))
    for place, cell in enumerate(column.cells):
        try:
            values[place] = number_of(cell)
        except (TypeError, ValueError, OverflowError):
            if isinstance(cell, str) and _THOUSANDS.fullmatch(cell.strip()):
                mend = f"write {one_line(cell.replace(',', ''))}"
            raise UserError(
                f"{table.path}, {table.place(int(column.rows[place]))}: {one_line(name)} is "
                f"{_shown(cell)}, not a number; {mend}"
            ) from None
    return values


def _begins_with_number(column: Column) -> bool:
    if column.cells.dtype != object:
        return not column.empty.all()
    return is_number(next((cell for cell in column.cells if not is_empty(cell)), None))


def number_of(cell: Any) -> float:
    if isinstance(cell, bool):
        raise TypeError("a truth value is not a number")
    return float("nan") if is_empty(cell) else float(cell)


def _shown(cell: Any) -> str:
    if isinstance(cell, list | dict):
        return "a list" if isinstance(cell, list) else "an object"
    return one_line(repr(cell))
