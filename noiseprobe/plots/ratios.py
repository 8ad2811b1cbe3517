"""How much each factor hides: its noise beside the progress where nothing is redrawn."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from noiseprobe.plots.rows import draw_rows, mark_place, name_rows, put_value
from noiseprobe.plots.style import COLUMN, colour_of, one_panel, plain_name, styled


@styled
def plot_noise_to_signal(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Noise-to-signal of each setting as a dot with its 95% interval, on a logarithmic axis.

    A line at 1 is where noise equals progress. The value stands at the right of its row, with two
    significant digits; where it is undefined or 0, a word says so.

    Args:
        table: what `noiseprobe.analysis.noise_to_signal` returns; its order is kept, top down.
        ax: where to draw; a new figure if None.
    """
    ax = one_panel(ax, COLUMN, 0.9 + 0.22 * max(len(table), 1), "noise_to_signal")
    ax.set_xscale("log")
    mark_place(ax, 1.0, "noise equals progress")
    drawn = table.where(table["noise_to_signal"] > 0)
    draw_rows(ax, drawn, "noise_to_signal", "low", "high", colour_of)
    for row, ratio in enumerate(table["noise_to_signal"]):
        words = two_digits(ratio) if ratio > 0 else "none" if ratio == 0 else "unknown"
        put_value(ax, row, words)
    name_rows(ax, [plain_name(str(name)) for name in table.index])
    values = table[["noise_to_signal", "low", "high"]].to_numpy(dtype="float64").ravel()
    shown = np.append(values[np.isfinite(values) & (values > 0)], 1.0)
    ax.set_xlim(shown.min() / 2, shown.max() * 2)
    ax.set_xlabel("noise / progress, with 95% intervals")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    return ax


def two_digits(value: float) -> str:
    """`value` with two significant digits and no exponent: 0.063, 4.2, 37."""
    digits = max(1 - math.floor(math.log10(value)), 0)
    return f"{value:.{digits}f}"
