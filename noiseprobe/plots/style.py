"""The one look of all figures: colours, sizes, and how a figure becomes a file.

Figures are built with matplotlib's object interface and styled call by call. pyplot and its global
list of figures are never touched, so that figures can be drawn headless and from any thread.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Formatter, MaxNLocator

from noiseprobe.core.files import written_whole
from noiseprobe.plots.fonts import find_letters

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

_NAMES = {"vae_noise": "VAE noise"}

_DPI = 220

_UNITS = ((1_000_000, "M"), (1_000, "k"), (1, ""))

FORMATS: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
"""The kinds of files that figures are written as, each with the metadata that is left out."""

_DRAWING = Lock()


def colour_of(setting: str) -> str:
    """The fixed colour of a setting; grey for one that has no name of its own."""
    return _COLOURS.get(setting, "#666666")


def plain_name(setting: str) -> str:
    """The setting in plain words: `vae_noise` is "VAE noise", `a+b` is "a + b"."""
    return " + ".join(_NAMES.get(factor, factor) for factor in setting.split("+"))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, `width` × `height` inches, whose layout makes room for all labels."""
    return Figure(figsize=(width, height), layout="constrained")


def dress(axes: Axes) -> None:
    """Give `axes` the common look: two spines, a light grid, text that can be read in print."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.spines[["left", "bottom"]].set_linewidth(0.6)
    axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=FONT_SIZE, color=FRAME, length=2.5, width=0.6, pad=2)
    axes.xaxis.label.set_fontsize(FONT_SIZE)
    axes.yaxis.label.set_fontsize(FONT_SIZE)
    axes.title.set_fontsize(FONT_SIZE)


def key_above(figure: Figure, handles: Sequence[Line2D], labels: Sequence[str]) -> None:
    """A one-line key above all panels of `figure`, where no data can run through it."""
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=len(labels),
        fontsize=FONT_SIZE,
        frameon=False,
        borderpad=0,
    )


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
    axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StepFormatter())


def measured(steps: Iterable[int], values: pd.Series) -> pd.Series:
    """The finite `values` by step: what was not evaluated leaves no gap in a line."""
    series = pd.Series(values.to_numpy(dtype="float64"), index=np.asarray(steps))
    return series[np.isfinite(series)]


def marker_for(series: pd.Series) -> str:
    """A dot where a line would show nothing, since it has a single point; none otherwise."""
    return "o" if len(series) == 1 else ""


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `figure` beside each other as `stem`.png and `stem`.svg, and return the two paths.

    The same figure gives the same bytes: no date, no random element names. Text stays text in the
    SVG, so that it can be searched and edited.
    """
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in FORMATS]
    for path in paths:
        save_one(figure, path)
    return paths


def save_one(figure: Figure, path: Path) -> None:
    """Write `figure` to `path`, in the format of `FORMATS` that its suffix names."""
    kind = path.suffix.removeprefix(".")
    find_letters(figure)
    # These two settings exist only as matplotlib's global state, so one thread at a time.
    reproducible = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "noiseprobe"})
    with _DRAWING, reproducible, written_whole(path) as beside:
        figure.savefig(beside, format=kind, dpi=_DPI, metadata=FORMATS[kind])
