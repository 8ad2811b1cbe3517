"""The numbers that runs leave: one long table, in files of one run and in one of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.core.files import written_whole

COLUMNS = {
    "concept": "category",
    "method": "category",
    "held": "int8",
    "step": "int16",
    "name": "category",
    "sample": "int8",
    "value": "float32",
}
"""One row per measured number. `held` is the photograph that is held out, -1 none.

`sample` is -1, but for `l_val`, of which there is one number for each sample of its fixed batch.
"""

LOW = ("l_det", "l_val", "loss_judge", "copying", "copying_pixel")
"""What is better when low; all else is when high."""


@dataclass(frozen=True)
class Curves:
    """One run: what was measured of it, by step.

    Attributes:
        concept, method, held: which run it is.
        table: a row per step, a column per name; NaN where it was not measured.
        l_val: the held-out losses (evaluations, samples), a row per step; empty where none.
    """

    concept: str
    method: str
    held: int
    table: pd.DataFrame
    l_val: pd.DataFrame

    @property
    def last(self) -> int:
        """The last step."""
        return int(self.table.index[-1])

    @cached_property
    def _known(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        found = {}
        for name, column in self.table.items():
            series = column.dropna()
            if len(series):
                steps = series.index.to_numpy(np.int64)
                found[str(name)] = steps, series.to_numpy(np.float64)
        return found

    def series(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Steps and values of what was measured."""
        return self._known[name]

    def has(self, name: str) -> bool:
        """Whether it was measured."""
        return name in self._known

    def at(self, name: str, step: float) -> float:
        """The value at a step, linear between those at which it was measured."""
        return float(np.interp(step, *self.series(name)))

    def best_step(self, name: str) -> int:
        """The step at which it is best, the first of equal ones."""
        steps, values = self.series(name)
        return int(steps[np.argmin(values) if name in LOW else np.argmax(values)])


def as_rows(name: str, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of what has one column, or one for each sample, by step."""
    many = table.shape[1] > 1
    return [
        {"step": step, "name": name, "sample": place if many else -1, "value": value}
        for step, values in zip(table.index, table.to_numpy(), strict=True)
        for place, value in enumerate(values)
    ]


def write(numbers: pd.DataFrame, path: Path) -> None:
    """Write such a table, as small as it gets."""
    if "sample" in numbers:
        numbers = numbers.assign(sample=numbers["sample"].fillna(-1))
    with written_whole(path) as beside:
        numbers.astype(COLUMNS).to_parquet(
            beside,
            index=False,
            compression="zstd",
            compression_level=19,
            use_dictionary=["concept", "method", "name"],
            column_encoding={"value": "BYTE_STREAM_SPLIT"},
        )


def gathered(folder: Path) -> pd.DataFrame:
    """The numbers of all runs that are done in `folder`, sorted."""
    files = sorted(folder.glob("*.parquet"))
    table = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    order = ["concept", "method", "held", "name", "sample", "step"]
    texts = {name: str for name, kind in COLUMNS.items() if kind == "category"}
    return table.astype(texts).sort_values(order, ignore_index=True)


def curves(numbers: pd.DataFrame) -> Iterator[Curves]:
    """The runs of a table, with what follows from its numbers.

    `l_val` in the table of a run is the mean over samples; `copying` and `copying_pixel` say how
    much nearer pictures are to the nearest photograph that was trained on than to the nearest that
    was not: 0 without copying. `score` is likeness to unseen photographs plus prompt following, the
    latter linear between the steps at which it was measured.
    """
    for (concept, method, held), of_run in numbers.groupby(
        ["concept", "method", "held"], sort=False, observed=True
    ):
        each = of_run["name"] == "l_val"
        l_val = of_run[each].pivot(index="step", columns="sample", values="value")
        table = of_run[~each].pivot(index="step", columns="name", values="value")
        table = table.join(l_val.mean(axis=1).rename("l_val"), how="outer").astype(np.float64)
        table = table.sort_index()
        table["copying"] = table["near_train_clip"] - table["near_judge_clip"]
        table["copying_pixel"] = table["near_judge_pixel"] - table["near_train_pixel"]
        prompt = table["prompt"].interpolate("index", limit_area="inside")
        table["score"] = table["clip_judge"] + prompt
        yield Curves(str(concept), str(method), int(str(held)), table, l_val)
