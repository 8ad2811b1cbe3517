"""The tables of the study: from the recorded runs, and from files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.paired.curves import Recorded, coverage, errors
from experiments.paired.record import EXPECTED, LAST, STEPS, planned
from experiments.paired.stops import stops
from noiseprobe.core.files import written_whole

STEMS = ("errors", "coverage", "stops", "seconds")
EVALUATIONS = {  # of how many samples each kind was
    "train": 4 * LAST,
    "start": 4 * LAST,
    "l_det": 4 * (LAST + 1),
    "references": len(STEPS) * (EXPECTED + 2 * (32 + 60 + 60)),
}

Tables = dict[str, pd.DataFrame]


def tables_of(out: Path) -> Tables:
    """The tables of all runs that are complete in `out`, in the order in which they are planned."""
    files = {key: out / key[0] / f"{key[1]}.parquet" for key in planned()}
    runs = {key: Recorded.read(file) for key, file in files.items() if file.is_file()}
    rows: dict[str, list[dict[str, Any]]] = {stem: [] for stem in STEMS}
    for (method, concept), run in runs.items():
        key: dict[str, Any] = {"method": method, "concept": concept}
        rows["errors"] += [key | row for row in errors(run)]
        rows["coverage"].append(key | {"whole_gain": run.whole} | coverage(run))
        spent = json.loads(files[method, concept].with_suffix(".json").read_text())
        rows["seconds"].append(key | per_sample(spent))
    rows["stops"] = stops(runs)
    return {stem: pd.DataFrame(found) for stem, found in rows.items()}


def per_sample(spent: Mapping[str, float]) -> dict[str, float]:
    """CPU milliseconds per sample of each kind of evaluation."""
    return {name: 1000 * spent[name] / count for name, count in EVALUATIONS.items()}


def write_tables(tables: Tables, directory: Path) -> None:
    """Write each table as CSV."""
    for stem, table in tables.items():
        with written_whole(directory / f"{stem}.csv") as beside:
            table.to_csv(beside, index=False, float_format="%.5g")


def read_tables(directory: Path) -> Tables:
    """The tables that `write_tables` wrote."""
    return {stem: pd.read_csv(directory / f"{stem}.csv") for stem in STEMS}
