"""Where criteria would have stopped recorded losses: each trace, and a row per criterion below."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.plots.style import (
    COLUMN,
    FONT_SIZE,
    FORMATS,
    GHOST,
    INK,
    PAGE,
    colour_of,
    dress,
    key_above,
    new_figure,
    save_one,
    whole_steps,
)

MOST_PANELS = 24
"""More traces than these would be too small to read on one page."""

_COLOURS = [
    *map(colour_of, ("timesteps", "noise", "vae_noise", "images", "original", "captions")),
    "#332288",
    "#a00000",
    "#606060",
]
"""Of criteria, in the order of their rows; a row names its criterion as well.

The last three are further from all others, with any kind of colour vision, than those are from each
other (CIEDE2000, Machado et al. 2009).
"""

LONGEST = {1: 60, 2: 44, 3: 28}
"""How many letters fit above a panel, by the number of panels in a row."""


def write_replays(
    traces: Sequence[Series], replays: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write `replays_figure` to `path`, as PNG or SVG by its suffix.

    Raises:
        UserError: the suffix names neither, or there are more than `MOST_PANELS` traces.
    """
    if path.suffix.removeprefix(".") not in FORMATS:
        raise UserError(f"--plot {path}: give a name that ends in .png or .svg")
    if len(traces) > MOST_PANELS:
        raise UserError(f"--plot: {len(traces)} traces; give at most {MOST_PANELS} at once")
    save_one(replays_figure(traces, replays), path)


def replays_figure(
    traces: Sequence[Series],
    replays: Sequence[Mapping[str, Any]],
    figure: Figure | None = None,
) -> Figure:
    """Each trace above a row per criterion: a bar up to its stop, and an empty one if it goes on.

    A dot marks the stop, on the bar and on the trace; a vertical tick on the bar marks the step to
    keep, where that is another one. Panels are labelled with the index of the trace, those below
    them with `stops` and the index.

    Args:
        traces: the losses.
        replays: for each trace in turn one object per criterion, in the same order for all, with
            the keys `criterion`, `stop_step` and `kept_step`.
        figure: where to draw; a new figure if None.
    """
    criteria = list(dict.fromkeys(replay["criterion"] for replay in replays))
    across = min(len(traces), 3)
    down = -(-len(traces) // across)
    ratio = 1.5, 0.16 * len(criteria) + 0.1
    width = PAGE if across > 1 or len(criteria) > 3 else COLUMN
    figure = figure or new_figure(width, (sum(ratio) + 0.65) * down + 0.2)
    grid = figure.add_gridspec(2 * down, across, height_ratios=ratio * down)
    names = _told_apart([series.name for series in traces], LONGEST[across])
    for place, series in enumerate(traces):
        row, column = divmod(place, across)
        above = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
        above.set_label(str(place))
        below.set_label(f"stops {place}")
        own = replays[place * len(criteria) : (place + 1) * len(criteria)]
        _draw_trace(above, series, own)
        _draw_stops(below, series, own, named=column == 0)
        above.set_title(names[place], loc="left", fontsize=FONT_SIZE)
        above.tick_params(labelbottom=False)
        if column == 0 or len({each.column for each in traces}) > 1:
            above.set_ylabel(_shortened(series.column, 24))
        for axes in (above, below):
            dress(axes)
            whole_steps(axes, 4 if across > 1 else 8)
        below.grid(visible=False, axis="y")
        below.tick_params(axis="y", length=0)
        below.set_xlabel("step")
    key_above(figure, *_key())
    return figure


def _draw_trace(axes: Axes, series: Series, replays: Sequence[Mapping[str, Any]]) -> None:
    finite = np.isfinite(series.values)
    steps, values = series.steps[finite], series.values[finite]
    axes.plot(steps, values, color=INK, lw=0.8, marker="o" if len(steps) == 1 else "", ms=3)
    for row, replay in enumerate(replays):
        if replay["stop_step"] is None:
            continue
        colour = _colour(row)
        axes.axvline(replay["stop_step"], color=colour, lw=0.8, alpha=0.6, zorder=1)
        if len(values):  # a trace of NaN alone has no place for the dot
            loss = values[max(int(np.searchsorted(steps, replay["stop_step"], "right")) - 1, 0)]
            axes.plot(replay["stop_step"], loss, "o", color=colour, ms=4, mec="white", mew=0.6)


def _draw_stops(
    axes: Axes, series: Series, replays: Sequence[Mapping[str, Any]], named: bool
) -> None:
    first, last = int(series.steps[0]), int(series.steps[-1])
    for row, replay in enumerate(replays):
        colour, stop = _colour(row), replay["stop_step"]
        axes.plot([first, last], [row, row], color=GHOST, lw=1, zorder=1)
        if stop is None:
            axes.plot(last, row, "o", mfc="white", mec=colour, mew=1, ms=4.5)
        else:
            # Up to the trace, so that the eye need not tell colours apart.
            axes.plot([stop, stop], [row, -0.6], color=colour, lw=0.8, alpha=0.6, zorder=1)
            axes.plot([first, stop], [row, row], color=colour, lw=3, solid_capstyle="butt")
            axes.plot(stop, row, "o", color=colour, ms=4.5)
        if replay["kept_step"] != (last if stop is None else stop):
            axes.plot(replay["kept_step"], row, "|", color=INK, ms=7, mew=1.2)
    names = [replay["criterion"] for replay in replays]
    axes.set_yticks(range(len(names)), names if named else [""] * len(names), fontsize=FONT_SIZE)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _key() -> tuple[list[Line2D], list[str]]:
    marks: dict[str, dict[str, Any]] = {
        "stops": {"marker": "o", "mfc": INK, "mec": INK},
        "never stops": {"marker": "o", "mfc": "white", "mec": INK},
        "keeps, if not the stop": {"marker": "|", "mec": INK, "ms": 7, "mew": 1.2},
    }
    drawn = [Line2D([], [], lw=0, **({"ms": 4.5} | mark)) for mark in marks.values()]
    return drawn, list(marks)


def _colour(row: int) -> str:
    return _COLOURS[row % len(_COLOURS)]


def _told_apart(names: Sequence[str], longest: int) -> list[str]:
    """The names without the folder that all share, of so many letters at most."""
    try:
        shared = os.path.commonpath([os.path.dirname(name) for name in names])
    except ValueError:  # some are absolute, some are not
        shared = ""
    return [_shortened(name.removeprefix(shared).removeprefix(os.sep), longest) for name in names]


def _shortened(name: str, longest: int) -> str:
    """The end of a path, which tells it from others, where all of it would not fit."""
    plain = name.encode("utf-8", "replace").decode()
    return plain if len(plain) <= longest else "…" + plain[1 - longest :]
