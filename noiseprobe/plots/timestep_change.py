"""How far the loss has changed since the start, by timestep and checkpoint."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from noiseprobe.plots.style import COLUMN, FONT_SIZE, INK, dress, new_figure

_MOST_LABELS = 6
_MARKS = {"falling": "▼", "rising": "▲"}


def timestep_change_figure(
    table: pd.DataFrame, learning: pd.DataFrame, figure: Figure | None = None
) -> Figure:
    """The relative change of the loss since the first checkpoint, as a heat map.

    Checkpoints go across, bins of timesteps up. A dot marks a cell whose 95% interval does not hold
    0; a triangle beside a row says that its loss was still falling, or rising, in the last third.

    Args:
        table: what `noiseprobe.analysis.timestep_losses` returns.
        learning: what `noiseprobe.analysis.learning_bins` returns.
        figure: where to draw; a new figure if None.
    """
    figure = figure or new_figure(COLUMN, 2.7)
    axes = figure.subplots()
    axes.set_label("timestep_change")
    later = table[table["step"] > table["step"].min()]
    change = 100 * later.pivot(index="bin", columns="step", values="relative")
    values = change.to_numpy(dtype="float64")
    reach = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    image = axes.imshow(
        values,
        cmap="PuOr_r",
        vmin=-(reach or 1.0),
        vmax=reach or 1.0,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
    )
    sure = (later["relative_low"] > 0) | (later["relative_high"] < 0)
    columns = {step: place for place, step in enumerate(change.columns)}
    dark = later["relative"].abs() * 100 > 0.6 * reach
    for colour, cells in ((INK, later[sure & ~dark]), ("white", later[sure & dark])):
        axes.plot(
            cells["step"].map(columns), cells["bin"], "o", color=colour, ms=1.8, mew=0, label="sure"
        )
    for index, trend in learning.set_index("bin")["trend"].items():
        if trend in _MARKS:
            axes.annotate(
                _MARKS[str(trend)],
                (1, float(index)),  # type: ignore[arg-type]
                xycoords=("axes fraction", "data"),
                xytext=(2, 0),
                textcoords="offset points",
                va="center",
                fontsize=FONT_SIZE,
                annotation_clip=False,
            )
    every = max(1, -(-len(columns) // _MOST_LABELS))
    axes.set_xticks(range(0, len(columns), every), [str(step) for step in change.columns[::every]])
    bins = table.drop_duplicates("bin")
    # Every row's lower edge, and the end.
    bounds = [*bins["from"], int(bins["to"].iloc[-1])]
    axes.set_yticks(np.arange(len(bounds))[::2] - 0.5, [str(bound) for bound in bounds[::2]])
    axes.set_xlabel("training step")
    axes.set_ylabel("timestep")
    bar = figure.colorbar(image, ax=axes, pad=0.09, aspect=30)
    bar.set_label("change of the loss since the start (%)", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE)
    bar.outline.set_visible(False)
    dress(axes)
    axes.grid(visible=False)
    figure.supxlabel("• 95% sure   ▼ still falling   ▲ still rising", fontsize=FONT_SIZE, color=INK)
    return figure
