"""Logs that have a row for each number: its step, its name and its value."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noiseprobe.logs.content import MOST_POINTS, check_size, too_large
from noiseprobe.logs.table import Column, Table, column_of

LAYOUTS = tuple(
    ("step", name, value)
    for name in ("key", "name", "tag", "metric")
    for value in ("value", "scalar")
)
"""The columns of such a table, as DiffSynth-Studio's `loss.csv` has them (step, key, value)."""


def pivoted(
    path: Path,
    kind: str,
    names: Sequence[Any],
    steps: Sequence[Any],
    values: Sequence[Any],
    place: Callable[[int], str],
    runs: Sequence[str] | None = None,
) -> Table:
    """The table with a column for each name, in whose rows the numbers stand in their order.

    Args:
        path, kind, place: as of `Table`.
        names, steps, values: of each number, (n,).
        runs: the run that each is of, (n,). Where there are several, columns are named `run - name`
            as Weights & Biases does, and each run has its own steps.
    """
    if len(names) > MOST_POINTS:
        raise too_large(path, f"{MOST_POINTS:,} numbers, a row for each")
    several = runs is not None and len(set(runs)) > 1
    counted: dict[str, list[int]] = {}
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        before = f"{runs[row]} - " if several and runs else ""
        counted.setdefault(f"{before}step", []).append(row)
        found.setdefault(f"{before}{name}", []).append(row)
    check_size(path, 1, len(found))
    columns = {name: _column(steps, rows) for name, rows in counted.items()}
    columns |= {name: _column(values, rows) for name, rows in found.items() if name not in counted}
    return Table(path, kind, len(names), columns, place, sparse=True)


def as_long(table: Table) -> Table | None:
    """The pivoted table where `table` has the columns of one of `LAYOUTS`; else None."""
    lower = {name.strip().lower(): name for name in table.columns}
    for layout in LAYOUTS:
        if set(layout) <= set(lower) and len(lower) == len(layout):
            steps, names, values = (_cells(table, lower[name]) for name in layout)
            if all(isinstance(name, str) for name in names):
                return pivoted(table.path, table.kind, names, steps, values, table.place)
    return None


def _cells(table: Table, name: str) -> list[Any]:
    """The cells of all rows, None where there is none."""
    column = table.columns[name]
    cells: list[Any] = [None] * table.height
    found = column.cells.tolist()  # of masked ones None
    for row, cell in zip(column.rows.tolist(), found, strict=True):
        cells[row] = cell
    return cells


def _column(cells: Sequence[Any], rows: Sequence[int]) -> Column:
    return column_of([cells[row] for row in rows], np.array(rows, np.int64))
