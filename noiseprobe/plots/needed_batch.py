"""How many samples a batch needs for its noise to fall to the size of the progress."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from noiseprobe.plots.panels import say
from noiseprobe.plots.rows import draw_rows, mark_place, name_rows, put_value
from noiseprobe.plots.style import COLUMN, colour_of, one_panel, plain_name, styled


@styled
def plot_needed_batch(
    table: pd.DataFrame, ax: Axes | None = None, over: str = "95% intervals"
) -> Axes:
    """The needed batch of each setting, a dot with its interval on a logarithmic axis from 1.

    The number stands at the right of its row. A line marks the batch that was probed. Where less
    than one sample would do, the dot is at 1; where there is no progress to find, or nothing is
    known, words say so.

    Args:
        table: what `noiseprobe.analysis.signal_to_noise` returns; its order is kept, top down.
        ax: where to draw; a new figure if None.
        over: what dots and bars are, with their number: "median and quartiles of 12 concepts".
    """
    ax = one_panel(ax, COLUMN, 0.95 + 0.22 * max(len(table), 1), "needed_batch")
    if table.empty:
        say(ax, "nothing probed")
        return ax
    ax.set_xscale("log")
    batch = float(table["batch"].max())
    known = table.assign(
        needed_batch=table["needed_batch"].where(np.isfinite(table["needed_batch"])).clip(lower=1)
    ).reindex(columns=["needed_batch", "needed_low", "needed_high"])
    finite = known.to_numpy(dtype="float64")
    most = max(finite[np.isfinite(finite)].max(initial=1.0), batch if math.isfinite(batch) else 1.0)
    # A bar without end runs out of the panel.
    ends = ["needed_low", "needed_high"]
    known[ends] = known[ends].clip(1.0, 100 * most)
    if math.isfinite(batch):
        mark_place(ax, batch, f"probed: {batch:,.0f}")
    draw_rows(ax, known, "needed_batch", "needed_low", "needed_high", colour_of)
    for row, needed in enumerate(table["needed_batch"]):
        put_value(ax, row, in_words(needed))
    name_rows(ax, [plain_name(str(name)) for name in table.index])
    ax.set_xlim(0.8, 2.0 * most)
    label = "samples per batch where noise equals progress"
    ax.set_xlabel(f"{label}\n{over}")
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    return ax


def in_words(needed: float) -> str:
    """Whole samples, or that no batch is large enough, or that nothing is known."""
    if needed == math.inf:
        return "no progress seen"
    return f"{math.ceil(max(needed, 1.0)):,}" if math.isfinite(needed) else "unknown"
