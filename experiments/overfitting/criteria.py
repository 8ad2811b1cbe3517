"""The criteria that the study compares, replayed over what runs recorded; and chosen parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.overfitting.design import CHECK
from experiments.overfitting.raw import LOW, Curves
from noiseprobe.core.files import write_json
from noiseprobe.run.defaults import BUNDLED_MODEL, METHODS, defaults_of
from noiseprobe.stopping import CRITERIA, as_losses, build, outcome
from noiseprobe.stopping.base import MOST

Params = Mapping[str, float]

REFERENCE = "dvar on l_det"
TURN, KEEP_BEST, NEVER = "turn on l_val", "never, best of l_val", "never"
JUDGED_BY = "score"
"""What parameters are chosen by."""

GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "dvar on l_val": {
        "window": (5, 10, 20, 50, 100),
        "threshold": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    },
    "patience on l_val": {
        "patience": (2, 5, 10, 20, 50),
        "min_delta": (0.0, 0.0001, 0.001, 0.01),
    },
    "clip": {"patience": (1, 2, 3, 4, 6), "min_delta": (0.0, 0.01, 0.02, 0.05)},
    "fixed": {"steps": (15, 30, 60, 90, 120, 180, 240, 300, 360, 480, 600)},
}
"""What parameters are chosen from. Windows and patience are in values: of the held-out loss, every
5 steps; of the CLIP rule, every 60."""


@dataclass(frozen=True)
class Rule:
    """A criterion that looks at a recorded column, with its parameters for each method."""

    column: str
    criterion: str
    params: Mapping[str, Params]

    def ending(self, run: Curves) -> Ending:
        """Where it ends a run, and the step whose weights it keeps."""
        if self.column == "l_val" and CRITERIA[self.criterion].per_sample:
            steps, losses = run.l_val.index.to_numpy(np.int64), run.l_val.to_numpy(np.float64)
        else:
            steps, losses = seen(run, self.column)
        criterion = build(self.criterion, self.params[run.method])
        found = outcome(criterion, as_losses(self.column, losses), steps)
        fires = found.stop_index is not None
        stop = int(steps[found.stop_index]) if found.stop_index is not None else run.last
        # Without a stop and a best to keep, a run ends with its last weights.
        keeps = fires or criterion.best_index is not None
        return Ending(int(steps[found.kept_index]) if keeps else run.last, stop, fires)


@dataclass(frozen=True)
class Ending:
    """The step whose weights are taken, how many steps were trained, whether a criterion fired."""

    kept: int
    stop: int
    fired: bool


def seen(run: Curves, column: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and values that a criterion sees: of pictures, those at the checks of the CLIP rule."""
    steps, values = run.series(column)
    if column != "clip_train":
        return steps, values
    checked = steps % CHECK == 0
    return steps[checked], values[checked]


def rules(chosen: Mapping[str, Mapping[str, Params]]) -> dict[str, Rule]:
    """All that are compared, with the parameters that were `chosen`, by name and method."""
    usual = {method: defaults_of(BUNDLED_MODEL, method) for method in METHODS}
    dvar = {
        method: {"window": each["window"], "threshold": each["threshold"]}
        for method, each in usual.items()
    }
    return {
        REFERENCE: Rule("l_det", "dvar", dvar),
        "dvar on l_val": Rule("l_val", "dvar", chosen["dvar on l_val"]),
        TURN: Rule("l_val", "turn", same({})),
        "patience on l_val": Rule("l_val", "patience", chosen["patience on l_val"]),
        KEEP_BEST: Rule("l_val", "patience", same({"patience": MOST})),
        "clip": Rule("clip_train", "patience", chosen["clip"]),
        "fixed": Rule("l_det", "fixed", chosen["fixed"]),
        NEVER: Rule("l_det", "never", same({})),
    }


def same(params: Params) -> dict[str, Params]:
    """The same parameters for each method."""
    return dict.fromkeys(METHODS, params)


def choose(runs: Sequence[Curves]) -> dict[str, dict[str, Params]]:
    """The parameters of each criterion that has some to choose, by its name and method.

    Of those whose weights have a mean score (`raw.curves`) within one standard error of the
    highest, the ones that train the fewest steps (the one-standard-error rule: Breiman, Friedman,
    Olshen & Stone, Classification and Regression Trees, 1984, §3.4.3). The standard error is of the
    difference, over concepts. For each method alone where the number is of steps, which methods
    differ in; else for all together, as a person would have to.
    """
    found: dict[str, dict[str, Params]] = {}
    for name, grid in GRIDS.items():
        tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        if name == "fixed":
            found[name] = {
                method: best_of(name, tried, [run for run in runs if run.method == method])
                for method in dict.fromkeys(run.method for run in runs)
            }
        else:
            found[name] = same(best_of(name, tried, runs))
    return found


def best_of(name: str, tried: Sequence[Params], runs: Sequence[Curves]) -> Params:
    """The parameters that the rule of `choose` takes on these runs."""
    column, criterion = {
        "dvar on l_val": ("l_val", "dvar"),
        "patience on l_val": ("l_val", "patience"),
        "clip": ("clip_train", "patience"),
        "fixed": ("l_det", "fixed"),
    }[name]
    concepts = pd.Index([run.concept for run in runs], name="concept")
    sign = 1 if JUDGED_BY in LOW else -1
    losses, steps = [], []
    for params in tried:
        endings = [Rule(column, criterion, same(params)).ending(run) for run in runs]
        pairs = zip(runs, endings, strict=True)
        judged = pd.Series([sign * run.at(JUDGED_BY, end.kept) for run, end in pairs], concepts)
        losses.append(judged.groupby(level=0).mean())
        steps.append(float(np.mean([end.stop for end in endings])))
    table = pd.DataFrame(losses)
    behind = table - table.iloc[int(np.argmin(table.mean(axis=1)))]
    error = behind.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
    good = behind.mean(axis=1) <= error.fillna(0.0)
    places = np.flatnonzero(good).tolist()
    return tried[min(places, key=lambda place: steps[place])]


def write_chosen(chosen: Mapping[str, Mapping[str, Params]], path: Path) -> None:
    """Write what was chosen as JSON."""
    write_json(path, {name: dict(by_method) for name, by_method in chosen.items()})


def read_chosen(path: Path) -> dict[str, dict[str, Params]]:
    """What `write_chosen` wrote."""
    found: dict[str, dict[str, Params]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def endings(runs: Sequence[Curves], by: Mapping[str, Rule]) -> pd.DataFrame:
    """Where each rule ends each run: criterion, concept, method, held, kept, stop, fired."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        about = {"concept": run.concept, "method": run.method, "held": run.held}
        for name, rule in by.items():
            end = rule.ending(run)
            ended = {"kept": end.kept, "stop": end.stop, "fired": end.fired}
            rows.append({"criterion": name} | about | ended)
    return pd.DataFrame(rows)
