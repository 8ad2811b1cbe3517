"""Labelled results as JSON, and rows of cells as a table: text, Markdown, LaTeX."""

import json
import math
import os.path
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.core.files import written_whole
from noiseprobe.core.words import in_spreadsheet, visible

if TYPE_CHECKING:
    import pandas as pd

Rows = Sequence[Sequence[str]]
"""The cells of a table; the first row is its head."""

WIDTH = 120
"""Columns of text where standard output is no terminal and COLUMNS says nothing."""

_GAP, _INDENT = "  ", "    "


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))


def records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows as JSON holds them: numbers in full, None where they are not finite."""
    return [
        {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        for row in table.to_dict("records")
    ]


def write_csv(table: "pd.DataFrame", path: Path, **form: Any) -> None:
    """Write a table as CSV, whole or not at all; what is text in it is text to a spreadsheet."""
    with written_whole(path) as beside:
        beside.write_text(csv_of(table, **form), encoding="utf-8")


def csv_of(table: "pd.DataFrame", **form: Any) -> str:
    """A table as CSV; `form` is what pandas takes, such as `float_format`."""
    from pandas.api.types import is_numeric_dtype

    safe = table.rename(columns=_as_text)
    for place, kind in enumerate(safe.dtypes):
        if not is_numeric_dtype(kind):
            safe.isetitem(place, safe.iloc[:, place].map(_as_text).to_list())
    return safe.to_csv(index=False, lineterminator="\n", **form)


def _as_text(cell: Any) -> Any:
    return in_spreadsheet(visible(cell)) if isinstance(cell, str) else cell


def cell(value: float | None, form: str = ".3g") -> str:
    """A number in a table; a dash where it is unknown."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def between(low: float, high: float, form: str = ".1%") -> str:
    """An interval in a cell of its own; a dash where it is unknown or unbounded."""
    return f"{low:{form}} to {high:{form}}" if math.isfinite(low + high) else "-"


def with_interval(
    row: Mapping[Any, Any], name: str, form: str = ".2f", shape: str = "{} [{}, {}]"
) -> str:
    """`name` with its `_low` and `_high`; alone where these are unknown."""
    found = [cell(row[key], form) for key in (name, f"{name}_low", f"{name}_high")]
    return found[0] if found[1] == "-" else shape.format(*found)


def width() -> int:
    """Columns of the terminal, or what COLUMNS says; `WIDTH` where there is neither."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def paragraph(text: str, within: int | None = None) -> str:
    """`text` in lines of at most `within` columns (default: `width`), broken between words."""
    return "\n".join(_wrapped(visible(text), within or width()))


def print_verdict(sentences: Sequence[str]) -> None:
    """What was found, a sentence a line, and an empty line before the table."""
    if sentences:
        print("\n".join(map(paragraph, sentences)), end="\n\n")


def print_next(command: str) -> None:
    """The one command that is useful next, in one line however long, so that it may be copied."""
    if command:
        print(f"\nNext: {command}")


def plain(
    rows: Rows, left: Sequence[int] = (0,), paths: int | None = None, within: int | None = None
) -> str:
    """A table for people, no line of which is wider than `within` columns (default: `width`).

    Columns that do not fit beside the others go to a further line below each row, as whole columns
    and in line with each other. Only a column that is wider than a line of its own is broken, and
    that between words: a single longer word stays whole, and nothing is ever cut off.

    Args:
        rows: the cells; the first row is the head. What cannot be printed is spelt.
        left: the columns that begin at the left; the others end at the right.
        paths: a column of paths; the folder that all of them lie in is named once, above.
        within: the columns of text that there are.

    Examples:
        >>> print(plain([("trace", "best step"), ("log.csv", "400")], within=13))
        trace
            best step
        log.csv
                  400
    """
    most = within or width()
    cells = [[visible(text) for text in row] for row in rows]
    above = ""
    if paths is not None and (parent := _parent([row[paths] for row in cells[1:]])):
        above = paragraph(f"in {parent}:", most) + "\n"
        for row in cells[1:]:
            row[paths] = os.path.relpath(row[paths], parent)
    widths = [max(map(_columns, column)) for column in zip(*cells, strict=True)]
    lines = _lines(widths, most)
    return above + "\n".join(
        line for row in cells for part in lines for line in _laid_out(row, widths, part, left, most)
    )


def _lines(widths: Sequence[int], most: int) -> list[list[int]]:
    """Which columns stand in each line of a row: as many as fit."""
    lines: list[list[int]] = [[]]
    used = 0
    for index, size in enumerate(widths):
        if lines[-1] and used + len(_GAP) + size > most:
            lines.append([])
            used = len(_INDENT) - len(_GAP)
        used += size + len(_GAP) * bool(lines[-1] or len(lines) > 1)
        lines[-1].append(index)
    return lines


def _laid_out(
    row: Sequence[str], widths: Sequence[int], part: Sequence[int], left: Sequence[int], most: int
) -> list[str]:
    """The lines of those columns of a row; several where one column is wider than a line."""
    indent = _INDENT if part[0] > 0 else ""
    room = most - len(indent)
    if len(part) > 1 or widths[part[0]] <= room:
        return [(indent + _joined(row, widths, part, left)).rstrip()]
    words = _wrapped(row[part[0]], room)
    return [(indent + line).rstrip() for line in words]


def _wrapped(text: str, room: int) -> list[str]:
    """`text` in lines of at most `room` columns, broken between words alone."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and _columns(lines[-1]) + 1 + _columns(word) > room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _joined(
    row: Sequence[str], widths: Sequence[int], part: Sequence[int], left: Sequence[int]
) -> str:
    texts = []
    for index in part:
        space = " " * (widths[index] - _columns(row[index]))
        texts.append(row[index] + space if index in left else space + row[index])
    return _GAP.join(texts).rstrip()


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide letter, as of Chinese."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _parent(paths: Sequence[str]) -> str:
    """The folder that all these paths lie in, if naming it once shortens them; else ""."""
    if len({os.path.isabs(path) for path in paths}) != 1:
        return ""
    parent = os.path.commonpath([os.path.dirname(path) for path in paths])
    return "" if parent in ("", os.sep) else parent


def markdown(rows: Rows, left: Sequence[int] = (0,)) -> str:
    """A table in Markdown, its columns aligned as those of `plain`."""
    rule = "|".join("---" if index in left else "---:" for index in range(len(rows[0])))
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{rule}|", *body])


def latex(rows: Rows, left: Sequence[int] = (0,)) -> str:
    """A LaTeX tabular with the rules of booktabs, its columns aligned as those of `plain`."""
    columns = "".join("l" if index in left else "r" for index in range(len(rows[0])))
    head, *body = [" & ".join(row) + r" \\" for row in rows]
    begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*begin, *body, r"\bottomrule", r"\end{tabular}"])
