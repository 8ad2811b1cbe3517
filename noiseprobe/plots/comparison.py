"""The comparison of criteria over runs: what each costs, and what its checkpoint is worth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from noiseprobe.analysis.comparison import NAMES
from noiseprobe.plots.panels import say
from noiseprobe.plots.rows import draw_rows, name_rows, put_value
from noiseprobe.plots.style import INK, PAGE, several_panels, styled

MEASURES = {
    "speedup": ("times faster", ".1f"),
    "val_clip_img": ("Val CLIP img", ".3f"),
    "val_clip_txt": ("Val CLIP txt", ".3f"),
}
"""The panels: what is shown, under which name, with which digits."""


@styled
def plot_comparison(summary: pd.DataFrame, axes: Sequence[Axes] | None = None) -> list[Axes]:
    """A row per method and criterion, and three panels: its speed-up and two similarities.

    Dots are means over concepts, bars their 95% intervals; the mean stands at the right. So the
    trade of time for similarity is read along a row. The methods' headings tell how many runs.

    Args:
        summary: what `noiseprobe.analysis.comparison.table` returns; its order is kept.
        axes: where to draw, three panels; a new figure if None.
    """
    table, names = with_headings(summary)
    height = 0.75 + 0.17 * max(len(names), 3)
    panels = several_panels(axes, [*MEASURES], PAGE, height)
    named = False
    for ax, (name, (label, digits)) in zip(panels, MEASURES.items(), strict=True):
        ax.set_title(f"{label}, higher is better" if name != "speedup" else label, loc="left")
        if table.empty or not np.isfinite(table[name].to_numpy(dtype="float64")).any():
            say(ax, "not measured")
            continue
        if name == "speedup":
            ax.axvline(1, color=INK, lw=0.8, ls="--", zorder=1)
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        draw_rows(ax, table, name, f"{name}_low", f"{name}_high", lambda _: INK)
        for row, (runs, value) in enumerate(zip(table["runs"], table[name], strict=True)):
            if np.isfinite(runs):
                put_value(ax, row, f"{value:{digits}}" if np.isfinite(value) else "unknown")
        name_rows(ax, names)
        ax.tick_params(axis="y", labelleft=not named)
        named = True
        ax.set_xlabel("95% intervals over concepts")
    return panels


def with_headings(summary: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows with an empty one before each method; and their names, of headings with the runs."""
    parts: list[pd.DataFrame] = []
    names: list[str] = []
    for method, rows in summary.groupby("method", sort=False):
        parts += [pd.DataFrame({"method": [method]}), rows]
        runs = sorted(set(rows["runs"]))
        counted = " to ".join(f"{count}" for count in dict.fromkeys((runs[0], runs[-1])))
        names += [f"{method} (n={counted})", *(NAMES[variant] for variant in rows["variant"])]
    table = pd.concat(parts, ignore_index=True) if parts else summary
    return table.reset_index(drop=True), names
