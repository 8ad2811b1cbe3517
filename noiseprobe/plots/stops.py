"""Whether a criterion adapts to the concept: the steps at which each stops, over concepts."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from noiseprobe.analysis.comparison import NAMES
from noiseprobe.plots.style import (
    FONT_SIZE,
    INK,
    PAGE,
    colour_of,
    dress,
    new_figure,
    whole_steps,
)
from noiseprobe.run.defaults import METHODS

_COLOURS = {"clip": "noise", "few": "images", "dvar": "vae_noise"}


def stops_figure(raw: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """A strip plot: one panel per method, one row per criterion, one dot per run at its stop.

    A bar marks the median. Runs that it let go on to the last step are hollow.

    Args:
        raw: what `noiseprobe.analysis.comparison.raw_numbers` returns.
        figure: where to draw; a new figure if None.
    """
    methods = [method for method in METHODS if method in set(raw["method"])]
    criteria = [
        criterion for criterion in ("clip", "few", "dvar") if criterion in set(raw["variant"])
    ]
    figure = figure or new_figure(PAGE, 0.7 + 0.42 * max(len(criteria), 1))
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    random = np.random.default_rng(0)
    for axes, method in zip(panels, methods, strict=True):
        axes.set_label(method)
        axes.set_title(method)
        of_method = raw[raw["method"] == method]
        for row, criterion in enumerate(criteria):
            stops = of_method[of_method["variant"] == criterion]
            height = row + random.uniform(-0.22, 0.22, len(stops))
            colour = colour_of(_COLOURS[criterion])
            fired = stops["fired"].to_numpy(dtype=bool)
            steps = stops["step"].to_numpy()
            axes.plot(steps[fired], height[fired], "o", color=colour, ms=3, alpha=0.7, mew=0)
            axes.plot(steps[~fired], height[~fired], "o", mfc="none", mec=colour, ms=3, mew=0.7)
            if len(steps):
                axes.plot([np.median(steps)] * 2, [row - 0.34, row + 0.34], color=INK, lw=1.5)
        last = of_method.loc[of_method["variant"] == "baseline", "step"].max()
        axes.set_xlim(0, last * 1.03)
        axes.set_yticks(np.arange(len(criteria)), [NAMES[criterion] for criterion in criteria])
        axes.set_ylim(len(criteria) - 0.5, -0.5)
        dress(axes)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        whole_steps(axes, 4)
    figure.supxlabel(
        "step at which the criterion stops (hollow: it never fired)", fontsize=FONT_SIZE
    )
    return figure
