"""Figures with one row per name: a dot with its interval, and its value in words at the right."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from noiseprobe.plots.style import FONT_SIZE, INK, dress, name_above

INTERVAL = {"estimator": "median", "errorbar": ("pi", 100)}
"""How seaborn is told of an interval that is known: the middle and ends of `with_ends`."""


def with_ends(table: pd.DataFrame, value: str, low: str, high: str) -> pd.DataFrame:
    """Each row thrice, its value, low and high in the column `value`: `INTERVAL` draws them.

    An end that is not finite is the value itself: no bar is drawn.
    """
    ends = [
        table.assign(**{value: table[end].where(np.isfinite(table[end]), table[value])})
        for end in (low, value, high)
    ]
    return pd.concat(ends, ignore_index=True)


def draw_rows(
    ax: Axes,
    table: pd.DataFrame,
    value: str,
    low: str,
    high: str,
    colour: Callable[[str], str],
) -> None:
    """A dot and an interval for each row of `table` (by its index, top down), where it is known."""
    names = [str(name) for name in table.index]
    ends = with_ends(table.assign(row=names).dropna(subset=[value]), value, low, high)
    if len(ends):
        sns.pointplot(
            ends,
            x=value,
            y="row",
            hue="row",
            order=names,
            hue_order=names,
            palette=[colour(name) for name in names],
            orient="y",
            markersize=4,
            linestyle="none",
            err_kws={"linewidth": 2},
            legend=False,
            ax=ax,
            **INTERVAL,
        )


def draw_open_ends(
    ax: Axes,
    table: pd.DataFrame,
    value: str,
    low: str,
    high: str,
    colour: Callable[[str], str],
) -> None:
    """Arrows to the edge of the panel, whose limits are final, where an interval has no end there.

    That is where `high` is inf, or `low` lies beyond a logarithmic axis. A row whose value is not
    known is an arrow from the end that is.
    """
    left, right = ax.get_xlim()
    for row, name in enumerate(table.index):
        middle, least, most = (float(table[column].iloc[row]) for column in (value, low, high))
        known = [each for each in (middle, least, most) if np.isfinite(each) and each > left]
        for end, edge, marker in ((least, left, "<"), (most, right, ">")):
            if known and not np.isnan(end) and (end >= right if edge == right else end <= left):
                start = middle if np.isfinite(middle) else known[0]
                line = ax.plot([start, edge], [row, row], color=colour(str(name)), lw=2)[0]
                line.set(marker=marker, markevery=[1], markersize=4, clip_on=False)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """One row per name, the first on top."""
    ax.set_yticks(np.arange(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_ylabel("")
    dress(ax)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0, pad=4)


def mark_place(ax: Axes, place: float, words: str) -> None:
    """A dashed line across all rows, named above."""
    ax.axvline(place, color=INK, lw=1, ls="--", zorder=1)
    name_above(ax, place, words)


def put_value(ax: Axes, row: float, words: str, *, head: bool = False) -> None:
    """Words at the right of the panel, in line with a row, where no mark can strike them.

    `head` puts them above the panel instead: what the words of the rows are.
    """
    ax.annotate(
        words,
        (1, 1) if head else (1, row),
        xycoords="axes fraction" if head else ("axes fraction", "data"),
        xytext=(6, 2 if head else 0),
        textcoords="offset points",
        va="bottom" if head else "center",
        fontsize=FONT_SIZE,
        annotation_clip=False,
    )
