"""When DVAR stops: L_det with the stop on it, above the ratio that decides."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from noiseprobe.plots.rows import put_value
from noiseprobe.plots.saving import figure_of
from noiseprobe.plots.style import (
    COLUMN,
    FONT_SIZE,
    GHOST,
    INK,
    colour_of,
    dress,
    mark_step,
    marker_for,
    measured,
    put_heading,
    several_panels,
    styled,
    whole_steps,
)
from noiseprobe.stopping.window import shown_window, window_after


@styled
def plot_dvar(
    train: pd.DataFrame,
    threshold: float,
    stop_step: int | None = None,
    axes: Sequence[Axes] | None = None,
    window: float | None = None,
    every: int = 1,
) -> list[Axes]:
    """L_det over training steps with the stop, and below it the DVAR ratio with its threshold.

    The ratio is var(last window)/var(all so far) of L_det, on a logarithmic axis; where it is 0, a
    triangle stands at the lower edge. Before there are as many values as the window there is none:
    those steps are hatched. Steps after the stop are grey: stopping there would have saved them.
    The panels are labelled `l_det` and `dvar_ratio`.

    Args:
        train: the training trace (`noiseprobe.run.traces.TRAIN_COLUMNS`).
        threshold: the ratio below which DVAR stops.
        stop_step: the step at which it stopped; None if it did not.
        axes: where to draw, two panels; a new figure if None.
        window: how many values DVAR compares with all, or which share; words then say it.
        every: for how many steps each value stands; the window is in steps then.
    """
    panels = several_panels(
        axes, ("l_det", "dvar_ratio"), COLUMN, 3.0, down=True, sharex=True, height_ratios=(5, 4)
    )
    above, below = panels
    l_det = measured(train["step"], train["l_det"])
    ratio = measured(train["step"], train["dvar_ratio"])
    if len(l_det):
        _draw(above, l_det)
    for ax in panels:
        dress(ax)
        whole_steps(ax, 6)
    _draw_ratio(below, ratio, threshold)
    if len(ratio):
        _mark_earliest(below, int(ratio.index.min()), l_det)
        last = ratio.index.max()
        below.plot([ratio.index.min(), last], [threshold] * 2, color=INK, lw=1, ls="--")
        put_value(below, threshold, f"stop below\n{threshold:g}")
    else:
        _say_why_empty(below, len(l_det), window, every)
    above.set(xlabel="", ylabel="deterministic\nloss $L_{\\mathrm{det}}$")
    compared = f"last {shown_window(window)}" if window else "last values"
    below.set(xlabel="training step", ylabel=f"DVAR ratio: var of\n{compared} / of all")
    if stop_step is not None:
        _mark_stop(panels, l_det, stop_step)
    figure_of(panels).align_ylabels(panels)
    return panels


def _draw(ax: Axes, trace: pd.Series) -> None:
    sns.lineplot(x=trace.index, y=trace, color=INK, marker=marker_for(trace), errorbar=None, ax=ax)


def _draw_ratio(ax: Axes, ratio: pd.Series, threshold: float) -> None:
    ax.set_yscale("log")
    # A ratio of 0 (a flat window) has no place on a logarithmic axis.
    above_0, flat = ratio[ratio > 0], ratio[ratio <= 0]
    if len(above_0):
        _draw(ax, above_0)
    if len(flat):
        edge = ax.get_xaxis_transform()
        ax.plot(flat.index, np.zeros(len(flat)), "v", color=INK, ms=4, transform=edge)
        put_heading(ax, "▼ ratio is 0", "right")
    values = [*above_0, threshold]
    ax.set_ylim(min(values) / 1.5, max(values) * 1.5)
    # Within one decade the numbers between are needed; over several they would be a crowd.
    narrow = min(values) * 10 > max(values)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=6))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def _mark_earliest(ax: Axes, earliest: int, l_det: pd.Series) -> None:
    """Hatch the steps at which no stop was possible, since a window was not full yet."""
    low, high = ax.get_xlim()
    if earliest <= l_det.index.min():
        return
    ax.axvspan(low, earliest, facecolor="none", edgecolor="#d8d8d8", hatch="////", lw=0)
    ax.set_xlim(low, high)
    if earliest - low > 0.5 * (high - low):
        ax.text(
            (low + earliest) / 2,
            0.5,
            f"no stop possible\nbefore step {earliest}",
            transform=ax.get_xaxis_transform(),
            ha="center",
            va="center",
            fontsize=FONT_SIZE,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )
    else:
        put_heading(ax, f"no stop possible before step {earliest}", "left")


def _say_why_empty(ax: Axes, values: int, window: float | None, every: int) -> None:
    ax.set_yticks([], [])
    unit, here = ("values", values) if every == 1 else ("steps", max(values - 1, 0) * every)
    needed = f"the last {window_after(window, 0)} {unit}" if window else f"a window of {unit}"
    words = f"no stop possible: DVAR compares\n{needed} of $L_{{\\mathrm{{det}}}}$; here are {here}"
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=FONT_SIZE)


def _mark_stop(panels: Sequence[Axes], l_det: pd.Series, stop_step: int) -> None:
    above, below = panels
    last = l_det.index.max() if len(l_det) else stop_step
    mark_step(panels, stop_step, f"stop at step {stop_step}")
    if last > stop_step:
        for ax in panels:
            ax.axvspan(stop_step, last, color=GHOST, alpha=0.35, lw=0)
        below.set_xlabel("training step (grey: saved)")
    if stop_step in l_det.index:
        above.plot([stop_step], [l_det.loc[stop_step]], "o", color=colour_of("timesteps"), ms=4)
