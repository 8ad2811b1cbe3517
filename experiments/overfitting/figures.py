"""The three figures of the study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.overfitting.criteria import REFERENCE, TURN
from experiments.overfitting.raw import LOW, Curves
from experiments.overfitting.report import BEST_OF, Found
from experiments.overfitting.worth import JUDGES, difference, gap, per_concept
from noiseprobe.plots.rows import draw_rows, mark_place, name_rows
from noiseprobe.plots.saving import save
from noiseprobe.plots.style import (
    FONT_SIZE,
    INK,
    PAGE,
    colour_of,
    dress,
    key_above,
    new_figure,
    styled,
    whole_steps,
)

LOSSES = {
    "l_det": ("L_det: trained on", INK),
    "l_val": ("l_val: held out", colour_of("timesteps")),
    "loss_judge": ("unseen", colour_of("noise")),
}
"""The losses of the first figure: what each is called, and its colour."""

MARKS = {REFERENCE: ("DVAR", ":"), TURN: ("turn", "--")}
"""The criteria whose steps it marks: what each is called, and its line."""


def draw_figures(found: Found, folder: Path) -> list[Path]:
    """Write the figures into `folder`; returns their paths."""
    drawn = {
        "losses": losses_figure(found),
        "best-steps": best_figure(found),
        "worth": worth_figure(found),
    }
    return [path for name, figure in drawn.items() for path in save(figure, folder / name)]


@styled
def losses_figure(found: Found) -> Figure:
    """A panel per method: how each loss changes from step 0, with 95% intervals over things."""
    figure = new_figure(PAGE, 2.3)
    panels = figure.subplots(1, len(found.methods), squeeze=False)[0]
    for ax, method in zip(panels, found.methods, strict=True):
        ax.set_label(method)
        runs = [run for run in found.held if run.method == method]
        for name, (_, colour) in LOSSES.items():
            draw_band(ax, changes_by_step(runs, name), colour)
        ax.axhline(0, color=INK, lw=0.6, zorder=1)
        for criterion, (words, style) in MARKS.items():
            rows = found.table[
                (found.table["criterion"] == criterion) & (found.table["method"] == method)
            ]
            ax.axvline(float(rows["kept"].median()), color=INK, lw=0.9, ls=style, label=words)
        dress(ax)
        whole_steps(ax, 4)
        ax.set_xlim(0, max(run.last for run in runs))
        ax.set_title(method, loc="left")
    panels[0].set_ylabel("loss less that of step 0")
    figure.supxlabel("step", fontsize=FONT_SIZE)
    lines = [panels[0].lines[place] for place in range(len(LOSSES))]
    marks = [line for line in panels[0].lines if line.get_label() in {"DVAR", "turn"}]
    names = [words for words, _ in LOSSES.values()]
    names += [f"{mark.get_label()}: median step kept" for mark in marks]
    key_above(figure, [*lines, *marks], names)
    return figure


def changes_by_step(runs: Sequence[Curves], name: str) -> pd.DataFrame:
    """A row per step: the mean change from step 0 over things, and its interval."""
    steps = runs[0].series("loss_judge")[0]
    rows = []
    for step in steps:
        table = pd.DataFrame(
            {
                "concept": [run.concept for run in runs],
                "method": [run.method for run in runs],
                "change": [run.at(name, step) - run.at(name, 0) for run in runs],
            }
        )
        own = gap(per_concept(table, "change"))
        rows.append((step, own.mean, own.low, own.high))
    return pd.DataFrame(rows, columns=["step", "mean", "low", "high"])


def draw_band(ax: Axes, table: pd.DataFrame, colour: str) -> None:
    """A line, and its interval as a band."""
    ax.plot(table["step"], table["mean"], color=colour)
    ax.fill_between(table["step"], table["low"], table["high"], color=colour, alpha=0.2, lw=0)


@styled
def best_figure(found: Found) -> Figure:
    """A panel per method, a row per measure: the step at which it is best, also by thing."""
    table = found.best_steps()
    names = [name for name in BEST_OF if name in table]
    figure = new_figure(PAGE, 0.7 + 0.24 * len(names))
    panels = figure.subplots(1, len(found.methods), squeeze=False)[0]
    for place, (ax, method) in enumerate(zip(panels, found.methods, strict=True)):
        ax.set_label(method)
        rows = table[table["method"] == method]
        means = []
        for row, name in enumerate(names):
            own = per_concept(rows, name)
            ax.plot(own, np.full(len(own), row), "o", color=INK, alpha=0.18, ms=3, mew=0)
            told = gap(own)
            means.append((told.mean, told.low, told.high))
        summary = pd.DataFrame(means, [BEST_OF[name] for name in names], ["mean", "low", "high"])
        draw_rows(ax, summary, "mean", "low", "high", lambda _: colour_of("timesteps"))
        name_rows(ax, [str(name) for name in summary.index])
        whole_steps(ax, 4)
        ax.set_xlim(-0.04 * rows["last"].max(), 1.04 * rows["last"].max())
        ax.set_xlabel("")
        ax.set_title(method, loc="left")
        ax.tick_params(axis="y", labelleft=place == 0)
    figure.supxlabel("step at which it is best: things, and their mean", fontsize=FONT_SIZE)
    return figure


@styled
def worth_figure(found: Found) -> Figure:
    """A panel per judge, a row per criterion: what it is worth less DVAR on L_det."""
    names = [name for name in found.rules if name != REFERENCE]
    judges = [judge for judge in JUDGES if judge != "copying_pixel"]
    figure = new_figure(PAGE, 2 * (0.75 + 0.2 * len(names)))
    panels = figure.subplots(2, 3).ravel()
    for place, (ax, judge) in enumerate(zip(panels, judges, strict=True)):
        ax.set_label(judge)
        gaps = [difference(found.table, judge, name, REFERENCE) for name in names]
        ends = [(each.mean, each.low, each.high) for each in gaps]
        summary = pd.DataFrame(ends, names, ["mean", "low", "high"])
        mark_place(ax, 0.0, "")
        draw_rows(ax, summary, "mean", "low", "high", lambda _: INK)
        name_rows(ax, names)
        ax.set_xlabel("")
        ax.locator_params(axis="x", nbins=4)
        words = JUDGES[judge].replace("photographs", "ones").replace("photograph", "one")
        ax.set_title(f"{words}\nbetter: {'left' if judge in LOW else 'right'}", loc="left")
        ax.tick_params(axis="y", labelleft=place % 3 == 0)
    figure.supxlabel(
        f"less that of {REFERENCE} on the same runs, with 95% intervals over things",
        fontsize=FONT_SIZE,
    )
    return figure
