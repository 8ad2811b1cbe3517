"""Where criteria would have stopped recorded losses: each trace, and a row per criterion below."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from noiseprobe.analysis.verdicts_recorded import MOST_DRAWN
from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.plots.names import shortened, told_apart
from noiseprobe.plots.panels import say
from noiseprobe.plots.saving import check_format, figure_of, save_one
from noiseprobe.plots.style import (
    COLUMN,
    FONT_SIZE,
    GHOST,
    INK,
    PAGE,
    colour_of,
    dress,
    key_above,
    literal,
    new_figure,
    several_panels,
    styled,
    whole_steps,
)
from noiseprobe.stopping import as_losses

MOST_POINTS = 400
"""A trace of more points is drawn as its running median over the range of its values."""

SMOOTHED = 0.02
"""The share of a trace's points that its running median and range are over."""

_COLOURS = [
    *map(colour_of, ("timesteps", "noise", "vae_noise", "images", "original", "captions")),
    "#332288",
    "#a00000",
    "#606060",
    "#a000ff",
]
"""Of criteria, in the order of their rows; a row names its criterion as well.

The last four are further from all others, with any kind of colour vision, than those are from each
other (CIEDE2000, Machado et al. 2009).
"""

LONGEST = {1: 60, 2: 44, 3: 28}
"""How many letters fit above a panel, by the number of panels in a row."""


def write_replays(
    traces: Sequence[Series], replays: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write `plot_replays` to `path`, as PNG, SVG or PDF by its suffix.

    Raises:
        UserError: the suffix names none, or there are more than `MOST_DRAWN` traces.
    """
    check_format("--plot", path)
    if len(traces) > MOST_DRAWN:
        raise UserError(f"--plot: {len(traces)} traces; give at most {MOST_DRAWN} at once")
    save_one(plot_replays(traces, replays), path)


@styled
def plot_replays(
    traces: Sequence[Series],
    replays: Sequence[Mapping[str, Any]],
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Each trace above a row per criterion: a bar up to its stop, and an empty one if it goes on.

    A dot marks the stop, on the bar and on the trace; a vertical tick on the bar the step to keep,
    where that is another one; and a star the best value of the trace. A trace of more than
    `MOST_POINTS` points is drawn as its running median, over a band from the least to the greatest
    value. Traces of one source stand beside each other. Panels are labelled with the index of the
    trace, those below them with `stops` and the index.

    Args:
        traces: the losses, at least one.
        replays: for each trace in turn one object per criterion, in the same order for all, with
            the keys `criterion`, `stop_step` and `kept_step`; the best is read off the trace where
            it is not told as `best_step` and `best`.
        axes: where to draw, two panels for each trace; a new figure if None.
    """
    criteria = list(dict.fromkeys(replay["criterion"] for replay in replays))
    rows = by_source(traces)
    across = max(map(len, rows))
    labels = [label for place in range(len(traces)) for label in (f"{place}", f"stops {place}")]
    long = any(len(series.values) > MOST_POINTS for series in traces)
    page = across > 1 or len(criteria) > 3 or long
    drawn_on = _new_panels(rows, len(criteria), page) if axes is None else axes
    panels = several_panels(drawn_on, labels, PAGE, PAGE)
    names = told_apart([series.name for series in traces], LONGEST[across])
    tags = len({series.column for series in traces})
    for row in rows:
        for column, place in enumerate(row):
            series, (above, below) = traces[place], panels[2 * place : 2 * place + 2]
            own = replays[place * len(criteria) : (place + 1) * len(criteria)]
            _draw_trace(above, series, own)
            _draw_stops(below, series, own, named=column == 0)
            above.set_title(literal(names[place]), loc="left")
            above.tick_params(labelbottom=False)
            first = column == 0 or tags > 1
            above.set_ylabel(literal(shortened(series.column, 24)) if first else "")
            above.set_xlabel("")
            for ax in (above, below):
                dress(ax)
                whole_steps(ax, 4 if across > 1 else 8)
            below.grid(visible=False, axis="y")
            below.tick_params(axis="y", length=0)
            below.set_xlabel("step")
    if axes is None:
        key_above(figure_of(panels), *_key(long))
    return panels


def by_source(traces: Sequence[Series]) -> list[list[int]]:
    """The places of the traces in rows of panels, at most 3 across: those of a source together."""
    found: dict[str, list[int]] = {}
    for place, series in enumerate(traces):
        found.setdefault(series.name, []).append(place)
    sources = [sorted(places, key=lambda at: traces[at].column) for places in found.values()]
    if max(map(len, sources)) == 1:
        sources = [[place for (place,) in sources]]
    return [each[start : start + 3] for each in sources for start in range(0, len(each), 3)]


def _new_panels(rows: Sequence[Sequence[int]], criteria: int, page: bool) -> list[Axes]:
    """Two panels for each trace, in the order of the traces; as wide as a `page` or a column."""
    across, down = max(map(len, rows)), len(rows)
    ratio = 1.5, 0.16 * criteria + 0.1
    figure = new_figure(PAGE if page else COLUMN, (sum(ratio) + 0.65) * down + 0.2)
    grid = figure.add_gridspec(2 * down, across, height_ratios=ratio * down)
    panels = {}
    for row, places in enumerate(rows):
        for column, place in enumerate(places):
            above = figure.add_subplot(grid[2 * row, column])
            below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
            panels[place] = above, below
    return [ax for place in sorted(panels) for ax in panels[place]]


def _draw_trace(ax: Axes, series: Series, replays: Sequence[Mapping[str, Any]]) -> None:
    finite = np.isfinite(series.values)
    steps, values = series.steps[finite], series.values[finite]
    line = np.empty((0, 2))
    if len(values):
        line = _draw_line(ax, steps, values)
        if len(values) == 1 or np.ptp(values):  # a constant trace is at its best throughout
            _draw_best(ax, series, replays)
    else:
        say(ax, "no finite value")
    notes = ["constant"] if len(values) > 1 and np.ptp(values) == 0 else []
    if 0 < len(values) < len(finite):
        notes.append(f"{len(finite) - len(values):,} not finite")
    _note(ax, ", ".join(notes))
    for row, replay in enumerate(replays):
        if replay["stop_step"] is None:
            continue
        colour = _colour(row)
        ax.axvline(replay["stop_step"], color=colour, lw=0.8, alpha=0.6, zorder=1)
        if len(line):  # a trace of NaN alone has no place for the dot
            at = max(int(np.searchsorted(line[:, 0], replay["stop_step"], "right")) - 1, 0)
            ax.plot(
                replay["stop_step"],
                line[at, 1],
                "o",
                color=colour,
                ms=4,
                mec="white",
                mew=0.6,
                zorder=4,
            )


def _draw_line(
    ax: Axes, steps: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The trace as it is, or if it is long, smoothed over a band; returns the line's (n, 2)."""
    table = pd.DataFrame({"step": steps, "value": values})
    if len(values) > MOST_POINTS:
        window = round(SMOOTHED * len(values)) | 1
        around = table["value"].rolling(window, center=True, min_periods=1)
        low, high = around.min(), around.max()
        # The window spans several of the points that are drawn: no value is outside the band.
        every = max(1, window // 4)
        drawn = np.unique([*range(0, len(values), every), len(values) - 1])
        ax.fill_between(steps[drawn], low[drawn], high[drawn], color=GHOST, alpha=0.5, lw=0)
        table = table.assign(value=around.median()).iloc[drawn]
    sns.lineplot(
        table,
        x="step",
        y="value",
        estimator=None,
        errorbar=None,
        sort=False,
        color=INK,
        linewidth=0.9,
        marker="o" if len(values) == 1 else "",
        ax=ax,
    )
    return table.to_numpy(dtype="float64")


def _draw_best(ax: Axes, series: Series, replays: Sequence[Mapping[str, Any]]) -> None:
    told = replays[0] if replays else {}
    step, best = told.get("best_step"), told.get("best")
    if step is None or best is None:
        losses = as_losses(series.column, series.values)
        place = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
        step, best = series.steps[place], series.values[place]
    ax.plot(step, best, "*", color=INK, ms=7, mec="white", mew=0.5, zorder=5, clip_on=False)


def _note(ax: Axes, words: str) -> None:
    if words:
        ax.annotate(
            words,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-2, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=FONT_SIZE,
        )


def _draw_stops(
    ax: Axes, series: Series, replays: Sequence[Mapping[str, Any]], named: bool
) -> None:
    first, last = int(series.steps[0]), int(series.steps[-1])
    for row, replay in enumerate(replays):
        colour, stop = _colour(row), replay["stop_step"]
        ax.plot([first, last], [row, row], color=GHOST, lw=1, zorder=1)
        if stop is None:
            ax.plot(last, row, "o", mfc="white", mec=colour, mew=1, ms=4.5)
        else:
            # Up to the trace, so that the eye need not tell colours apart.
            ax.plot([stop, stop], [row, -0.6], color=colour, lw=0.8, alpha=0.6, zorder=1)
            ax.plot([first, stop], [row, row], color=colour, lw=3, solid_capstyle="butt")
            ax.plot(stop, row, "o", color=colour, ms=4.5)
        if replay["kept_step"] != (last if stop is None else stop):
            ax.plot(replay["kept_step"], row, "|", color=INK, ms=7, mew=1.2)
    names = [literal(replay["criterion"]) for replay in replays]
    ax.set_yticks(range(len(names)), names if named else [""] * len(names))
    ax.set_ylim(len(names) - 0.4, -0.6)


def _key(long: bool) -> tuple[list[Artist], list[str]]:
    marks: dict[str, dict[str, Any]] = {
        "stops": {"marker": "o", "mfc": INK, "mec": INK},
        "never": {"marker": "o", "mfc": "white", "mec": INK},
        "keeps": {"marker": "|", "mec": INK, "ms": 7, "mew": 1.2},
        "best": {"marker": "*", "mfc": INK, "mec": INK, "ms": 6},
    }
    drawn: list[Artist] = [
        Line2D([], [], color=INK, **({"ms": 4.5, "lw": 0} | mark)) for mark in marks.values()
    ]
    if long:
        drawn += [Line2D([], [], color=INK, lw=0.9), Patch(color=GHOST, alpha=0.5, lw=0)]
    return drawn, [*marks, *([f"median of {SMOOTHED:.0%} of points", "range"] if long else [])]


def _colour(row: int) -> str:
    return _COLOURS[row % len(_COLOURS)]
