"""The loss by timestep, as one curve per checkpoint."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from noiseprobe.plots.style import COLUMN, FONT_SIZE, dress, new_figure


def timestep_losses_figure(table: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """The mean loss in each bin of timesteps, a curve per checkpoint, coloured by its step.

    The axis is logarithmic, since a few timesteps have losses many times those of the rest.

    Args:
        table: what `noiseprobe.analysis.timestep_losses` returns.
        figure: where to draw; a new figure if None.
    """
    figure = figure or new_figure(COLUMN, 2.4)
    axes = figure.subplots()
    axes.set_label("timestep_losses")
    losses = table.pivot(index="step", columns="bin", values="loss").dropna(axis="columns")
    bins = table.drop_duplicates("bin").set_index("bin").loc[losses.columns]
    middle = ((bins["from"] + bins["to"]) / 2).to_numpy()
    # The lightest third of the map cannot be told from paper.
    shades = colormaps["viridis_r"]
    steps = losses.index.to_numpy(dtype="float64")
    scale = Normalize(steps.min() - 0.3 * np.ptp(steps), max(steps.max(), steps.min() + 1))
    for step, curve in losses.iterrows():
        colour = shades(scale(float(step)))  # type: ignore[arg-type]
        axes.plot(middle, curve, color=colour, lw=1.1, marker="o", ms=2, label=str(step))
    if (losses.to_numpy() > 0).all():
        axes.set_yscale("log")
    bar = figure.colorbar(ScalarMappable(scale, shades), ax=axes, pad=0.02, aspect=30)
    bar.ax.set_ylim(steps.min(), max(steps.max(), steps.min() + 1))
    bar.set_label("training step", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE)
    bar.outline.set_visible(False)
    axes.set_xlim(0, table["to"].max())
    axes.set_xlabel("timestep (more noise to the right)")
    axes.set_ylabel("mean loss")
    dress(axes)
    return figure
