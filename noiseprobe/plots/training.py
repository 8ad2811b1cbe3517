"""What users stare at, and what they should look at: similarity, training loss, L_det."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from noiseprobe.plots.style import (
    COLUMN,
    INK,
    colour_of,
    dress,
    key_above,
    marker_for,
    measured,
    new_figure,
    whole_steps,
)

_LABELS = {
    "clip_img": "CLIP similarity\nto photographs",
    "loss": "training loss",
    "grad_norm": "gradient norm",
    "l_det": "deterministic\nloss $L_{\\mathrm{det}}$",
}


def training_figure(train: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """CLIP similarity, training loss, gradient norm and L_det over steps, a panel each, sharing x.

    Training loss and gradient norm are thin raw lines with a running median over a twelfth of the
    values. A column without a finite value has no panel. Each axes is labelled with its column.

    Args:
        train: the training trace (`noiseprobe.run.traces.TRAIN_COLUMNS`).
        figure: where to draw; a new figure if None.
    """
    traces = {column: measured(train["step"], train[column]) for column in _LABELS}
    shown = {column: trace for column, trace in traces.items() if not trace.empty}
    figure = figure or new_figure(COLUMN, 0.4 + 1.25 * max(len(shown), 1))
    if not shown:
        return figure
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    key: dict[str, Line2D] = {}
    for axes, (column, trace) in zip(panels, shown.items(), strict=True):
        axes.set_label(column)
        axes.set_ylabel(_LABELS[column])
        marker = marker_for(trace)
        if column == "l_det":
            axes.plot(trace.index, trace, color=INK, lw=1.2, marker=marker, ms=3)
        elif column == "clip_img":
            axes.plot(trace.index, trace, color=colour_of("noise"), lw=1.2, marker="o", ms=2.5)
        else:
            colour = colour_of("original")
            (raw,) = axes.plot(trace.index, trace, color=colour, lw=0.5, marker=marker, ms=3)
            window = max(len(trace) // 12, 1) | 1
            if window > 1:
                median = trace.rolling(window, center=True, min_periods=1).median()
                (smooth,) = axes.plot(median.index, median, color=INK, lw=1)
                key = {"each step": raw, f"running median of {window}": smooth}
        dress(axes)
        whole_steps(axes, 6)
    panels[-1].set_xlabel("training step")
    if key:
        # Above the panels: inside, the spikes of the raw line would cross it.
        key_above(figure, list(key.values()), list(key))
    figure.align_ylabels(panels)
    return figure
