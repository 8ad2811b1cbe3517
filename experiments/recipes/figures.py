"""The figure of the study: the error of each layout at an evaluation, and at equal compute."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from noiseprobe.draws.factors import TRAINERS
from noiseprobe.plots.rows import draw_rows, name_rows
from noiseprobe.plots.saving import save
from noiseprobe.plots.style import FONT_SIZE, PAGE, colour_of, new_figure, styled

OURS, THEIRS = colour_of("noise"), colour_of("timesteps")


def draw_figure(
    errors: pd.DataFrame, bias: pd.DataFrame, equal: pd.DataFrame, folder: Path
) -> list[Path]:
    """Write the figure into `folder`; returns its paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return save(figure_of(errors, bias, equal), folder / "recipes")


@styled
def figure_of(errors: pd.DataFrame, bias: pd.DataFrame, equal: pd.DataFrame) -> Figure:
    """Left the error of an evaluation and its bias, right the error at equal compute.

    Tables are by layout: `value`, `low`, `high`, `passes`. Layouts are in the order of the last.
    """
    order = equal.sort_values("value").index
    figure = new_figure(PAGE, 0.9 + 0.2 * len(order))
    panels = figure.subplots(1, 2, sharey=True)
    titles = "at an evaluation (×: its bias)", "at one forward pass per step of training"
    for ax, table, title in zip(panels, (errors, equal), titles, strict=True):
        ax.set_label(title)
        draw_rows(ax, table.loc[order], "value", "low", "high", colour)
        name_rows(ax, [named(str(name), errors) for name in order])
        ax.set_xlim(left=0)
        ax.set_xlabel("")
        ax.set_title(title, loc="left")
    for row, name in enumerate(order):
        panels[0].plot(bias["value"][name], row, "x", color=colour(str(name)), ms=4, clip_on=False)
    panels[1].tick_params(axis="y", labelleft=False)
    figure.supxlabel(
        "error, share of the gain; blue: ours, orange: as other trainers validate (forward passes "
        "per evaluation)",
        fontsize=FONT_SIZE,
    )
    return figure


def named(layout: str, errors: pd.DataFrame) -> str:
    """Its name, and the price where the name does not have it."""
    return f"{layout} ({errors['passes'][layout]:g})" if layout in TRAINERS else layout


def colour(layout: str) -> str:
    """Of a trainer's layout, or of one of ours."""
    return THEIRS if layout in TRAINERS else OURS
