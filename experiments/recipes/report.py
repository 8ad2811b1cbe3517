"""Which layouts follow the expected loss, by the rules of the study (RULES.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.recipes.figures import draw_figure
from experiments.recipes.measures import BUDGETS, PLAIN, SQUARED, measured
from experiments.recipes.record import EXPECTED, concepts
from noiseprobe.analysis.bootstrap import bootstrap_interval, ratio_of_sums
from noiseprobe.cli.tables import markdown
from noiseprobe.core.files import written_whole
from noiseprobe.run.defaults import METHODS

ALL = "all methods"
DECIDES = "budget 1"
REFERENCE = "stratified 8"
FEWEST = 4  # concepts for an interval
NAMES = {
    "error": "error",
    "bias": "bias",
    "noise": "noise",
    "scaled": "scaled",
    "rank": "rank",
    "pick": "pick",
} | {f"budget {each}": f"error at {each} per step" for each in BUDGETS}


def write_report(numbers: pd.DataFrame, directory: Path) -> None:
    """Write `RESULTS.md` and the figure."""
    table = measured(numbers)
    errors, bias, equal = (summary(table, measure) for measure in ("error", "bias", DECIDES))
    draw_figure(errors, bias, equal, directory / "figures")
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(table), encoding="utf-8")


def by_concept(table: pd.DataFrame, measure: str, method: str = ALL) -> pd.DataFrame:
    """A measure, squared where it is one of `SQUARED`: a row per concept, a column per layout.

    Over all methods it is their mean, of the concepts that have all.
    """
    if method != ALL:
        return table[table["method"] == method].pivot(
            index="concept", columns="layout", values=measure
        )
    methods = table.groupby("concept")["method"].transform("nunique")
    whole = table[methods == table["method"].nunique()]
    return whole.pivot_table(index="concept", columns="layout", values=measure)


def summary(table: pd.DataFrame, measure: str, method: str = ALL) -> pd.DataFrame:
    """By layout: `value`, and where concepts suffice `low` and `high` (95%); and `passes`."""
    rows = {}
    for layout, values in by_concept(table, measure, method).items():
        if layout == EXPECTED or values.isna().all():
            continue
        ends = np.array([values.mean(), *_interval(values)])
        rows[layout] = _root(ends) if measure in SQUARED else ends
    found = pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
    return found.join(table.groupby("layout")["passes"].mean())


def ratios(table: pd.DataFrame, method: str = ALL) -> pd.DataFrame:
    """By layout: what decides, over that of the reference on the same runs; 95% intervals."""
    squares = by_concept(table, DECIDES, method)
    rows = {}
    for layout in squares.columns.drop([EXPECTED, REFERENCE], errors="ignore"):
        pair = squares[[layout, REFERENCE]]
        value = pair[layout].sum() / pair[REFERENCE].sum()
        known = len(pair) >= FEWEST
        ends = bootstrap_interval(pair, ratio_of_sums) if known else (math.nan, math.nan)
        rows[layout] = _root(np.array([value, *ends]))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])


def report(table: pd.DataFrame) -> str:
    """The findings as Markdown."""
    runs = table.groupby("method")["concept"].nunique()
    planned = len(concepts()) * len(METHODS)
    counts = ", ".join(f"{runs.get(method, 0)} {method}" for method in METHODS)
    floor = by_concept(table, "error")[EXPECTED].mean() ** 0.5
    order = [str(name) for name in summary(table, DECIDES).sort_values("value").index]
    lines = [
        "# What other trainers' validation follows, and at what price",
        "",
        f"Made by `python -m experiments.recipes` from {runs.sum()} of {planned} planned runs "
        f"({counts}); what every number means, and what decides, was written before them "
        "([RULES.md](RULES.md)). Shares of a run's gain; 95% bootstrap intervals over concepts "
        f"(from {FEWEST} on), which are too narrow where there are few. The truth itself is known "
        f"to {floor:.3f}.",
        "",
        *verdict(ratios(table), table),
        "",
        "![Error and bias at an evaluation, and error at equal compute](figures/recipes.png)",
        "",
        "## All methods",
        "",
        "By the error at one forward pass per step of training, which decides. `passes`: of one "
        "evaluation, with the five photographs of a concept. A bias of 0 is one that the noise "
        "between seeds does not let show.",
        "",
        measure_table(table, order, ("error", "bias", "noise", "scaled")),
        "",
        measure_table(table, order, (*(f"budget {each}" for each in BUDGETS), *PLAIN)),
        "",
        "## By method",
        "",
        "Error at an evaluation:",
        "",
        method_table(table, order, "error"),
        "",
        "Bias of it:",
        "",
        method_table(table, order, "bias"),
        "",
        "Error at one forward pass per step:",
        "",
        method_table(table, order, DECIDES),
        "",
        f"## Against {REFERENCE}",
        "",
        "Error at one forward pass per step over that of the reference, on the same runs. Below 1: "
        "nearer to the truth.",
        "",
        ratio_table(table, order),
    ]
    return "\n".join(lines) + "\n"


def verdict(found: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """What the rules say, a sentence for each kind of outcome that there is."""
    count = len(by_concept(table, DECIDES))
    if count < FEWEST:
        return [f"Nothing is decided from fewer than {FEWEST} concepts."]
    kinds = {
        "better than": found[found["high"] < 1],
        "worse than": found[found["low"] > 1],
    }
    said = [
        f"- Surely {kind} `{REFERENCE}` at equal compute: "
        + ", ".join(f"{name} ({told(rows, str(name), 2)} times its error)" for name in rows.index)
        + "."
        for kind, rows in kinds.items()
        if len(rows)
    ]
    sure = pd.concat(list(kinds.values())).index
    if len(rest := found.drop(sure)):
        said.append(f"- Not surely either: {', '.join(map(str, rest.index))}.")
    return [f"By the rules, over {count} concepts with all methods that were run:", "", *said]


def measure_table(table: pd.DataFrame, order: Sequence[str], measures: Sequence[str]) -> str:
    """A row per layout, a column per measure, over all methods."""
    found = {measure: summary(table, measure) for measure in measures}
    rows = [["layout", "passes", *(NAMES[measure] for measure in measures)]]
    for layout in order:
        passes = float(found[measures[0]]["passes"][layout])
        cells = [told(found[measure], layout) for measure in measures]
        rows.append([layout, f"{passes:g}", *cells])
    return markdown(rows)


def method_table(table: pd.DataFrame, order: Sequence[str], measure: str) -> str:
    """A row per layout, a column per method."""
    methods = [method for method in METHODS if method in set(table["method"])]
    found = {method: summary(table, measure, method) for method in methods}
    rows = [["layout", *methods]]
    for layout in order:
        rows.append([layout, *(told(found[method], layout) for method in methods)])
    return markdown(rows)


def ratio_table(table: pd.DataFrame, order: Sequence[str]) -> str:
    """A row per layout: its ratio by method, and over all."""
    methods = [method for method in METHODS if method in set(table["method"])]
    found = {method: ratios(table, method) for method in (*methods, ALL)}
    rows = [["layout", *found]]
    for layout in order:
        if layout != REFERENCE:
            rows.append([layout, *(told(own, layout, 2) for own in found.values())])
    return markdown(rows)


def told(table: pd.DataFrame, layout: str, digits: int = 3) -> str:
    """The number of a layout, and its interval, if there is one."""
    value, low, high = table.loc[[layout], ["value", "low", "high"]].to_numpy()[0]
    if math.isnan(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _interval(values: pd.Series) -> tuple[float, float]:
    few = len(values) < FEWEST
    return (math.nan, math.nan) if few else bootstrap_interval(values.to_numpy())


def _root(squares: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(squares, 0))
