"""Tables in text: comma, semicolon or tab between cells, with lines of another kind above."""

import csv
import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from noiseprobe.core.errors import UserError
from noiseprobe.logs.arrow import columns_of
from noiseprobe.logs.log import TruncatedLogWarning, one_line
from noiseprobe.logs.table import Cells, Numbers, Table, is_number

_DELIMITERS = ",;\t"
_SAMPLE = 200
_NEAR = 4000  # letters before the last line that say what lines here look like
_ENOUGH = 5  # such lines
_NULLS = [word for bare in ("", "na", "none", "null") for word in {bare, bare.upper()}]
_NULLS += ["None", "Null", "Na"]


@dataclass(frozen=True)
class _Layout:
    """How a text holds a table.

    Attributes:
        delimiter: what stands between cells.
        names: of all columns; "" where one has none.
        above: how many lines stand above the first row of cells.
    """

    delimiter: str
    names: list[str]
    above: int


def read_delimited(path: Path, text: str) -> Table:
    """The table in `text`, which is not blank.

    The delimiter is the one of comma, semicolon and tab that gives the most columns. Lines that
    begin with `#` are comments, but one that names all columns right above a table of numbers is
    its header. Lines of fewer cells above the header are a title. A first line of numbers alone
    means that there is no header: the columns are then named `column 1`, `column 2`, …. A blank
    line is an empty cell where there is one column, and else nothing. What Weights & Biases adds to
    each column, its least and its greatest (`__MIN`, `__MAX`), is left out.

    Raises:
        UserError: a row has more cells than the header, or there is no table.

    Warns:
        TruncatedLogWarning: the last line has no end and lacks cells, and was left out; or it lacks
            the end alone, and a last cell as long as those before it.
    """
    layout = _layout(path, text)
    text = _until_cut(path, text, layout)
    kind = "W&B export" if _is_wandb(layout.names) else "CSV"
    fast = _fast(path, text, layout, kind)
    return fast if fast is not None else _careful(path, text, layout, kind)


def _layout(path: Path, text: str) -> _Layout:
    """Where the table begins, its delimiter and its columns."""
    lines = list(islice(_lines(text), _SAMPLE))
    told = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
    if not told:
        raise UserError(f"{path}: no rows; record at least one loss")
    split = {mark: [(n, _split(line, mark)) for n, line in told] for mark in _DELIMITERS}
    tables = {mark: _widest(rows) for mark, rows in split.items()}
    # Decimal commas below a header look like a delimiter, but not in the header.
    delimiter = max(_DELIMITERS, key=lambda mark: (len(tables[mark][0][1]), len(tables[mark])))
    number, cells = tables[delimiter][0]
    if not all(is_number(cell) for cell in cells):
        return _Layout(delimiter, _distinct(cells), number)
    if number != told[0][0]:
        raise UserError(
            f"{path}, line {number}: not a table, line {told[0][0]} has fewer cells; "
            "give every row the columns of the header"
        )
    header = dict(lines).get(number - 1, "")
    named = _split(header.lstrip("# "), delimiter) if header.startswith("#") else []
    if len(named) == len(cells):
        return _Layout(delimiter, _distinct(named), number - 1)
    return _Layout(delimiter, [f"column {each}" for each in range(1, len(cells) + 1)], number - 1)


def _until_cut(path: Path, text: str, layout: _Layout) -> str:
    """`text` without a last line that was cut off while it was written, as a kill leaves it."""
    body, newline, last = text.rpartition("\n")
    if not newline or not last.strip() or last.startswith("#") or last.endswith("\r"):
        return text
    before = [_split(line, layout.delimiter) for line in body[-_NEAR:].split("\n")[1:]]
    cells, number = _split(last, layout.delimiter), body.count("\n") + 2
    if before and len(cells) < len(layout.names) == len(before[-1]):
        told = f"{path}, line {number}: cut off; what stands before it is read"
        warnings.warn(told, TruncatedLogWarning, stacklevel=3)
        return body + newline
    ends = [len(row[-1]) for row in before if len(row) == len(cells)]
    if len(ends) >= _ENOUGH and len(cells[-1]) < min(ends):
        warnings.warn(
            f"{path}, line {number}: the last line has no end, so that {one_line(cells[-1])!r} may "
            "be part of a number",
            TruncatedLogWarning,
            stacklevel=3,
        )
    return text


def _fast(path: Path, text: str, layout: _Layout, kind: str) -> Table | None:
    """The table, read by Arrow; None where it takes more care."""
    body, above = _body(text, layout), layout.above
    if "\n#" in body:
        lines = [line for _, line in _lines(body)][above:]
        body, above = "\n".join(line for line in lines if not line.startswith("#")), 0
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(body.encode()),
            pa.csv.ReadOptions(
                use_threads=False,
                skip_rows=above,
                column_names=[str(place) for place in range(len(layout.names))],
            ),
            pa.csv.ParseOptions(
                delimiter=layout.delimiter, ignore_empty_lines=len(layout.names) > 1
            ),
            pa.csv.ConvertOptions(
                null_values=_NULLS, strings_can_be_null=True, true_values=[], false_values=[]
            ),
        )
    except (pa.ArrowException, ValueError):
        return None
    columns = columns_of(table)
    blank = [column.empty for column in columns.values() if isinstance(column, Numbers)]
    if len(blank) == len(columns) > 1 and np.all(blank, axis=0).any():
        return None
    return Table(
        path,
        kind,
        table.num_rows,
        {layout.names[place]: columns[str(place)] for place in _kept(layout.names)},
        lambda row: f"row {row + 1}",
        sparse=kind != "CSV",
        careful=lambda: _careful(path, text, layout, kind),
    )


def _careful(path: Path, text: str, layout: _Layout, kind: str) -> Table:
    names, numbers = layout.names, []
    columns: list[list[str]] = [[] for _ in names]
    for number, row in _rows(path, text, layout):
        row = [cell.strip() for cell in row]
        if any(row[len(names) :]):
            raise UserError(
                f"{path}, line {number}: not a table, {len(row)} cells under a header of "
                f"{len(names)}; give every row the columns of the header"
            )
        if len(names) > 1 and not any(row):
            continue
        numbers.append(number)
        row += [""] * (len(names) - len(row))
        for column, cell in zip(columns, row, strict=False):
            column.append(cell)
    rows = range(len(numbers))
    return Table(
        path,
        kind,
        len(numbers),
        {names[place]: Cells(rows, columns[place]) for place in _kept(names)},
        lambda row: f"line {numbers[row]}",
        kind != "CSV",
    )


def _rows(path: Path, text: str, layout: _Layout) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, each with the number of the line on which it ends."""
    body = _body(text, layout)
    kept = (
        "\n" if line.startswith("#") or number <= layout.above else line
        for number, line in _lines(body, keepends=True)
    )
    reader = csv.reader(kept, delimiter=layout.delimiter, skipinitialspace=True)
    comments = {number for number, line in _lines(body) if line.startswith("#")}
    try:
        for row in reader:
            if reader.line_num > layout.above and reader.line_num not in comments:
                yield reader.line_num, row or [""]
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: not a table ({one_line(error)}); mend the line"
        ) from None


def _body(text: str, layout: _Layout) -> str:
    """`text` without the blank lines at its end, where a blank line is an empty cell."""
    return text.rstrip("\r\n") if len(layout.names) == 1 else text


def _lines(text: str, keepends: bool = False) -> Iterator[tuple[int, str]]:
    """The lines of `text`, counted from 1, ended by any of the three kinds of newline."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        yield number, line if keepends else line.rstrip("\n")


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _widest(rows: Sequence[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """The rows that have the most frequent number of cells, or the least of several such."""
    counts = Counter(len(cells) for _, cells in rows)
    usual = min(counts, key=lambda count: (-counts[count], count))
    return [row for row in rows if len(row[1]) == usual]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, stripped; a second column of one name gets a number."""
    distinct: list[str] = []
    for name in (given.strip() for given in names):
        number, unlike = 0, name
        while unlike and unlike in distinct:
            number += 1
            unlike = f"{name}.{number}"
        distinct.append(unlike)
    return distinct


def _kept(names: Sequence[str]) -> list[int]:
    """The places of columns that are worth reading.

    A column without a name is the row number that pandas writes unless told not to.
    """
    extremes = {f"{name}__{end}" for name in names for end in ("MIN", "MAX")}
    return [place for place, name in enumerate(names) if name and name not in extremes]


def _is_wandb(names: Sequence[str]) -> bool:
    return {"_step", "_timestamp"} <= set(names) or len(_kept(names)) < len([*filter(None, names)])
