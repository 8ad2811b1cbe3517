"""How much each factor hides: its noise beside the progress of training."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from noiseprobe.plots.panels import say
from noiseprobe.plots.rows import draw_open_ends, draw_rows, mark_place, name_rows, put_value
from noiseprobe.plots.style import COLUMN, colour_of, one_panel, plain_name, styled


@styled
def plot_noise_to_signal(table: pd.DataFrame, ax: Axes | None = None, over: str = "") -> Axes:
    """Noise-to-signal of each setting as a dot with its 95% interval, on a logarithmic axis.

    A line at 1 is where noise equals progress. Value and interval stand at the right of their row,
    with two significant digits; an interval without end is an arrow. Where the value is 0 or not
    known, a word says so.

    Args:
        table: what `noiseprobe.analysis.noise_to_signal` returns; its order is kept, top down.
        ax: where to draw; a new figure if None.
        over: what the intervals are over, with its number: "8 redraws of a batch of 32".
    """
    ax = one_panel(ax, COLUMN, 0.95 + 0.22 * max(len(table), 1), "noise_to_signal")
    if table.empty:
        say(ax, "nothing redrawn")
        return ax
    ax.set_xscale("log")
    mark_place(ax, 1.0, "noise equals progress")
    ends = table[["noise_to_signal", "low", "high"]].astype("float64")
    drawn = ends.where(ends > 0).replace(np.inf, np.nan)
    draw_rows(ax, drawn, "noise_to_signal", "low", "high", colour_of)
    for row, (ratio, low, high) in enumerate(ends.itertuples(index=False)):
        put_value(ax, row, in_words(ratio, low, high))
    name_rows(ax, [plain_name(str(name)) for name in table.index])
    values = drawn.to_numpy().ravel()
    shown = np.append(values[np.isfinite(values)], 1.0)
    ax.set_xlim(shown.min() / 2, shown.max() * 2)
    open_ends = ends.where(ends["noise_to_signal"] != 0)
    draw_open_ends(ax, open_ends, "noise_to_signal", "low", "high", colour_of)
    label = "noise / progress, with 95% intervals"
    ax.set_xlabel(f"{label}\nover {over}" if over else label)
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    return ax


def in_words(ratio: float, low: float, high: float) -> str:
    """A ratio and its interval, "4.2 (3.1–5.8)"; or what is known of it."""
    bounds = [f"from {two_digits(low)}"] if low > 0 else []
    bounds += [f"up to {two_digits(high)}"] if math.isfinite(high) and high > 0 else []
    if len(bounds) == 2:
        bounds = [f"{two_digits(low)}–{two_digits(high)}"]
    if ratio == 0:
        return "none"
    if not math.isfinite(ratio):
        return "".join(bounds) or "unknown"
    if not bounds:
        return two_digits(ratio) + (" (no bound)" if high == math.inf else "")
    return f"{two_digits(ratio)} ({bounds[0]})"


def two_digits(value: float) -> str:
    """`value` with two significant digits and no exponent: 0.063, 4.2, 37."""
    digits = max(1 - math.floor(math.log10(value)), 0)
    return f"{value:.{digits}f}"
