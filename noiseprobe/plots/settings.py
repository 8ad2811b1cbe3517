"""The semi-deterministic panel: the loss curve that each source of randomness would show."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from noiseprobe.analysis import as_seen, batch_losses, deterministic_losses, settings_in_order
from noiseprobe.plots.style import (
    FONT_SIZE,
    GHOST,
    INK,
    PAGE,
    colour_of,
    dress,
    key_above,
    marker_for,
    measured,
    new_figure,
    plain_name,
    whole_steps,
)


def settings_figure(probe: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """The batch loss over training steps under each setting, side by side on one y axis.

    In each panel: as a line the trace as a user would see it, with a fresh redraw at each
    evaluation (`noiseprobe.analysis.as_seen`); as faint points all replicates; as a grey ghost
    behind, the trace where nothing is redrawn. Where a few heavy outliers would flatten all else,
    the y axis leaves them out, triangles at its edge stand in their place, and a note counts them.
    Each axes is labelled with its setting.

    Args:
        probe: the probe trace (`noiseprobe.run.traces.PROBE_COLUMNS`).
        figure: where to draw; a new figure if None.
    """
    settings = settings_in_order(probe)
    figure = figure or new_figure(PAGE * max(len(settings), 5) / 7, 2.3)
    if not settings:
        return figure
    losses = batch_losses(probe)
    losses = losses[np.isfinite(losses["loss"])]
    fixed = deterministic_losses(probe)
    ghost = measured(fixed.index, fixed)
    limits = _limits(losses)
    panels = figure.subplots(1, len(settings), sharex=True, sharey=True, squeeze=False)[0]
    for axes, setting in zip(panels, settings, strict=True):
        axes.set_label(setting)
        axes.set_title(_title(setting))
        _draw_setting(axes, probe, losses[losses["setting"] == setting], ghost, setting)
        if limits is not None:
            axes.set_ylim(*limits)
            _mark_beyond(axes, losses[losses["setting"] == setting], limits, colour_of(setting))
        dress(axes)
        whole_steps(axes, 3)
    panels[0].set_ylabel("batch loss")
    figure.supxlabel("training step", fontsize=FONT_SIZE)
    key_above(
        figure,
        [
            Line2D([], [], color=INK, lw=0.9),
            Line2D([], [], color=INK, ls="", marker="o", ms=2, alpha=0.5),
            Line2D([], [], color=GHOST, lw=2),
        ],
        ["as seen: a fresh redraw each time", "all redraws", "nothing redrawn"],
    )
    return figure


def _title(setting: str) -> str:
    if setting == "deterministic":
        return "nothing\nredrawn"
    if setting == "original":
        return "everything\nredrawn"
    if "+" in setting:
        return plain_name(setting).replace(" + ", "\n+ ") + "\nredrawn"
    return f"only {plain_name(setting)}\nredrawn"


def _draw_setting(
    axes: Axes, probe: pd.DataFrame, redraws: pd.DataFrame, ghost: pd.Series, setting: str
) -> None:
    colour = colour_of(setting)
    if setting == "deterministic":
        axes.plot(ghost.index, ghost, color=colour, lw=1.2, marker=marker_for(ghost), ms=3)
        return
    # Drawn as pixels: a long run has 10^5 replicates, too many for an SVG to hold one by one.
    axes.plot(
        redraws["step"],
        redraws["loss"],
        color=colour,
        linestyle="",
        marker="o",
        markersize=2,
        markeredgewidth=0,
        alpha=0.25,
        rasterized=True,
    )
    axes.plot(ghost.index, ghost, color=GHOST, lw=2, marker=marker_for(ghost), ms=5, label="ghost")
    trace = as_seen(probe, setting)
    line = measured(trace.index, trace)
    axes.plot(line.index, line, color=colour, lw=0.9, marker=marker_for(line), ms=3, label="seen")


def _limits(losses: pd.DataFrame) -> tuple[float, float] | None:
    """The shared y axis: all losses of each setting but those beyond its outer fences.

    The outer fences lie 3 interquartile ranges beyond the quartiles (Tukey, Exploratory Data
    Analysis, 1977). Where nothing is redrawn, all is progress, not scatter, and is never cut.
    """
    if losses.empty:
        return None
    lowest, highest = [], []
    for setting, group in losses.groupby("setting")["loss"]:
        low, high = float(group.min()), float(group.max())
        if setting != "deterministic":
            first, third = group.quantile([0.25, 0.75])
            low = max(low, first - 3 * (third - first))
            high = min(high, third + 3 * (third - first))
        lowest.append(low)
        highest.append(high)
    low, high = min(lowest), max(highest)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _mark_beyond(
    axes: Axes, redraws: pd.DataFrame, limits: tuple[float, float], colour: str
) -> None:
    """Triangles at the edge of the y axis where losses lie beyond it, and how many they are."""
    for edge, beyond, marker, height, alignment in (
        (limits[1], redraws["loss"] > limits[1], "^", 0.95, "top"),
        (limits[0], redraws["loss"] < limits[0], "v", 0.05, "bottom"),
    ):
        if beyond.any():
            steps = redraws["step"][beyond].unique()
            axes.plot(steps, np.full(len(steps), edge), color=colour, ls="", marker=marker, ms=4)[
                0
            ].set_clip_on(False)
            axes.text(
                0.97,
                height,
                f"{int(beyond.sum())} beyond",
                transform=axes.transAxes,
                ha="right",
                va=alignment,
                fontsize=FONT_SIZE,
            )
