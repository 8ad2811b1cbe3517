"""What users stare at, and what they should look at: similarity, training loss, L_det."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from noiseprobe.plots.panels import say
from noiseprobe.plots.rows import put_value
from noiseprobe.plots.saving import figure_of
from noiseprobe.plots.style import (
    COLUMN,
    INK,
    colour_of,
    dress,
    key_above,
    literal,
    mark_step,
    marker_for,
    measured,
    put_heading,
    several_panels,
    styled,
    whole_steps,
)

L_DET = "$L_{\\mathrm{det}}$"

_LABELS = {
    "clip_img": "CLIP similarity\nto photographs",
    "grad_norm": "gradient norm",
    "loss": "training loss",
    "l_det": f"deterministic\nloss {L_DET}",
}
_NOISY = ("grad_norm", "loss")


@styled
def plot_training(
    train: pd.DataFrame,
    axes: Sequence[Axes] | None = None,
    stop: tuple[str, int] | None = None,
) -> list[Axes]:
    """CLIP similarity, gradient norm, training loss and L_det over steps, a panel each, sharing x.

    Gradient norm and training loss are a dot per step, with a running median over a twelfth of the
    values. L_det is there twice: as a line on the axis of the training loss, to scale, and below it
    enlarged, with the number of times. A star marks the best step, that of the highest similarity
    or, where it was not checked, of the lowest L_det. A column without a finite value has no panel.
    Each panel is labelled with its column.

    Args:
        train: the training trace (`noiseprobe.run.traces.TRAIN_COLUMNS`).
        axes: where to draw, one for each of these columns that has a finite value; a new figure if
            None.
        stop: the criterion that stops training and the step at which it does, which a line marks;
            None if none does.
    """
    traces = {column: measured(train["step"], train[column]) for column in _LABELS}
    shown = {column: trace for column, trace in traces.items() if not trace.empty}
    labels = list(shown) or ["training"]
    height = 0.5 + 1.2 * len(labels)
    panels = several_panels(axes, labels, COLUMN, height, down=True, sharex=True)
    if not shown:
        say(panels[0], "nothing recorded")
        return panels
    by_column = dict(zip(shown, panels, strict=True))
    key: dict[str, Artist] = {}
    for column, ax in by_column.items():
        trace = shown[column]
        if column in _NOISY:
            key |= _draw_noisy(ax, trace)
        else:
            _draw_line(ax, trace, colour_of("noise") if column == "clip_img" else INK)
            if column == "clip_img":
                ax.lines[-1].set_marker("o")
        ax.set(xlabel="", ylabel=_LABELS[column])
        dress(ax)
        whole_steps(ax, 6)
    if {"loss", "l_det"} <= by_column.keys():
        _draw_to_scale(by_column["loss"], by_column["l_det"], shown["l_det"])
    _mark_best(by_column, shown)
    panels[-1].set_xlabel("training step")
    if stop is not None:
        words = f"{literal(stop[0])} stops: step {stop[1]}"
        free = [ax for ax in panels if not ax.texts]
        mark_step(panels, stop[1], words if free else "", free[0] if free else None)
        if not free:
            panels[-1].set_xlabel(f"training step ({words})")
    figure = figure_of(panels)
    if key:
        # Above the panels: inside, the spikes of the losses would cross it.
        key_above(figure, list(key.values()), list(key))
    figure.align_ylabels(panels)
    return panels


def _draw_noisy(ax: Axes, trace: pd.Series) -> dict[str, Artist]:
    """A dot per step with a running median; returns the key to them."""
    colour = colour_of("original")
    size, alpha = (7, 0.6) if len(trace) < 500 else (3, 0.35)
    # Drawn as pixels: a long run has too many steps for an SVG to hold them one by one.
    sns.scatterplot(
        x=trace.index,
        y=trace,
        color=colour,
        s=size,
        linewidth=0,
        alpha=alpha,
        rasterized=True,
        ax=ax,
    )
    key: dict[str, Artist] = {"each step": Line2D([], [], color=colour, ls="", marker="o", ms=3)}
    window = max(len(trace) // 12, 1) | 1
    if window > 1:
        median = trace.rolling(window, center=True, min_periods=1).median()
        sns.lineplot(x=median.index, y=median, color=_DARK, lw=1, ls=_DASHES, ax=ax, errorbar=None)
        key[f"running median of {window}"] = Line2D([], [], color=_DARK, lw=1, ls=_DASHES)
    if trace.min() >= 0:
        ax.set_ylim(bottom=0)
    return key


_DARK = "#8a4070"
_DASHES = (0, (3, 1))


def _draw_line(ax: Axes, trace: pd.Series, colour: str) -> None:
    sns.lineplot(
        x=trace.index, y=trace, color=colour, marker=marker_for(trace), errorbar=None, ax=ax
    )


def _draw_to_scale(ax: Axes, enlarged: Axes, l_det: pd.Series) -> None:
    """L_det as a line on the axis of the training loss; how much larger it is in its own panel."""
    _draw_line(ax, l_det, INK)
    put_value(ax, float(l_det.iloc[-1]), L_DET)
    times = np.ptp(ax.get_ylim()) / np.ptp(enlarged.get_ylim())
    if times >= 1.5:
        put_heading(enlarged, f"{L_DET}, enlarged {times:.0f}×", "left")


def _mark_best(panels: Mapping[str, Axes], shown: Mapping[str, pd.Series]) -> None:
    column = "clip_img" if "clip_img" in shown else "l_det"
    if column not in shown or len(shown[column]) < 2:
        return
    highest = column == "clip_img"
    trace, ax = shown[column], panels[column]
    best = trace.index.to_list()[trace.argmax() if highest else trace.argmin()]
    ax.plot(
        [best], [trace.loc[best]], ls="", marker="*", ms=8, color=INK, mec="white", label="best"
    )[0].set_clip_on(False)
    put_heading(ax, f"★ {'highest' if highest else 'lowest'}: step {best}", "right")
