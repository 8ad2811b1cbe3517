"""When DVAR stops: L_det with the stop on it, above the ratio that decides."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from noiseprobe.plots.style import (
    COLUMN,
    FONT_SIZE,
    GHOST,
    INK,
    colour_of,
    dress,
    marker_for,
    measured,
    new_figure,
    whole_steps,
)


def dvar_figure(
    train: pd.DataFrame,
    threshold: float,
    stop_step: int | None = None,
    figure: Figure | None = None,
) -> Figure:
    """L_det over training steps with the stop, and below it the DVAR ratio with its threshold.

    The ratio is var(last window)/var(all so far) of L_det, on a logarithmic axis. Steps after the
    stop are shaded: stopping there would have saved them. The axes are labelled `l_det` and
    `dvar_ratio`.

    Args:
        train: the training trace (`noiseprobe.run.traces.TRAIN_COLUMNS`).
        threshold: the ratio below which DVAR stops.
        stop_step: the step at which it stopped; None if it did not.
        figure: where to draw; a new figure if None.
    """
    figure = figure or new_figure(COLUMN, 3.2)
    above, below = figure.subplots(2, 1, sharex=True)
    above.set_label("l_det")
    below.set_label("dvar_ratio")
    l_det = measured(train["step"], train["l_det"])
    ratio = measured(train["step"], train["dvar_ratio"])
    # A ratio of 0 (a flat window) has no place on a logarithmic axis.
    ratio = ratio[ratio > 0]
    above.plot(l_det.index, l_det, color=INK, lw=1.2, marker=marker_for(l_det), ms=3)
    below.plot(ratio.index, ratio, color=INK, lw=1.2, marker=marker_for(ratio), ms=3)
    below.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    below.yaxis.set_major_formatter(plain)
    # Within one decade the numbers between are needed; over several they would be a crowd.
    narrow = min(ratio.min(), threshold) * 10 > max(ratio.max(), threshold)
    below.yaxis.set_minor_formatter(plain if narrow else NullFormatter())
    below.tick_params(which="minor", labelsize=FONT_SIZE)
    line = below.axhline(threshold, color=colour_of("noise"), lw=1, ls="--")
    # Above the panel: wherever it stood inside, some run's ratio would cross it.
    below.legend(
        [line],
        [f"threshold {threshold:g}"],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        fontsize=FONT_SIZE,
        frameon=False,
        borderpad=0,
        borderaxespad=0.2,
    )
    if ratio.empty:
        note = "no ratio yet: fewer values than the window"
        below.text(0.5, 0.8, note, transform=below.transAxes, ha="center", fontsize=FONT_SIZE)
    above.set_ylabel("deterministic\nloss $L_{\\mathrm{det}}$")
    below.set_ylabel("DVAR ratio")
    below.set_xlabel("training step")
    for axes in (above, below):
        dress(axes)
        whole_steps(axes, 6)
    if stop_step is not None:
        _mark_stop(figure, l_det, stop_step)
    figure.align_ylabels([above, below])
    return figure


def _mark_stop(figure: Figure, l_det: pd.Series, stop_step: int) -> None:
    last = l_det.index.max() if len(l_det) else stop_step
    for axes in figure.axes:
        if last > stop_step:
            axes.axvspan(stop_step, last, color=GHOST, alpha=0.3, lw=0)
        axes.axvline(stop_step, color=colour_of("timesteps"), lw=1.2, label="stop")
    above = figure.axes[0]
    if stop_step in l_det.index:
        above.plot([stop_step], [l_det.loc[stop_step]], "o", color=colour_of("timesteps"), ms=4)
    first = l_det.index.min() if len(l_det) else stop_step
    share = (stop_step - first) / max(last - first, 1)
    above.annotate(
        f"stop at step {stop_step}",
        (stop_step, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="left" if share < 0.2 else "right" if share > 0.8 else "center",
        va="bottom",
        fontsize=FONT_SIZE,
        color=colour_of("timesteps"),
    )
