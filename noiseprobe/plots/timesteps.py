"""The loss by timestep at the start, and how far it has changed since, by checkpoint."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from noiseprobe.plots.panels import say
from noiseprobe.plots.style import FONT_SIZE, INK, PAGE, dress, several_panels, styled

_MOST_LABELS = 7
_TRENDS = {"falling": "▼ still falling", "rising": "▲ still rising"}


@styled
def plot_timesteps(
    table: pd.DataFrame,
    learning: pd.DataFrame,
    axes: Sequence[Axes] | None = None,
    over: str | None = None,
    time_axis: str = "timestep",
) -> list[Axes]:
    """Left the loss by timestep at the first checkpoint, right its relative change since then.

    Both have the timesteps on the y axis, in bins. The right panel is a heat map, checkpoints
    across: a triangle in a cell says which way the loss has changed where the 95% interval does not
    hold 0, and words at the right of a row that its loss was still falling, or rising, in the last
    third.

    Args:
        table: what `noiseprobe.analysis.timestep_losses` returns.
        learning: what `noiseprobe.analysis.learning_bins` returns.
        axes: where to draw, two panels; a new figure if None.
        over: what the means are over, with its number; by default the draws that the table counts.
        time_axis: what `Run.time_axis` says.
    """
    start, change = several_panels(axes, ("start", "change"), PAGE, 2.9, width_ratios=(1, 3))
    for ax in (start, change):
        dress(ax)
    if table.empty:
        for ax in (start, change):
            say(ax, "nothing probed")
        return [start, change]
    bins = table.drop_duplicates("bin").sort_values("bin")
    first = table[table["step"] == table["step"].min()]
    _draw_start(start, first)
    _draw_change(change, table[table["step"] > table["step"].min()], bins)
    _say_trends(change, learning)
    if over is None:
        over = f"{int(first['samples'].sum()):,} draws" if "samples" in first else "draws"
    start.set_ylabel(f"{time_axis} (more noise up)")
    start.set_xlabel(f"mean loss over\n{over}")
    change.set_xlabel("checkpoint at training step\n▼ surely fallen  ▲ surely risen (95%)")
    change.set_ylabel("")
    bounds = [*bins["from"], int(bins["to"].iloc[-1])]
    for ax in (start, change):
        ax.set_yticks(np.arange(len(bounds))[::2], [str(bound) for bound in bounds[::2]])
        ax.set_ylim(0, len(bins))
    change.tick_params(axis="y", labelleft=False, left=False)
    return [start, change]


def _draw_start(ax: Axes, first: pd.DataFrame) -> None:
    """One curve with a dot in the middle of each bin, on a logarithmic axis where it can be."""
    known = first[np.isfinite(first["loss"])]
    ax.set_title(f"loss at step {first['step'].iloc[0]}", loc="left")
    if known.empty:
        say(ax, "no finite loss")
        return
    if (known["loss"] > 0).all():
        ax.set_xscale("log")
    sns.lineplot(
        known.assign(middle=known["bin"] + 0.5),
        x="loss",
        y="middle",
        orient="y",
        errorbar=None,
        estimator=None,
        color=INK,
        marker="o",
        markeredgewidth=0,
        ax=ax,
    )
    low, high = known["loss"].min(), known["loss"].max()
    if low > 0:
        ax.set_xlim(low / 1.5, high * 1.5)
        ends = [float(f"{low:.1g}"), float(f"{high:.1g}")]
        ax.set_xticks(ends if ends[1] > 1.5 * ends[0] else ends[1:])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(2))


def _draw_change(ax: Axes, later: pd.DataFrame, bins: pd.DataFrame) -> None:
    ax.set_title("change since then", loc="left")
    change = 100 * later.pivot(index="bin", columns="step", values="relative")
    values = change.to_numpy(dtype="float64")
    if not np.isfinite(values).any():
        say(ax, "no later checkpoint")
        return
    change = change.reindex(bins["bin"])
    reach = float(np.nanmax(np.abs(values))) or 1.0
    sns.heatmap(
        change,
        cmap="PuOr_r",
        norm=Normalize(-reach, reach),
        cbar_kws={"pad": 0.03, "aspect": 30, "format": signed},
        xticklabels=False,
        yticklabels=False,
        rasterized=change.size > 2000,
        ax=ax,
    )
    ax.invert_yaxis()
    bar = ax.collections[0].colorbar
    if bar is not None:
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=FONT_SIZE, length=2.5, width=0.6)
    columns = {step: place + 0.5 for place, step in enumerate(change.columns)}
    # Shapes, since a print in grey cannot tell the two ends of the colours apart.
    for sure, marker in ((later["relative_high"] < 0, "v"), (later["relative_low"] > 0, "^")):
        dark = 100 * later["relative"].abs() > 0.6 * reach
        for colour, cells in ((INK, later[sure & ~dark]), ("white", later[sure & dark])):
            sns.scatterplot(
                x=cells["step"].map(columns),
                y=cells["bin"] + 0.5,
                color=colour,
                marker=marker,
                s=9 if len(columns) <= 40 else 4,
                linewidth=0,
                legend=False,
                label=marker,
                ax=ax,
            )
    few = np.linspace(0, len(columns) - 1, min(len(columns), _MOST_LABELS)).round().astype(int)
    ax.set_xticks(few + 0.5, [str(change.columns[place]) for place in few])
    ax.grid(visible=False)


def _say_trends(ax: Axes, learning: pd.DataFrame) -> None:
    for index, trend in learning.set_index("bin")["trend"].items():
        if trend in _TRENDS:
            ax.annotate(
                _TRENDS[str(trend)],
                (1, int(str(index)) + 0.5),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=FONT_SIZE,
                annotation_clip=False,
            )


def signed(percent: float, _: object = None) -> str:
    """A change in percent: +5%, −10%, and 0% without a sign."""
    return f"{percent:+.3g}%".replace("-", "−") if percent else "0%"
