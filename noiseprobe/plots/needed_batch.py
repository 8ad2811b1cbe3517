"""How many samples a batch needs for its noise to fall to the size of the progress."""

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from noiseprobe.plots.rows import mark_place, name_rows, put_dot, put_word
from noiseprobe.plots.style import COLUMN, colour_of, new_figure, plain_name


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
        mark_place(axes, batch, "probed batch")
    shown = [1.0, batch if math.isfinite(batch) else 1.0]
    for row, (setting, needed) in enumerate(table["needed_batch"].items()):
        if not math.isfinite(needed):
            word = "no progress seen" if needed == math.inf else "undefined"
            put_word(axes, row, 1.0, word)
            continue
        place = max(needed, 1.0)
        shown.append(place)
        put_dot(axes, row, place, colour_of(str(setting)), f"{math.ceil(place):,}")
    name_rows(axes, [plain_name(str(name)) for name in table.index])
    axes.set_xlim(0.8, max(shown) * 2.5)
    axes.set_xlabel("samples per batch for noise = progress")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    return figure
