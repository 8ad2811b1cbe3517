"""Tables in text: comma, semicolon or tab between cells, with lines of another kind above."""

import csv
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from noiseprobe.core.errors import UserError
from noiseprobe.logs.content import check_size
from noiseprobe.logs.log import TruncatedLogWarning, one_line
from noiseprobe.logs.table import INEXACT, Column, Table, is_number
from noiseprobe.logs.tags import step_columns

_DELIMITERS = ",;\t"
_SAMPLE = 200
_NEAR = 4000  # letters before the last line that say what lines here look like
_ENOUGH = 5  # such lines
_LONGEST = 1 << 20  # letters of a line
_NULLS = [word for bare in ("", "na", "none", "null") for word in {bare, bare.upper()}]
_NULLS += ["None", "Null", "Na"]


@dataclass(frozen=True)
class _Layout:
    """How a text holds a table.

    Attributes:
        delimiter: what stands between cells.
        names: of all columns; "" where one has none.
        above: how many lines stand above the first row of cells.
        widest: how many cells a row has at most, as far as was looked.
    """

    delimiter: str
    names: list[str]
    above: int
    widest: int


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
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    layout = _layout(path, text)
    body = "".join(_until_cut(path, text, layout).split("\n", layout.above)[layout.above :])
    if len(layout.names) == 1:
        body = body.rstrip("\n")
    lines: Sequence[int] = range(layout.above + 1, layout.above + body.count("\n") + 2)
    if body.startswith("#") or "\n#" in body:
        told = [each for each in zip(lines, body.split("\n"), strict=True) if each[1][:1] != "#"]
        lines, body = [line for line, _ in told], "\n".join(row for _, row in told)
    frame = _frame(path, body, layout, lines)
    rows = frame.index.to_numpy()
    if len(layout.names) > 1:
        rows = rows[frame.notna().any(axis=1).to_numpy()]
    one_to_one = len(frame) == body.count("\n") + (not body.endswith("\n"))
    frame = frame if len(rows) == len(frame) else frame.loc[rows]
    steps = set(step_columns(layout.names))
    wandb = _is_wandb(layout.names)
    return Table(
        path,
        "W&B export" if wandb else "CSV",
        len(frame),
        {name: _column(frame[place], name in steps) for place, name in _kept(layout.names)},
        lambda row: f"line {lines[rows[row]]}" if one_to_one else f"row {row + 1}",
        sparse=wandb,
    )


def _frame(path: Path, body: str, layout: _Layout, lines: Sequence[int]) -> pd.DataFrame:
    """The cells of `body`, whose rows are `lines` of the file, by the place of the column."""
    width = len(layout.names)
    as_text: dict[int, type[str]] = {}
    while True:
        try:
            frame = pd.read_csv(
                io.BytesIO(body.encode()),
                sep=layout.delimiter,
                header=None,
                names=range(max(width, layout.widest) + 1),
                index_col=False,
                dtype=as_text,
                skipinitialspace=True,
                skip_blank_lines=False,
                keep_default_na=False,
                na_values=_NULLS,
                low_memory=False,
                dtype_backend="numpy_nullable",
            )
            fault = "" if frame.iloc[:, width:].isna().all(axis=None) else "too many cells"
        except ValueError as error:
            fault = one_line(error)
        if fault:
            break
        counting = set(step_columns(layout.names))
        misread = [
            place
            for place, (name, kind) in enumerate(zip(layout.names, frame.dtypes, strict=False))
            if kind == "boolean" or (name in counting and _rounded(frame[place]))
        ]
        if not misread:
            return frame
        as_text |= dict.fromkeys(misread, str)
    told = list(zip(lines, body.split("\n"), strict=True))
    for line, row in told:
        cells = _split(row, layout.delimiter)
        if any(map(str.strip, cells[width:])):
            raise UserError(
                f"{path}, line {line}: not a table, {len(cells)} cells under a header of {width}; "
                "give every row the columns of the header"
            )
    if body.count('"') % 2:
        line = next(line for line, row in told if row.count('"') % 2)
        fault = f"line {line} has a quotation mark without its other"
    raise UserError(f"{path}: not a table ({fault}); mend the file")


def _rounded(cells: pd.Series) -> bool:
    """Whether integers may have lost digits."""
    return cells.dtype in ("Float64", "UInt64") and bool((cells.abs() >= INEXACT).any())


def _column(cells: pd.Series, counts: bool) -> Column:
    """The column of these cells; what is text only for a "nan" is numbers, unless it counts."""
    rows, empty = np.arange(len(cells)), cells.isna().to_numpy()
    if cells.dtype in ("Int64", "Float64"):
        numbers = cells.fillna(0).to_numpy(np.int64 if cells.dtype == "Int64" else np.float64)
        return Column(rows, np.ma.array(numbers, mask=empty))
    objects = np.where(empty, np.array(None), cells.to_numpy(object))
    if not counts:
        with suppress(ValueError):
            numbers = np.zeros(len(rows))
            numbers[~empty] = np.fromiter(map(float, objects[~empty]), np.float64)
            return Column(rows, np.ma.array(numbers, mask=empty))
    return Column(rows, objects)


def _layout(path: Path, text: str) -> _Layout:
    """Where the table begins, its delimiter and its columns."""
    lines = list(enumerate(text.split("\n", _SAMPLE)[:_SAMPLE], start=1))
    for number, line in lines:
        if len(line) > _LONGEST:
            raise UserError(
                f"{path}, line {number}: {len(line):,} letters are no row; end each with a new line"
            )
    told = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
    if not told:
        raise UserError(f"{path}: no rows; record at least one loss")
    split = {mark: [(n, _split(line, mark)) for n, line in told] for mark in _DELIMITERS}
    tables = {mark: _widest(rows) for mark, rows in split.items()}
    # Decimal commas below a header look like a delimiter, but not in the header.
    delimiter = max(_DELIMITERS, key=lambda mark: (len(tables[mark][0][1]), len(tables[mark])))
    number, cells = tables[delimiter][0]
    widest = max(len(row) for _, row in split[delimiter])
    check_size(path, text.count("\n"), widest)
    if not all(is_number(cell) for cell in cells):
        return _Layout(delimiter, _distinct(cells), number, widest)
    if number != told[0][0]:
        raise UserError(
            f"{path}, line {number}: not a table, line {told[0][0]} has fewer cells; "
            "give every row the columns of the header"
        )
    header = dict(lines).get(number - 1, "")
    named = _split(header.lstrip("# "), delimiter) if header.startswith("#") else []
    if len(named) == len(cells):
        return _Layout(delimiter, _distinct(named), number - 1, widest)
    names = [f"column {each}" for each in range(1, len(cells) + 1)]
    return _Layout(delimiter, names, number - 1, widest)


def _until_cut(path: Path, text: str, layout: _Layout) -> str:
    """`text` without a last line that was cut off while it was written, as a kill leaves it."""
    body, newline, last = text.rpartition("\n")
    if not newline or not last.strip() or last.startswith("#"):
        return text
    before = [_split(line, layout.delimiter) for line in body[-_NEAR:].split("\n")[1:]]
    cells, number = _split(last, layout.delimiter), body.count("\n") + 2
    cut = len(cells) < len(layout.names) or last.count('"') % 2
    if before and cut and len(before[-1]) == len(layout.names):
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
    taken: set[str] = set()
    last: dict[str, int] = {}
    for name in (given.strip() for given in names):
        number, unlike = last.get(name, 0), name
        while unlike and unlike in taken:
            number += 1
            unlike = f"{name}.{number}"
        last[name] = number
        taken.add(unlike)
        distinct.append(unlike)
    return distinct


def _kept(names: Sequence[str]) -> list[tuple[int, str]]:
    """The places and names of columns that are worth reading.

    A column without a name is the row number that pandas writes unless told not to.
    """
    extremes = {f"{name}__{end}" for name in names for end in ("MIN", "MAX")}
    return [(place, name) for place, name in enumerate(names) if name and name not in extremes]


def _is_wandb(names: Sequence[str]) -> bool:
    return {"_step", "_timestamp"} <= set(names) or len(_kept(names)) < len([*filter(None, names)])
