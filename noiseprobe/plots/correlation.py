"""Which trace tells what is drawn: its rank correlation with CLIP similarity."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from noiseprobe.plots.rows import name_rows, put_dot, put_word
from noiseprobe.plots.style import COLUMN, INK, colour_of, new_figure

_NAMES = {"loss": "training loss", "grad_norm": "gradient norm", "l_det": "$L_{\\mathrm{det}}$"}


def correlation_figure(table: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """Spearman's rho of each trace with CLIP similarity, as a dot on an axis from -1 to 1.

    Where `table` has several rows of one trace, of several runs, each is a faint dot and their
    median a full one; a single row has its 95% interval, if it is known. A trace that does not
    vary has the word in place of a dot.

    Args:
        table: what `noiseprobe.analysis.correlations` returns, of one run or of several together.
        figure: where to draw; a new figure if None.
    """
    names = list(dict.fromkeys(table.index))
    figure = figure or new_figure(COLUMN, 0.7 + 0.26 * max(len(names), 1))
    axes = figure.subplots()
    axes.set_label("rho")
    axes.axvline(0, color=INK, lw=0.8)
    for row, name in enumerate(names):
        values = table.loc[[name], "rho"].dropna().to_numpy()
        colour = INK if str(name).startswith("l_det") else colour_of("original")
        if not len(values):
            put_word(axes, row, 0.0, "does not vary")
            continue
        if len(values) > 1:
            axes.plot(values, np.full(len(values), row), "o", color=colour, ms=3, alpha=0.3, mew=0)
        middle = float(np.median(values))
        if len(values) == 1 and {"low", "high"} <= set(table.columns):
            ends = table.loc[name, ["low", "high"]].to_numpy(dtype="float64")
            axes.plot(ends, [row, row], color=colour, lw=2, alpha=0.5, solid_capstyle="butt")
        put_dot(axes, row, middle, colour, f"{middle:.2f}")
    name_rows(axes, [_shown(str(name)) for name in names])
    axes.set_xlim(-1.08, 1.08)
    axes.set_xlabel("rank correlation with CLIP similarity\n(-1: falls whenever similarity rises)")
    return figure


def _shown(name: str) -> str:
    trace, _, third = name.partition(", ")
    return f"probe's fixed batch, {third}" if third else _NAMES.get(trace, trace)
