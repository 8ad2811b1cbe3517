"""Labelled results as rows: for JSON, and aligned as text."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from noiseprobe.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows as JSON holds them: numbers in full, None where they are not finite."""
    return [
        {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        for row in table.to_dict("records")
    ]


def aligned(rows: Sequence[tuple[str, ...]], left: Sequence[int] = (0,)) -> str:
    """A table of text: columns `left` begin at the left, the others end at the right.

    Raises:
        UserError: there are no rows, which means that no source was given.
    """
    if not rows:
        raise UserError("nothing to show: no source was given")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
