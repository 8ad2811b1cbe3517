"""The figure of growth: time and memory against how much there is."""

from collections.abc import Mapping, Sequence

import matplotlib.axes
import pandas as pd
import seaborn as sns

from experiments.bench.results import Part
from noiseprobe.plots.style import PAGE, colour_of, dress, key_above, several_panels, styled

STEM = "growth"
COLOURS = ("timesteps", "noise", "images", "vae_noise")
"""Whose colours the things have, in their order."""


def of_file(parts: Mapping[str, Part]) -> pd.DataFrame:
    """What growth found: columns what, times, round, seconds, memory, relative to the least."""
    rows = []
    for row in parts["growth"].rows if "growth" in parts else []:
        detail = row.detail
        for number in range(len(detail.get("seconds", ()))):
            seconds, memory = detail["seconds"][number], detail["memory"][number]
            for place, count in enumerate(detail["count"]):
                rows.append(
                    {
                        "what": detail["name"],
                        "times": count / detail["count"][0],
                        "round": number,
                        "seconds": seconds[place] / seconds[0],
                        "memory": memory[place] / memory[0],
                    }
                )
    return pd.DataFrame(rows, columns=["what", "times", "round", "seconds", "memory"])


@styled
def plot_growth(
    growth: pd.DataFrame, axes: Sequence[matplotlib.axes.Axes] | None = None
) -> list[matplotlib.axes.Axes]:
    """Seconds and peak memory against how much there is, each as a multiple of the least amount.

    Lines are medians over rounds, dots the rounds; the dashed line is what linear time is.

    Args:
        growth: what `of_file` gives.
        axes: two panels; a new figure if None.
    """
    panels = several_panels(axes, ["seconds", "memory"], PAGE, 2.4)
    names = list(dict.fromkeys(growth["what"]))
    palette = {name: colour_of(COLOURS[place % 4]) for place, name in enumerate(names)}
    ends = [growth["times"].min(), growth["times"].max()]
    for ax, column, label in zip(
        panels,
        ("seconds", "memory"),
        ("time, × the least", "peak memory, × the least"),
        strict=True,
    ):
        common = {"data": growth, "x": "times", "y": column, "hue": "what", "palette": palette}
        sns.lineplot(**common, estimator="median", errorbar=None, legend=False, ax=ax)
        sns.scatterplot(**common, s=12, legend=False, ax=ax)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(growth["times"].unique()), labels=None)
        ax.xaxis.set_major_formatter("{x:.3g}")
        ax.set_xlabel("as much, × the least")
        ax.set_ylabel(label)
        dress(ax)
    panels[0].plot(ends, ends, color=colour_of("deterministic"), lw=0.8, ls="--", zorder=1)
    panels[0].set_yscale("log", base=2)
    panels[0].yaxis.set_major_formatter("{x:.3g}")
    panels[1].set_ylim(0, max(2.0, 1.1 * growth["memory"].max()))
    figure = panels[0].figure
    handles = [panels[0].plot([], [], color=palette[name])[0] for name in names]
    handles.append(panels[0].plot([], [], color=colour_of("deterministic"), lw=0.8, ls="--")[0])
    key_above(figure, handles, [*names, "linear"])  # type: ignore[arg-type]
    return panels
