"""How much each factor hides: its noise beside the progress of the deterministic loss."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullFormatter

from noiseprobe.plots.style import COLUMN, FONT_SIZE, INK, colour_of, dress, new_figure, plain_name


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
    axes.axvline(1, color=INK, lw=1, ls="--")
    axes.annotate(
        "noise equals progress",
        (1, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=FONT_SIZE,
    )
    for row, (setting, ratio, low, high) in enumerate(
        table[["noise_to_signal", "low", "high"]].itertuples()
    ):
        colour = colour_of(str(setting))
        if not ratio > 0:
            word = "none" if ratio == 0 else "undefined"
            axes.annotate(
                word,
                (1, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=FONT_SIZE,
            )
            continue
        if low > 0 and math.isfinite(high):
            axes.plot([low, high], [row, row], color=colour, lw=2, solid_capstyle="butt")
        axes.plot([ratio], [row], "o", color=colour, ms=5)
        axes.annotate(
            two_digits(ratio),
            (ratio, row),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=FONT_SIZE,
            # A value near 1 stands on the line, and is still to be read.
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    axes.set_yticks(np.arange(len(table)), [plain_name(str(name)) for name in table.index])
    axes.set_ylim(len(table) - 0.5, -0.8)
    values = table[["noise_to_signal", "low", "high"]].to_numpy(dtype="float64").ravel()
    shown = np.append(values[np.isfinite(values) & (values > 0)], 1.0)
    axes.set_xlim(shown.min() / 2, shown.max() * 2)
    axes.set_xlabel("noise / progress (standard deviations)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    dress(axes)
    axes.grid(visible=False, axis="y")
    return figure


def two_digits(value: float) -> str:
    """`value` with two significant digits and no exponent: 0.063, 4.2, 37."""
    digits = max(1 - math.floor(math.log10(value)), 0)
    return f"{value:.{digits}f}"
