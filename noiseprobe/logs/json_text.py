"""JSON Lines, and JSON documents of several shapes."""

import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from noiseprobe.core.errors import UserError
from noiseprobe.logs.content import LARGEST_DOCUMENT, MOST_CELLS, check_size, too_large
from noiseprobe.logs.log import TruncatedLogWarning, one_line
from noiseprobe.logs.table import Column, Table, column_of

_DEEPEST = 8
_CHUNK = 1 << 17
_SPELT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SOMETHING = re.compile(r"\S")


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
    begin = len(text) - len(text.lstrip())
    first = text[begin : text.find("\n", begin) + 1]
    if isinstance(_parsed(first), dict) and _SOMETHING.search(text, begin + len(first)):
        return _lines(path, text)
    if len(text) > LARGEST_DOCUMENT:
        raise too_large(path, f"{LARGEST_DOCUMENT >> 20} MB in one JSON document")
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
    # A point is a time, a step and a value, as TensorBoard's download has them.
    triples = (isinstance(each, list) and len(each) == 3 for each in document)
    if isinstance(document, list) and document and all(triples):
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
    first = end = 0
    while end < len(text):
        begin, end = end, text.find("\n", end + _CHUNK) + 1 or len(text)
        if end - begin > LARGEST_DOCUMENT:
            raise too_large(path, f"{LARGEST_DOCUMENT >> 20} MB in one line")
        chunk = text[begin:end].rstrip("\n")
        try:
            objects = json.loads("[" + chunk.replace("\n", ",") + "]")
        except (ValueError, RecursionError):
            objects = []
        if len(objects) != chunk.count("\n") + 1 or set(map(type, objects)) != {dict}:
            ending = text[begin:] if end == len(text) else ""
            objects = list(_one_by_one(path, chunk, ending, first, place))
        first += len(objects)
        yield objects


def _one_by_one(
    path: Path, chunk: str, ending: str, first: int, place: Callable[[int], str]
) -> Iterator[dict[str, Any]]:
    lines = list(filter(str.strip, chunk.split("\n")))
    for row, line in enumerate(lines, start=first):
        try:
            each = json.loads(line)
        except (ValueError, RecursionError) as error:
            if line is lines[-1] and ending.endswith(line):
                told = f"{path}, {place(row)}: cut off; what stands before it is read"
                warnings.warn(told, TruncatedLogWarning, stacklevel=2)
                return
            raise UserError(
                f"{path}, {place(row)}: not JSON ({_said(error)}); write one object per line"
            ) from None
        if not isinstance(each, dict):
            raise UserError(f"{path}, {place(row)}: not a JSON object; write one per line")
        yield each


def _table(
    path: Path, kind: str, chunks: Iterable[list[dict[str, Any]]], place: Callable[[int], str]
) -> Table:
    """The table of all objects; they come in chunks, so that few of them are held at a time."""
    pieces: dict[str, list[Column]] = {}
    height = cells = 0
    for objects in chunks:
        for name, piece in _columns(objects, height).items():
            pieces.setdefault(name, []).append(piece)
            cells += len(piece.rows)
        height += len(objects)
        check_size(path, height)
        check_size(path, 1, len(pieces))
        if cells > MOST_CELLS:
            raise too_large(path, f"{MOST_CELLS:,} numbers")
    wandb = {"_step", "_timestamp"} <= set(pieces)
    return Table(
        path,
        "W&B export" if wandb else kind,
        height if pieces else 0,
        {_clean(name): _joined(each) for name, each in pieces.items()},
        place,
        wandb,
    )


def _columns(objects: Sequence[dict[str, Any]], first: int) -> dict[str, Column]:
    """The columns of objects, which are the rows from `first` on."""
    columns = {}
    if len(set(map(len, objects))) == 1:
        with suppress(KeyError):
            rows = np.arange(first, first + len(objects))
            for name in objects[0]:
                columns[name] = column_of(list(map(itemgetter(name), objects)), rows)
            if not any(_has_objects(column) for column in columns.values()):
                return columns
    cells: dict[str, dict[int, Any]] = {}
    for row, each in enumerate(objects, start=first):
        for name, cell in _flat(each):
            cells.setdefault(name, {})[row] = cell
    return {
        name: column_of(list(found.values()), np.fromiter(found, np.int64, len(found)))
        for name, found in cells.items()
    }


def _has_objects(column: Column) -> bool:
    return column.cells.dtype == object and dict in set(map(type, column.cells))


def _joined(pieces: Sequence[Column]) -> Column:
    rows = np.concatenate([piece.rows for piece in pieces])
    if len({piece.cells.dtype for piece in pieces}) == 1:
        return Column(rows, np.concatenate([piece.cells for piece in pieces]))
    return column_of([cell for piece in pieces for cell in piece.cells.tolist()], rows)


def _flat(each: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for name, cell in each.items():
        if isinstance(cell, dict) and depth < _DEEPEST:
            yield from _flat(cell, f"{before}{name}/", depth + 1)
        else:
            yield before + name, cell


def flat_numbers(cells: Any) -> Iterator[tuple[str, float]]:
    """The numbers in an object, by their paths; what is no number is left out.

    `"NaN"` and `"Infinity"`, as which trackers spell what JSON does not have, are numbers too.
    """
    for name, cell in _flat(cells) if isinstance(cells, dict) else ():
        if isinstance(cell, str) and cell in _SPELT:
            yield _clean(name), _SPELT[cell]
        elif isinstance(cell, int | float) and not isinstance(cell, bool):
            with suppress(OverflowError):
                yield _clean(name), float(cell)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line) if len(line) <= LARGEST_DOCUMENT else None
    except (ValueError, RecursionError):
        return None


def _clean(name: str) -> str:
    """The name without halves of characters, which JSON can spell but nothing can print."""
    return name.encode("utf-8", "replace").decode()


def _said(error: Exception) -> str:
    return one_line(getattr(error, "msg", error))
