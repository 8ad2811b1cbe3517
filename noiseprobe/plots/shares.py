"""What the variance of the batch loss is made of, at each checkpoint."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.style import COLUMN, FONT_SIZE, colour_of, dress, new_figure, plain_name

_REST = "#dcdcdc"
_MOST_LABELS = 6


def shares_figure(table: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """First-order shares of each checkpoint as a stacked bar, and interactions as the rest.

    A share whose estimate is below 0 has no height. Where the shares together are above 1, as
    estimates may be, the bar is scaled to 1 and there is no rest.

    Args:
        table: what `noiseprobe.analysis.variance_shares` returns.
        figure: where to draw; a new figure if None.
    """
    figure = figure or new_figure(COLUMN, 2.4)
    axes = figure.subplots()
    axes.set_label("shares")
    first = table.pivot(index="step", columns="factor", values="first").reindex(columns=FACTORS)
    first = first.dropna().clip(lower=0.0)
    first = first.div(first.sum(axis=1).clip(lower=1.0), axis=0)
    places = np.arange(len(first))
    bottom = np.zeros(len(first))
    by_height = first.mean().sort_values(ascending=False, kind="stable").index
    for factor in by_height:
        height = first[factor].to_numpy()
        axes.bar(places, height, 0.85, bottom, color=colour_of(str(factor)), label=str(factor))
        bottom = bottom + height
    axes.bar(places, 1 - bottom, 0.85, bottom, color=_REST, label="interactions")
    every = max(1, -(-len(first) // _MOST_LABELS))
    axes.set_xticks(places[::every], [str(step) for step in first.index[::every]])
    axes.set_ylim(0, 1)
    axes.set_xlabel("training step")
    axes.set_ylabel("share of the batch loss's variance")
    dress(axes)
    axes.grid(visible=False, axis="x")
    # In the order of the stack from the top, so that key and bar read alike.
    names = ["interactions", *(str(factor) for factor in by_height[::-1])]
    figure.legend(
        [Patch(color=_REST if name == "interactions" else colour_of(name)) for name in names],
        [plain_name(name) for name in names],
        loc="outside right center",
        fontsize=FONT_SIZE,
        frameon=False,
        handlelength=1.0,
        borderpad=0,
    )
    return figure
