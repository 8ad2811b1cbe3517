"""What a stop is worth by judges that no criterion saw, as paired differences over concepts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.overfitting.criteria import Rule
from experiments.overfitting.raw import LOW, Curves
from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.analysis.crossing import crossed, recommended

JUDGES = {
    "loss_judge": "loss on unseen photographs",
    "score": "likeness + prompt",
    "clip_judge": "likeness to unseen photographs",
    "clip_held": "likeness to the held-out photograph",
    "prompt": "prompt following",
    "copying": "copying (CLIP)",
    "copying_pixel": "copying (pixels)",
}
"""By name of a measure what it is called; `raw.LOW` says which are better when low."""

FIRST = ("loss_judge", "score")
"""The two that decide: what a held-out loss estimates, and what a person sees."""

ALL_METHODS = "all methods"


@dataclass(frozen=True)
class Gap:
    """A mean over concepts with its 95% bootstrap interval, and whether low is better."""

    mean: float
    low: float
    high: float
    concepts: int
    to_be_low: bool = False

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval excludes 0, else `no difference shown`."""
        if not math.isfinite(self.low + self.high) or self.low <= 0 <= self.high:
            return "no difference shown"
        return "better" if (self.mean < 0) == self.to_be_low else "worse"

    def said(self, form: str = "+.3f") -> str:
        """The mean and its interval."""
        if not math.isfinite(self.low + self.high):
            return f"{self.mean:{form}}"
        return f"{self.mean:{form}} ({self.low:{form}} to {self.high:{form}})"


def form_of(judge: str) -> str:
    """How a difference by a judge is written: losses differ by less."""
    return "+.4f" if judge.startswith("loss") else "+.3f"


def judged(ends: pd.DataFrame, runs: Sequence[Curves]) -> pd.DataFrame:
    """The endings with a column per judge: its value at the step that is kept."""
    by_run = {(run.concept, run.method, run.held): run for run in runs}
    rows: list[dict[str, Any]] = []
    for end in ends.to_dict("records"):
        run = by_run[end["concept"], end["method"], end["held"]]
        known = [name for name in JUDGES if run.has(name)]
        rows.append({name: run.at(name, end["kept"]) for name in known})
    return ends.join(pd.DataFrame(rows, index=ends.index))


def gap(by_concept: pd.Series, to_be_low: bool = False) -> Gap:
    """The mean of one number per concept, with its interval."""
    # Rounded, so that what is the same but for the order of a sum is the same.
    values = by_concept.dropna().to_numpy(np.float64).round(9)
    low, high = bootstrap_interval(values)
    mean = float(values.mean()) if len(values) else math.nan
    return Gap(mean, low, high, len(values), to_be_low)


def per_concept(table: pd.DataFrame, column: str) -> pd.Series:
    """The mean of a column by concept: over held-out photographs, then over methods."""
    by_method = table.groupby(["concept", "method"], sort=True)[column].mean()
    return by_method.groupby(level="concept").mean()


def difference(table: pd.DataFrame, column: str, criterion: str, against: str) -> Gap:
    """A column under one criterion less that under another, on the same runs."""
    one, other = (
        per_concept(table[table["criterion"] == name], column) for name in (criterion, against)
    )
    return gap(one - other, column in LOW)


def by_method(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each method, and of all together."""
    found = {str(name): rows for name, rows in table.groupby("method", sort=False)}
    return found | {ALL_METHODS: table}


def without_holding(
    held: Sequence[Curves], whole: Sequence[Curves], by: Mapping[str, Rule], turn: str, dvar: str
) -> pd.DataFrame:
    """What holding one photograph out costs: as `judged`, on the things that have both runs.

    The rows are `held out`: the run with one held out itself, at the step that `turn` keeps;
    `refit`: the run on all photographs after as many steps; `cross`: the same after the steps at
    which the mean held-out loss over the runs with one held out was least, where there are several;
    `all, dvar` and `all, never`: the run on all photographs where `dvar` stops it, and at its end.
    `spent` are the steps that were trained in all; cross counts the whole of each run with one held
    out.
    """
    rows: list[dict[str, Any]] = []
    for run in whole:
        about = {"concept": run.concept, "method": run.method}
        folds = [each for each in held if (each.concept, each.method) == (run.concept, run.method)]
        if not folds:
            continue
        for fold in folds:
            end = by[turn].ending(fold)
            own = about | {"held": fold.held, "kept": end.kept}
            rows.append(own | {"criterion": "held out", "spent": end.stop} | at(fold, end.kept))
            spent = end.stop + end.kept
            rows.append(own | {"criterion": "refit", "spent": spent} | at(run, end.kept))
        stop = by[dvar].ending(run).stop
        own = about | {"held": run.held}
        ends = [("all, dvar", stop, stop), ("all, never", run.last, run.last)]
        if len(folds) > 1:  # with one alone there is nothing to average
            best = recommended(crossed([fold.table["l_val"].reset_index() for fold in folds]))
            ends.insert(0, ("cross", best, best + sum(fold.last for fold in folds)))
        for name, kept, spent in ends:
            rows.append(own | {"criterion": name, "kept": kept, "spent": spent} | at(run, kept))
    return pd.DataFrame(rows)


def at(run: Curves, step: int) -> dict[str, float]:
    """What each judge says of a step, the likeness to the held-out photograph left out."""
    names = [name for name in JUDGES if name != "clip_held"]
    return {name: run.at(name, step) for name in names}
