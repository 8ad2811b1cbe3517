"""What each layout's curves are worth in one run, by the rules of the study (RULES.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from experiments.recipes.record import EXPECTED

BUDGETS = (1, 4)
"""Forward passes of a sample per step of training, for the error at equal compute."""

SQUARED = ("error", "bias", "noise", "scaled", *(f"budget {each}" for each in BUDGETS))
"""The measures that are means of squares; of `bias`, the unbiased estimate may be below 0."""

PLAIN = ("rank", "pick")
KEYS = ["concept", "method", "layout"]

Array = NDArray[np.float64]


def measured(numbers: pd.DataFrame) -> pd.DataFrame:
    """A row per run and layout: `KEYS`, `passes`, the squares of `SQUARED`, and `PLAIN`.

    All are shares of the run's gain, those of `SQUARED` of its square. The layout `expected` has as
    `error` the square of the truth's own standard error, mean over the steps after 0.
    """
    return pd.DataFrame([row for _, run in numbers.groupby(KEYS[:2]) for row in of_run(run)])


def of_run(numbers: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of one run."""
    truth = numbers[numbers["layout"] == EXPECTED].sort_values("step")
    steps, expected = truth["step"].to_numpy(), truth["loss"].to_numpy()
    gain = expected[0] - expected.min()
    run: dict[str, Any] = {key: truth[key].iloc[0] for key in KEYS[:2]}
    floor = float((truth["se"].to_numpy()[1:] ** 2).mean() / gain**2)
    yield run | {"layout": EXPECTED, "passes": int(truth["passes"].iloc[0]), "error": floor}
    for layout, rows in numbers[numbers["layout"] != EXPECTED].groupby("layout", sort=False):
        curves = rows.pivot(index="draw", columns="step", values="loss").to_numpy()
        passes = int(rows["passes"].iloc[0])
        found = measures(curves, expected, steps, passes, gain)
        yield run | {"layout": layout, "passes": passes} | found


def measures(
    curves: Array, expected: Array, steps: NDArray[np.int64], passes: int, gain: float
) -> dict[str, float]:
    """The measures of one layout in one run.

    Args:
        curves: its losses, (draws, steps); at least two draws.
        expected: the truth, (steps,).
        steps: where both are known, from 0.
        passes: forward passes of an evaluation.
        gain: the unit.
    """
    changes, truth = (curves - curves[:, :1]) / gain, (expected - expected[0]) / gain
    errors = (changes - truth)[:, 1:]
    noise = float(errors.var(axis=0, ddof=1).mean())
    found = {
        "error": float((errors**2).mean()),
        "noise": noise,
        "bias": float((errors.mean(axis=0) ** 2).mean()) - noise / len(curves),
        "scaled": float(np.mean([_scaled(change, truth) for change in changes])),
        "rank": float(np.mean([spearmanr(curve, expected).statistic for curve in curves])),
        "pick": float((expected[curves.argmin(axis=1)] - expected.min()).mean() / gain),
    }
    for budget in BUDGETS:
        every = math.ceil(passes / budget)
        own = [_held(change, truth, steps, every) for change in changes]
        found[f"budget {budget}"] = float(np.mean(own))
    return found


def _scaled(change: Array, truth: Array) -> float:
    """The mean square error after the factor, at least 0, that fits best."""
    factor = max(float(change @ truth / (change @ change)), 0.0) if change.any() else 0.0
    return float(((factor * change - truth)[1:] ** 2).mean())


def _held(change: Array, truth: Array, steps: NDArray[np.int64], every: int) -> float:
    """The mean square error of the last value known at each step, if one is made every so often."""
    at = np.arange(1, steps[-1] + 1)
    shown = np.interp(at // every * every, steps, change)
    return float(((shown - np.interp(at, steps, truth)) ** 2).mean())
