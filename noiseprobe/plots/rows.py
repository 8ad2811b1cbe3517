"""Figures with one row per setting: a dot, its value above it, or a word in its place."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from noiseprobe.plots.style import FONT_SIZE, INK, dress


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """One row per name, the first on top, with room above it for its value."""
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.8)
    dress(axes)
    axes.grid(visible=False, axis="y")


def mark_place(axes: Axes, place: float, words: str) -> None:
    """A dashed line across all rows, named above."""
    axes.axvline(place, color=INK, lw=1, ls="--")
    axes.annotate(
        words,
        (place, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=FONT_SIZE,
    )


def put_dot(axes: Axes, row: int, place: float, colour: str, value: str) -> None:
    """A dot, and its value above it."""
    axes.plot([place], [row], "o", color=colour, ms=5, clip_on=False)
    axes.annotate(
        value,
        (place, row),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=FONT_SIZE,
        # A value that stands on a line is still to be read.
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def put_word(axes: Axes, row: int, place: float, word: str) -> None:
    """A word where there is no dot."""
    axes.annotate(
        word,
        (place, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=FONT_SIZE,
    )
