"""How much each factor hides: its noise beside the progress where nothing is redrawn."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from noiseprobe.plots.rows import mark_place, name_rows, put_dot, put_word
from noiseprobe.plots.style import COLUMN, colour_of, new_figure, plain_name


def noise_to_signal_figure(table: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """Noise-to-signal of each setting as a dot with its 95% interval, on a logarithmic axis.

    A line at 1 is where noise equals progress. The value stands at its mark, with two significant
    digits; where it is undefined or 0, the words say so in place of a mark.

    Args:
        table: what `noiseprobe.analysis.noise_to_signal` returns; its order is kept, top down.
        figure: where to draw; a new figure if None.
    """
    figure = figure or new_figure(COLUMN, 0.9 + 0.26 * max(len(table), 1))
    axes = figure.subplots()
    axes.set_label("noise_to_signal")
    axes.set_xscale("log")
    mark_place(axes, 1.0, "noise equals progress")
    for row, (setting, ratio, low, high) in enumerate(
        table[["noise_to_signal", "low", "high"]].itertuples()
    ):
        colour = colour_of(str(setting))
        if not ratio > 0:
            put_word(axes, row, 1.0, "none" if ratio == 0 else "undefined")
            continue
        if low > 0 and math.isfinite(high):
            axes.plot([low, high], [row, row], color=colour, lw=2, solid_capstyle="butt")
        put_dot(axes, row, ratio, colour, two_digits(ratio))
    name_rows(axes, [plain_name(str(name)) for name in table.index])
    values = table[["noise_to_signal", "low", "high"]].to_numpy(dtype="float64").ravel()
    shown = np.append(values[np.isfinite(values) & (values > 0)], 1.0)
    axes.set_xlim(shown.min() / 2, shown.max() * 2)
    axes.set_xlabel("noise / progress (standard deviations)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    return figure


def two_digits(value: float) -> str:
    """`value` with two significant digits and no exponent: 0.063, 4.2, 37."""
    digits = max(1 - math.floor(math.log10(value)), 0)
    return f"{value:.{digits}f}"
