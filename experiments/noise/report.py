"""Shares and losses by timestep, each as a mean over the concepts of a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from noiseprobe.analysis import learning_bins, timestep_losses, variance_shares
from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.cli.tables import markdown
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.saving import save
from noiseprobe.plots.shares import plot_shares
from noiseprobe.plots.timesteps import plot_timesteps
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig

PAIRS = RunConfig.model_fields["design_replicates"].default
OF_PAIR = RunConfig.model_fields["design_batch"].default
DRAWN = "textual-inversion"  # the method whose figures are drawn
STEMS = ("shares", "timesteps", "learning")  # of the tables


def write_report(tables: dict[str, pd.DataFrame], directory: Path, figures: Path) -> None:
    """Write `RESULTS.md` and the figures from the tables of `tables_of`."""
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(tables), encoding="utf-8")
    draw_figures(tables, figures)


def write_tables(tables: dict[str, pd.DataFrame], directory: Path) -> None:
    """Write the tables of `tables_of`, which `recorded` reads back."""
    for stem, table in tables.items():
        with written_whole(directory / f"{stem}.csv") as beside:
            table.to_csv(beside, index=False, float_format="%.6g")


def draw_figures(tables: dict[str, pd.DataFrame], figures: Path) -> None:
    """Draw the figures of `DRAWN` from the tables into the folder `figures`."""
    of_one = {
        stem: table[table["method"] == DRAWN].drop(columns="method")
        for stem, table in tables.items()
    }
    concepts = f"{of_one['shares']['concept'].nunique()} concepts"
    shares = over_concepts(of_one["shares"], ["step", "factor"], ["first", "total"])
    losses = over_concepts(of_one["timesteps"], ["step", "bin", "from", "to"], ["loss", "relative"])
    learning = over_concepts(of_one["learning"], ["bin", "from", "to"], ["change"])
    drawn: dict[str, Axes | list[Axes]] = {
        "7-shares": plot_shares(shares, over=concepts),
        "9-loss-by-timestep": plot_timesteps(losses, with_trend(learning), over=concepts),
    }
    for name, axes in drawn.items():
        save(axes, figures / name)


def recorded(directory: Path) -> dict[str, pd.DataFrame]:
    """The tables that `write_tables` wrote into `directory`."""
    return {stem: pd.read_csv(directory / f"{stem}.csv") for stem in STEMS}


def tables_of(runs: Sequence[Run]) -> dict[str, pd.DataFrame]:
    """The tables of `noiseprobe.analysis` for all runs, each with the columns method, concept."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        probe, sobol = run.probe_trace(), run.sobol_trace()
        probe = probe[probe["step"].isin(sobol["step"].unique())]
        of_run = {
            "shares": variance_shares(sobol),
            "timesteps": timestep_losses(probe, sobol, num_timesteps=run.num_timesteps),
            "learning": learning_bins(probe, sobol, num_timesteps=run.num_timesteps),
        }
        name = Path(run.config.concept).name
        for stem, table in of_run.items():
            found = table.assign(method=run.config.method, concept=name)
            tables.setdefault(stem, []).append(found)
    return {stem: pd.concat(parts, ignore_index=True) for stem, parts in tables.items()}


def over_concepts(table: pd.DataFrame, by: list[str], values: list[str]) -> pd.DataFrame:
    """The mean of each value over concepts, with `_low` and `_high`: its 95% bootstrap interval."""
    rows = []
    for place, group in table.groupby(by, sort=False):
        row: dict[str, Any] = dict(zip(by, place, strict=True))
        for name in values:
            low, high = bootstrap_interval(group[name])
            row |= {name: group[name].mean(), f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def with_trend(learning: pd.DataFrame) -> pd.DataFrame:
    """The mean changes with `trend`: falling or rising where the interval over concepts says so."""
    trend = np.select(
        [learning["change_high"] < 0, learning["change_low"] > 0], ["falling", "rising"], "none"
    )
    return learning.assign(trend=trend)


def report(tables: dict[str, pd.DataFrame]) -> str:
    """The findings as Markdown."""
    methods = list(dict.fromkeys(tables["shares"]["method"]))
    concepts = tables["shares"]["concept"].nunique()
    lines = [
        "# What the noise is made of",
        "",
        f"Made by `python -m experiments.noise`: {len(methods)} methods on the bundled model, "
        f"{concepts} concepts that nothing was chosen on, {PAIRS} pairs of {OF_PAIR} samples at "
        f"each probed checkpoint, drawn for each concept by a seed of its own. Means and 95% "
        f"bootstrap intervals over concepts and their draws. The figures are those of {DRAWN}.",
        "",
        "## Shares of the batch loss's variance",
        "",
        "First order: what goes away where the factor alone is fixed. Total: what stays where all "
        "others are fixed. An estimate may come out below 0.",
        "",
        "![Shares by step](../../figures/7-shares.png)",
        "",
    ]
    rows = [["method", "factor", "first order, start", "first order, end", "total, end"]]
    for method in methods:
        shares = tables["shares"][tables["shares"]["method"] == method]
        found = over_concepts(shares, ["step", "factor"], ["first", "total"])
        begun, ended = (
            found[found["step"] == step].set_index("factor")
            for step in (found["step"].min(), found["step"].max())
        )
        for factor in FACTORS:
            cells = [
                method,
                factor,
                percent(begun.loc[factor], "first"),
                percent(ended.loc[factor], "first"),
                percent(ended.loc[factor], "total"),
            ]
            rows.append(cells)
    lines += [
        markdown(rows, left=(0, 1)),
        "",
        "## By timestep",
        "",
        "Change of the loss from start to end, relative to the start. Beside it, in how many of "
        "the concepts the loss was still surely falling (▼) or rising (▲) in the last third of the "
        "checkpoints, at least three of them.",
        "",
        "![Loss by timestep, and its change](../../figures/9-loss-by-timestep.png)",
        "",
    ]
    rows = [["timesteps", *methods]]
    last = tables["timesteps"]["step"].max()
    losses = tables["timesteps"][tables["timesteps"]["step"] == last]
    for index, bin_losses in losses.groupby("bin"):
        edge = bin_losses.iloc[0]
        cells = [f"{edge['from']}–{edge['to'] - 1}"]
        for method in methods:
            here = bin_losses[bin_losses["method"] == method]
            learning = tables["learning"]
            own = learning[(learning["method"] == method) & (learning["bin"] == index)]
            trends = own["trend"].value_counts()
            (row,) = over_concepts(here, ["step", "bin"], ["relative"]).to_dict("records")
            marks = f"{trends.get('falling', 0)} ▼ {trends.get('rising', 0)} ▲"
            cells.append(f"{percent(row, 'relative')}; {marks}")
        rows.append(cells)
    return "\n".join([*lines, markdown(rows)]) + "\n"


def percent(row: Any, name: str) -> str:
    """A mean and its interval, in percent."""
    middle, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{middle:.1f}% ({low:.1f} to {high:.1f})"
