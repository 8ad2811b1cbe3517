"""JSON Lines, and JSON documents of several shapes."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.logs.log import TruncatedLogWarning, one_line
from noiseprobe.logs.table import Table, column_of

_DEEPEST = 8
_CHUNK = 1 << 12


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
        return _lines(path, text)
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
        points = map(column_of, zip(*document, strict=True))
        columns = dict(zip(names, points, strict=True))
        return Table(path, "JSON", len(document), columns, "point {}".format)
    if isinstance(document, list):
        return _objects(path, "JSON", document, "object {}")
    lists = {
        _clean(name): column_of(list(cells.values() if isinstance(cells, dict) else cells))
        for name, cells in document.items()
        if isinstance(cells, list | dict)
    }
    if not lists:
        return _objects(path, "JSON Lines", [document], "line {}")
    height = max(len(column.rows) for column in lists.values())
    return Table(path, "JSON", height, lists, "row {}".format)


def _is_point(each: Any) -> bool:
    """Whether it is a point as TensorBoard's download has them: time, step and value."""
    return isinstance(each, list) and len(each) == 3


def _objects(path: Path, kind: str, objects: list[Any], place: str) -> Table:
    for number, each in enumerate(objects, start=1):
        if not isinstance(each, dict):
            raise UserError(
                f"{path}, {place.format(number)}: not a JSON object; write one JSON object per line"
            )
    return _table(path, kind, [objects], lambda row: place.format(row + 1))


def _lines(path: Path, text: str) -> Table:
    def place(row: int) -> str:
        told = (n for n, line in enumerate(text.split("\n"), start=1) if line.strip())
        return f"line {next(islice(told, row, None))}"

    return _table(path, "JSON Lines", _chunks(path, text, place), place)


def _chunks(path: Path, text: str, place: Callable[[int], str]) -> Iterator[list[dict[str, Any]]]:
    """The objects of the lines of `text`, many parsed together, which takes half the time."""
    lines = list(filter(str.strip, text.split("\n")))
    for first in range(0, len(lines), _CHUNK):
        chunk = lines[first : first + _CHUNK]
        try:
            objects = json.loads(f"[{','.join(chunk)}]")
        except (ValueError, RecursionError):
            objects = []
        if len(objects) != len(chunk) or set(map(type, objects)) != {dict}:
            objects = []
            for row, line in enumerate(chunk, start=first):
                try:
                    each = json.loads(line)
                except (ValueError, RecursionError) as error:
                    if row + 1 == len(lines) and text.endswith(line):
                        told = f"{path}, {place(row)}: cut off; what stands before it is read"
                        warnings.warn(told, TruncatedLogWarning, stacklevel=2)
                        break
                    raise UserError(
                        f"{path}, {place(row)}: not JSON ({_said(error)}); write one object per "
                        "line"
                    ) from None
                if not isinstance(each, dict):
                    raise UserError(f"{path}, {place(row)}: not a JSON object; write one per line")
                objects.append(each)
        yield objects


def _table(
    path: Path, kind: str, chunks: Iterable[list[dict[str, Any]]], place: Callable[[int], str]
) -> Table:
    """The table of all objects; they come in chunks, so that few of them are held at a time."""
    columns: dict[str, tuple[list[NDArray[np.int64]], list[Any]]] = {}
    height = 0
    for objects in chunks:
        for name, (rows, cells) in _columns(objects).items():
            all_rows, all_cells = columns.setdefault(name, ([], []))
            all_rows.append(np.asarray(rows, np.int64) + height)
            all_cells += cells
        height += len(objects)
    wandb = {"_step", "_timestamp"} <= set(columns)
    return Table(
        path,
        "W&B export" if wandb else kind,
        height if columns else 0,
        {
            _clean(name): column_of(cells, np.concatenate(rows))
            for name, (rows, cells) in columns.items()
        },
        place,
        wandb,
    )


def _columns(objects: Sequence[dict[str, Any]]) -> dict[str, tuple[Sequence[int], list[Any]]]:
    """For each name, the objects that have it, by number, and what it is in each of them."""
    names = dict.fromkeys(chain.from_iterable(objects))
    columns: dict[str, tuple[Any, list[Any]]] = {}
    if all(len(each) == len(names) for each in objects):
        columns = {name: (range(len(objects)), [each[name] for each in objects]) for name in names}
        if not any(dict in set(map(type, cells)) for _, cells in columns.values()):
            return columns
        columns = {}
    for row, each in enumerate(objects):
        for name, cell in _flat(each):
            rows, cells = columns.setdefault(name, ([], []))
            if rows and rows[-1] == row:
                cells[-1] = cell
            else:
                rows.append(row)
                cells.append(cell)
    return columns


def _flat(each: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for name, cell in each.items():
        if isinstance(cell, dict) and depth < _DEEPEST:
            yield from _flat(cell, f"{before}{name}/", depth + 1)
        else:
            yield before + name, cell


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
