"""Recorded losses from a run, or from another tool's CSV, JSON Lines or Parquet log."""

import csv
import difflib
import io
import json
import warnings
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from noiseprobe.errors import UserError
from noiseprobe.traces import TRAIN_COLUMNS, parts, read_trace

STEP_COLUMNS = ("step", "steps", "iteration", "global_step", "epoch")
"""Names of a column that counts steps, in any case of letters; the first that is there counts."""

_EMPTY = {"", "na", "none", "null"}
_DELIMITERS = ",;\t"


class _Absent:
    """Stands where a JSON object lacks a key that others have."""


_ABSENT = _Absent()


@dataclass(frozen=True)
class Series:
    """One recorded series of losses.

    Attributes:
        name: the path it was read from, as given.
        steps: shape (n,), int64, never falling.
        values: shape (n,), float64; NaN where the log has an empty cell.
        column: the name of the column that holds the values.
    """

    name: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    column: str


@dataclass(frozen=True)
class _Table:
    """Cells as the file has them; a row is labelled with the word `unit` and its index."""

    path: Path
    cells: pd.DataFrame
    unit: str


def read_series(path: Path, column: str | None = None) -> Series:
    """Read one column of the run directory, CSV, JSON Lines or Parquet file at `path`.

    What `path` is, its content says, not its suffix. Of a run directory, the training trace is
    read; rows in which the column is NaN because it was not evaluated at that step are dropped. In
    a CSV, the delimiter may be a comma, semicolon or tab, and a first line of numbers alone means
    that there is no header: the columns are then named `column 1`, `column 2`, …. JSON Lines may
    mix kinds of rows: those that lack the column are dropped.

    Args:
        path: where the losses lie.
        column: the column to read; by default `l_det`, or else the only column of numbers besides
            the one that counts steps.

    Returns:
        The series. Its steps come from the column named in `STEP_COLUMNS`, or are 0 … n−1 if there
        is none or if it holds fractions of epochs.

    Raises:
        UserError: there is nothing readable at `path`, no such column, or something that is no
            number where one belongs.
    """
    table = _read_table(path)
    if column is None:
        column = _default_column(table)
    elif column not in table.cells.columns:
        raise UserError(f"{path}: no column {column!r}; {_suggestion(column, table)}")
    present = [cell is not _ABSENT for cell in table.cells[column]]
    table = _Table(path, table.cells[present], table.unit)
    values = _numbers(table, column)
    if path.is_dir():
        evaluated = ~np.isnan(values)
        table = _Table(path, table.cells[evaluated], table.unit)
        values = values[evaluated]
    if not len(values):
        raise UserError(f"{path}: no {column} was recorded; name another with --column NAME")
    return Series(str(path), _steps(table), values, column)


def _read_table(path: Path) -> _Table:
    if path.is_dir():
        return _read_run(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or directory; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    if content.startswith(b"PAR1"):
        table = _read_parquet(path, content)
    else:
        table = _read_text(path, content)
    if table.cells.empty:
        raise UserError(f"{path}: no rows; record at least one loss")
    return table


def _read_run(path: Path) -> _Table:
    trace = path / "traces" / "train"
    if not parts(trace):
        raise UserError(
            f"{path}: not a run directory, it has no traces/train/part-*.parquet; "
            "give a run directory or a CSV, JSON Lines or Parquet file"
        )
    try:
        return _Table(path, read_trace(trace, TRAIN_COLUMNS), "row")
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{trace}: not a training trace ({_first_line(error)}); run the training again"
        ) from None


def _read_parquet(path: Path, content: bytes) -> _Table:
    try:
        table = pq.ParquetFile(io.BytesIO(content)).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: broken Parquet ({_first_line(error)}); write the file again"
        ) from None
    cells = table.to_pandas()
    # pandas writes steps that were its index as metadata where they are evenly spaced.
    named = cells.index.name is not None and cells.index.name not in cells.columns
    cells = cells.reset_index(drop=not named)
    cells.index += 1
    return _Table(path, cells, "row")


def _read_text(path: Path, content: bytes) -> _Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: neither Parquet nor UTF-8 text (byte {error.start}); "
            "give a run directory or a CSV, JSON Lines or Parquet file"
        ) from None
    if not text.strip():
        raise UserError(f"{path}: the file is empty; record at least one loss")
    if text.lstrip().startswith("{"):
        return _read_json_lines(path, text)
    if text.lstrip().startswith("["):
        raise UserError(f"{path}: a JSON array; write one JSON object per line instead")
    return _read_csv(path, text)


def _read_json_lines(path: Path, text: str) -> _Table:
    records: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number}: not JSON ({error.msg}); write one object per line"
            ) from None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: not a JSON object; write one per line")
        records[number] = record
    names = dict.fromkeys(name for record in records.values() for name in record)
    columns = {name: [row.get(name, _ABSENT) for row in records.values()] for name in names}
    return _Table(path, pd.DataFrame(columns, index=list(records), dtype=object), "line")


def _read_csv(path: Path, text: str) -> _Table:
    body = text.strip("\r\n")
    first, *others = (line for line in body.splitlines() if line.strip())
    # A name in the header may hold another mark, but then the next line does not.
    sample = [first, *others[:1]]
    delimiter = max(_DELIMITERS, key=lambda mark: min(len(_split(line, mark)) for line in sample))
    named = not all(_is_number(cell) for cell in _split(first, delimiter))
    try:
        with warnings.catch_warnings():
            # pandas only warns where it cuts off cells beyond the header, as of decimal commas.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            cells = pd.read_csv(
                # Blank lines are kept, since a blank line of a single column is an empty cell.
                io.StringIO(body),
                sep=delimiter,
                header=0 if named else None,
                index_col=False,
                dtype=object,
                keep_default_na=False,
                skip_blank_lines=False,
                skipinitialspace=True,
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        raise UserError(
            f"{path}: not a table ({_first_line(error)}); give every row the columns of the header"
        ) from None
    above = text[: text.index(first)].count("\n")
    cells.index += 1 + named + above
    if named:
        cells.columns = pd.Index([str(name).strip() for name in cells.columns])
        # A column without a name is the row number that pandas writes unless told not to.
        cells = cells[[name for name in cells.columns if not name.startswith("Unnamed: ")]]
    else:
        cells.columns = pd.Index([f"column {number}" for number in range(1, cells.shape[1] + 1)])
    if len(cells.columns) > 1:
        cells = cells[(cells != "").any(axis=1)]
    return _Table(path, cells, "line")


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _default_column(table: _Table) -> str:
    columns = [str(name) for name in table.cells.columns]
    if "l_det" in columns:
        return "l_det"
    candidates = [name for name in columns if name.lower() not in STEP_COLUMNS]
    if len(candidates) > 1:
        candidates = [name for name in candidates if _holds_numbers(table.cells[name])]
    if len(candidates) == 1:
        return candidates[0]
    found = "no column" if not candidates else "more than one column"
    raise UserError(
        f"{table.path}: {found} of losses among {', '.join(columns)}; choose with --column NAME"
    )


def _holds_numbers(cells: Iterable[Any]) -> bool:
    """Whether the first cell that says anything is a number."""
    told = (cell for cell in cells if cell is not _ABSENT and not _is_empty(cell))
    return _is_number(next(told, None))


def _suggestion(column: str, table: _Table) -> str:
    columns = [str(name) for name in table.cells.columns]
    by_lower = {name.lower(): name for name in columns}
    near = difflib.get_close_matches(column.lower(), by_lower, n=1)
    if near:
        return f"did you mean --column {by_lower[near[0]]}?"
    return f"choose one of {', '.join(columns)} with --column NAME"


def _steps(table: _Table) -> NDArray[np.int64]:
    numbered = np.arange(len(table.cells), dtype=np.int64)
    by_lower = {str(name).lower(): str(name) for name in table.cells.columns}
    name = next((by_lower[name] for name in STEP_COLUMNS if name in by_lower), None)
    if name is None:
        return numbered
    steps = _numbers(table, name)
    fractional = steps != np.round(steps)
    if name.lower() == "epoch" and np.any(fractional & np.isfinite(steps)):
        return numbered
    falling = np.diff(steps, prepend=-np.inf) < 0
    for wrong, mend in [
        (fractional | ~np.isfinite(steps) | (np.abs(steps) >= 2**63), "give whole numbers"),
        (falling, "sort the rows, or keep one run per file"),
    ]:
        if wrong.any():
            place = int(np.argmax(wrong))
            raise UserError(
                f"{_where(table, place)}: {name} is {steps[place]:g}"
                f"{' after ' + format(steps[place - 1], 'g') if wrong is falling else ''}; {mend}"
            )
    return steps.astype(np.int64)


def _numbers(table: _Table, column: str) -> NDArray[np.float64]:
    cells = table.cells[column]
    if pd.api.types.is_float_dtype(cells.dtype):
        return cells.to_numpy(np.float64, na_value=np.nan)
    numbers = np.empty(len(cells))
    for place, cell in enumerate(cells):
        try:
            numbers[place] = _number(cell)
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                f"{_where(table, place)}: {column} is {_shown(cell)}, not a number; "
                "mend the row or name another column with --column NAME"
            ) from None
    return numbers


def _number(cell: Any) -> float:
    if isinstance(cell, bool | np.bool_):
        raise TypeError("a truth value is not a number")
    return float("nan") if _is_empty(cell) else float(cell)


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in _EMPTY
    return cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)


def _is_number(cell: Any) -> bool:
    try:
        _number(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return not _is_empty(cell)


def _where(table: _Table, place: int) -> str:
    label: Hashable = table.cells.index[place]
    return f"{table.path}, {table.unit} {label}"


def _shown(cell: Any) -> str:
    if cell is _ABSENT:
        return "missing"
    text = repr(cell)
    return text if len(text) <= 40 else text[:39] + "…"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
