"""The one look of all figures: sizes, colours, and what every panel has in common.

Panels are drawn with seaborn's axes-level functions inside `look`, which sets seaborn's style and
context for as long as a figure is being drawn and leaves the global state as it was. Figures are
built with matplotlib's object interface: pyplot's global list of figures is never touched, so that
they can be drawn headless and from any thread.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, MaxNLocator
from numpy.typing import NDArray

from noiseprobe.core.words import visible

Parameters = ParamSpec("Parameters")
Drawn = TypeVar("Drawn")

FONT_SIZE = 8.0
"""Points at the printed size; no text in a figure is smaller."""

COLUMN, PAGE = 3.5, 7.2
"""Widths in inches of one column and of a whole page in print."""

INK, GHOST, FRAME = "#1a1a1a", "#c4c4c4", "#8c8c8c"

_COLOURS = {
    "deterministic": INK,
    "images": "#e69f00",
    "captions": "#56b4e9",
    "vae_noise": "#009e73",
    "timesteps": "#d55e00",
    "noise": "#0072b2",
    "original": "#cc79a7",
}
"""One fixed colour per setting, from Okabe & Ito, Color Universal Design (2008)."""

_NAMES = {"vae_noise": "VAE noise", "original": "all five", "deterministic": "nothing redrawn"}

_UNITS = ((1_000_000, "M"), (1_000, "k"), (1, ""))

_STYLE = {
    "axes.edgecolor": FRAME,
    "axes.grid": True,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "#e6e6e6",
    "font.family": ["sans-serif"],
    "text.color": INK,
    "axes.labelcolor": INK,
}
_CONTEXT = {
    "font.size": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "axes.titlesize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "legend.title_fontsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.0,
}

DRAWING = RLock()
"""Styles are matplotlib's global state, so that one thread at a time may set them."""


@contextmanager
def look() -> Iterator[None]:
    """Seaborn's style and context of our figures, for the length of the block."""
    with DRAWING, sns.axes_style("ticks", _STYLE), sns.plotting_context("paper", rc=_CONTEXT):
        yield


def styled(plot: Callable[Parameters, Drawn]) -> Callable[Parameters, Drawn]:
    """A plot function that draws inside `look`."""

    @functools.wraps(plot)
    def inside(*args: Parameters.args, **named: Parameters.kwargs) -> Drawn:
        with look():
            return plot(*args, **named)

    return inside


def colour_of(setting: str) -> str:
    """The fixed colour of a setting; grey for one that has no name of its own."""
    return _COLOURS.get(setting, "#666666")


def plain_name(setting: str) -> str:
    """The setting in plain words: `vae_noise` is "VAE noise", `a+b` is "a + b"."""
    return " + ".join(_NAMES.get(factor, factor) for factor in setting.split("+"))


def literal(text: str) -> str:
    """Text from outside, such as a file's name, to be shown letter by letter: no mathtext.

    What cannot be printed is spelt, for an SVG with it would be none.
    """
    plain = visible(text, keep="\n").encode("utf-8", "replace").decode()
    return plain.replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, `width` × `height` inches, whose layout makes room for all labels."""
    return Figure(figsize=(width, height), layout="constrained")


def one_panel(ax: Axes | None, width: float, height: float, label: str) -> Axes:
    """`ax`, or else that of a new figure, `width` × `height` inches; labelled either way.

    The label tells a panel from others in code and tests; it is not shown.
    """
    ax = ax if ax is not None else new_figure(width, height).subplots()
    ax.set_label(label)
    return ax


def several_panels(
    axes: Sequence[Axes] | NDArray[Any] | None,
    labels: Sequence[str],
    width: float,
    height: float,
    down: bool = False,
    **layout: Any,
) -> list[Axes]:
    """As many panels as labels, those given or else of a new figure: across, or `down`.

    Args:
        axes: where to draw, one for each label; a new figure, `width` × `height` inches, if None.
        layout: of `Figure.subplots`, for a new figure.

    Raises:
        ValueError: there are not as many axes as labels.
    """
    if axes is None:
        shape = (len(labels), 1) if down else (1, len(labels))
        axes = new_figure(width, height).subplots(*shape, squeeze=False, **layout)
    found = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(found) != len(labels):
        raise ValueError(f"axes: {len(found)} given; this figure has {len(labels)} panels")
    for ax, label in zip(found, labels, strict=True):
        ax.set_label(label)
    return found


def dress(axes: Axes) -> None:
    """Give `axes` the common look, also one that was made elsewhere.

    Ticks are made when a figure is saved, outside `look`, so that they are told their look here.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.spines[["left", "bottom"]].set_linewidth(0.6)
    axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=FONT_SIZE, color=FRAME, length=2.5, width=0.6, pad=2)
    axes.xaxis.label.set_fontsize(FONT_SIZE)
    axes.yaxis.label.set_fontsize(FONT_SIZE)
    axes.title.set_fontsize(FONT_SIZE)


def key_above(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A one-line key above all panels of `figure`, where no data can run through it."""
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(labels),
        fontsize=FONT_SIZE,
        frameon=False,
        borderpad=0,
        handlelength=1.5,
        columnspacing=1.5,
    )


def put_heading(ax: Axes, words: str, side: str) -> None:
    """Words right above a panel, at its "left" or "right" end, where no line can strike them."""
    ax.annotate(
        words,
        (0 if side == "left" else 1, 1),
        xycoords="axes fraction",
        xytext=(0, 2),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=FONT_SIZE,
    )


def name_above(ax: Axes, place: float, words: str, side: str = "center") -> None:
    """Words above the panel at a place of its x axis, which is their left, centre or right."""
    ax.annotate(
        words,
        (place, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=FONT_SIZE,
    )


def mark_step(panels: Sequence[Axes], step: int, words: str, named: Axes | None = None) -> None:
    """A dashed line at a training step through all panels, which share x; its name above `named`.

    By default it is named above the first.
    """
    for ax in panels:
        ax.axvline(step, color=colour_of("timesteps"), lw=1, ls="--", label="stop", zorder=1.5)
    named = named or panels[0]
    low, high = named.get_xlim()
    share = (step - low) / (high - low)
    side = "left" if share < 0.25 else "right" if share > 0.75 else "center"
    name_above(named, step, words, side)


class StepFormatter(Formatter):
    """Steps in full below 10,000; beyond, all of an axis in thousands or millions: 200k."""

    def __call__(self, value: float, pos: int | None = None) -> str:
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        largest = max(map(abs, values), default=0)
        size, letter = next(unit for unit in _UNITS if largest >= 10 * unit[0] or unit[0] == 1)
        return [f"{value / size:.12g}{letter if value else ''}" for value in values]


def whole_steps(axes: Axes, ticks: int) -> None:
    """Label the x axis with at most `ticks` + 1 whole training steps."""
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=ticks, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )
    axes.xaxis.set_major_formatter(StepFormatter())


def measured(steps: Iterable[int], values: pd.Series) -> pd.Series:
    """The finite `values` by step: what was not evaluated leaves no gap in a line."""
    series = pd.Series(values.to_numpy(dtype="float64"), index=np.asarray(steps))
    return series[np.isfinite(series)]


def marker_for(series: pd.Series) -> str:
    """A dot where a line would show nothing, since it has a single point; none otherwise."""
    return "o" if len(series) == 1 else ""
