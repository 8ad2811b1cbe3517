"""Labelled results as JSON, and rows of cells as a table: text, Markdown, LaTeX."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Rows = Sequence[Sequence[str]]
"""The cells of a table; the first row is its head."""


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


def plain(rows: Rows, left: Sequence[int] = (0,)) -> str:
    """Text: columns `left` begin at the left, the others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if index in left else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


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
