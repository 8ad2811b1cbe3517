"""How many samples a batch needs for its noise to fall to the size of the progress."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, NullFormatter

from noiseprobe.plots.style import COLUMN, FONT_SIZE, INK, colour_of, dress, new_figure, plain_name


def needed_batch_figure(table: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """The needed batch of each setting as a dot, on a logarithmic axis that begins at one sample.

    A line stands at the batch that was probed. Where less than one sample would do, the dot is at
    1; where there is no progress to find, or nothing is known, words say so.

    Args:
        table: what `noiseprobe.analysis.signal_to_noise` returns; its order is kept, top down.
        figure: where to draw; a new figure if None.
    """
    figure = figure or new_figure(COLUMN, 0.9 + 0.26 * max(len(table), 1))
    axes = figure.subplots()
    axes.set_label("needed_batch")
    axes.set_xscale("log")
    batch = table["batch"].max()
    if math.isfinite(batch):
        axes.axvline(batch, color=INK, lw=1, ls="--")
        axes.annotate(
            "probed batch",
            (batch, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=FONT_SIZE,
        )
    shown = [1.0, batch if math.isfinite(batch) else 1.0]
    for row, (setting, needed) in enumerate(table["needed_batch"].items()):
        if not math.isfinite(needed):
            word = "no progress seen" if needed == math.inf else "undefined"
            axes.annotate(
                word,
                (1, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=FONT_SIZE,
            )
            continue
        place = max(needed, 1.0)
        shown.append(place)
        axes.plot([place], [row], "o", color=colour_of(str(setting)), ms=5, clip_on=False)
        axes.annotate(
            f"{math.ceil(place):,}",
            (place, row),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=FONT_SIZE,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    axes.set_yticks(np.arange(len(table)), [plain_name(str(name)) for name in table.index])
    axes.set_ylim(len(table) - 0.5, -0.8)
    axes.set_xlim(0.8, max(shown) * 2.5)
    axes.set_xlabel("samples per batch for noise = progress")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    dress(axes)
    axes.grid(visible=False, axis="y")
    return figure
