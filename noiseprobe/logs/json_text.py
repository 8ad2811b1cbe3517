"""JSON Lines, and JSON documents of several shapes."""

import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from noiseprobe.core.errors import UserError
from noiseprobe.logs.arrow import columns_of
from noiseprobe.logs.log import TruncatedLogWarning, one_line
from noiseprobe.logs.table import Cells, Numbers, Other, Table

_DEEPEST = 8


def read_json(path: Path, text: str) -> Table:
    """The table in `text`, which begins with a brace or bracket.

    Where the first line is a whole object and others follow, each line is one (JSON Lines). Else
    the document is an array of objects, or of points, each time, step and value, as TensorBoard
    has them for download; a `trainer_state.json` of Transformers, whose `log_history` is an array
    of objects; or an object of columns: lists, or objects that map row labels to cells, as pandas
    writes. Objects may be of several kinds: a row lacks the columns that it does not name. What is
    nested is named by its path, `train/loss`.

    Raises:
        UserError: `text` is none of these, or not JSON.

    Warns:
        TruncatedLogWarning: the last of several lines is cut off; it was left out.
    """
    first, _, others = text.lstrip().partition("\n")
    if others.strip() and isinstance(_parsed(first), dict):
        return _fast_lines(path, text) or _lines(path, text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise UserError(
            f"{path}, line {line}: not JSON ({_said(error)}); mend the file, which may be cut off"
        ) from None
    return _document(path, document)


def _document(path: Path, document: Any) -> Table:
    if isinstance(document, dict) and isinstance(document.get("log_history"), list):
        return _objects(path, "trainer state", document["log_history"], "entry {} of log_history")
    if isinstance(document, list) and document and all(map(_is_point, document)):
        names = ("wall_time", "step", "value")
        points = zip(*document, strict=True)
        rows = range(len(document))
        cells = {name: Cells(rows, each) for name, each in zip(names, points, strict=True)}
        return Table(path, "JSON", len(document), cells, "point {}".format)
    if isinstance(document, list):
        return _objects(path, "JSON", document, "object {}")
    columns = {name: _cells(cells) for name, cells in document.items()}
    lists = {_clean(name): cells for name, cells in columns.items() if cells is not None}
    if not lists:
        return _objects(path, "JSON Lines", [document], "line {}")
    height = max(len(cells.rows) for cells in lists.values())
    return Table(path, "JSON", height, lists, "row {}".format)


def _is_point(each: Any) -> bool:
    """Whether it is a point as TensorBoard's download has them: time, step and value."""
    return isinstance(each, list) and len(each) == 3


def _cells(column: Any) -> Cells | None:
    if isinstance(column, dict):
        column = list(column.values())
    return Cells(range(len(column)), column) if isinstance(column, list) else None


def _objects(path: Path, kind: str, objects: list[Any], place: str) -> Table:
    for number, each in enumerate(objects, start=1):
        if not isinstance(each, dict):
            raise UserError(
                f"{path}, {place.format(number)}: not a JSON object; write one JSON object per line"
            )
    return _table(path, kind, objects, lambda row: place.format(row + 1))


def _lines(path: Path, text: str) -> Table:
    objects, numbers = [], []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            each = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                warnings.warn(
                    f"{path}, line {number}: cut off; what stands before it is read",
                    TruncatedLogWarning,
                    stacklevel=2,
                )
                break
            raise UserError(
                f"{path}, line {number}: not JSON ({_said(error)}); write one object per line"
            ) from None
        if not isinstance(each, dict):
            raise UserError(f"{path}, line {number}: not a JSON object; write one per line")
        objects.append(each)
        numbers.append(number)
    return _table(path, "JSON Lines", objects, lambda row: f"line {numbers[row]}")


def _table(
    path: Path, kind: str, objects: list[dict[str, Any]], place: Callable[[int], str]
) -> Table:
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    for row, each in enumerate(objects):
        for name, cell in _flat(each):
            rows, cells = columns.setdefault(name, ([], []))
            if rows and rows[-1] == row:
                cells[-1] = cell
            else:
                rows.append(row)
                cells.append(cell)
    wandb = _is_wandb(columns)
    return Table(
        path,
        "W&B export" if wandb else kind,
        len(objects) if columns else 0,
        {name: Cells(*each) for name, each in columns.items()},
        place,
        wandb,
    )


def _flat(each: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for name, cell in each.items():
        if isinstance(cell, dict) and depth < _DEEPEST:
            yield from _flat(cell, f"{before}{name}/", depth + 1)
        else:
            yield _clean(before + name), cell


def _fast_lines(path: Path, text: str) -> Table | None:
    """JSON Lines, read by Arrow, which knows no NaN; None where that takes more care."""
    try:
        table = pa.json.read_json(
            pa.BufferReader(text.encode()), pa.json.ReadOptions(use_threads=False)
        )
    except (pa.ArrowException, ValueError):
        return None
    flat = list(chain.from_iterable(map(_leaves, table.column_names, table.columns)))
    names = [name for name, _ in flat]
    if not table.num_rows or not names or len(set(names)) < len(names):
        return None
    columns = columns_of(pa.table([column for _, column in flat], names))
    # Arrow does not tell a null from what is not there.
    vague = "null" in text
    if not vague:
        columns = {name: _present(column) for name, column in columns.items()}
    wandb = _is_wandb(names)
    return Table(
        path,
        "W&B export" if wandb else "JSON Lines",
        table.num_rows,
        columns,
        lambda row: f"row {row + 1}",
        sparse=wandb,
        vague=vague,
        careful=lambda: _lines(path, text),
    )


def _leaves(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    if not pa.types.is_struct(column.type):
        yield name, column
        return
    for inner, cells in zip(column.type, column.flatten(), strict=True):
        yield from _leaves(f"{name}/{inner.name}", cells)


def _present(column: Numbers | Other) -> Numbers | Other:
    if isinstance(column, Other):
        return column
    there = ~column.empty
    whole = None if column.whole is None else column.whole[there]
    return Numbers(column.rows[there], column.values[there], column.empty[there], whole)


def _is_wandb(names: Collection[str]) -> bool:
    return {"_step", "_timestamp"} <= set(names)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _clean(name: str) -> str:
    """The name without halves of characters, which JSON can spell but nothing can print."""
    return name.encode("utf-8", "replace").decode()


def _said(error: Exception) -> str:
    return one_line(getattr(error, "msg", error))
