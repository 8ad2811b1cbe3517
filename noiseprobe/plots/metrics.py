"""What checkpoints were measured to be worth: each metric over steps, and where criteria end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from noiseprobe.analysis.comparison import NAMES
from noiseprobe.plots.names import told_apart
from noiseprobe.plots.panels import name_ends, say
from noiseprobe.plots.saving import figure_of
from noiseprobe.plots.style import (
    GHOST,
    INK,
    PAGE,
    dress,
    key_above,
    literal,
    several_panels,
    styled,
    whole_steps,
)

MOST_NAMED = 6
"""More runs than these are not told apart."""

_LONGEST = 24
_LINE = "#8c8c8c"
_MARKERS = {"baseline": "s", "clip": "^", "few": "D", "dvar": "o"}


@styled
def plot_metrics(
    measured: Mapping[str, pd.DataFrame],
    ends: Mapping[str, Mapping[str, int]] | None = None,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """A panel per metric, a line per run: its values over the steps that were measured.

    Where a criterion ends a run, its mark stands on the run's line. Few runs are named at the ends
    of their lines; many are faint, and a large mark stands at each criterion's medians over runs of
    step and value.

    Args:
        measured: by run the trace of metrics, with the columns step, metric, value.
        ends: by run the step at which each criterion (of `noiseprobe.analysis.stops.COMPARED`) ends
            it; a step that was not measured has no mark.
        axes: where to draw, a panel for each metric by name; a new figure if None.
    """
    parts = [trace.assign(run=run) for run, trace in measured.items()]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"metric": []})
    if len(table):
        table = (
            table[np.isfinite(table["value"])]
            .groupby(["metric", "run", "step"], sort=False, as_index=False)["value"]
            .last()
        )
    metrics = sorted(set(table["metric"]))
    panels = several_panels(axes, metrics or ["nothing"], PAGE, 2.2)
    if not metrics:
        say(panels[0], "nothing measured")
        return panels
    for ax, metric in zip(panels, metrics, strict=True):
        own = table[table["metric"] == metric]
        dress(ax)
        _draw_lines(ax, own, named=ax is panels[-1])
        _mark_ends(ax, own, ends or {})
        runs = own["run"].nunique()
        counted = f"{runs} run{'s' * (runs > 1)}"
        large = "; large: their medians" if ends and runs > MOST_NAMED else ""
        ax.set_title(literal(metric), loc="left")
        ax.set_xlabel(
            f"step (marked: where it ends)\n{counted}{large}" if ends else f"step ({counted})"
        )
        ax.set_ylabel("")
        whole_steps(ax, 4)
    shown = [name for name in _MARKERS if any(name in own for own in (ends or {}).values())]
    if axes is None and shown:
        few = len(measured) <= MOST_NAMED
        style: dict[str, Any] = {"mfc": "white" if few else INK, "mec": INK, "ms": 4, "lw": 0}
        handles = [Line2D([], [], marker=_MARKERS[name], **style) for name in shown]
        key_above(figure_of(panels), handles, [NAMES[name] for name in shown])
    return panels


def _draw_lines(ax: Axes, own: pd.DataFrame, named: bool) -> None:
    runs = list(dict.fromkeys(own["run"]))
    few = len(runs) <= MOST_NAMED
    sns.lineplot(
        own,
        x="step",
        y="value",
        units="run",
        estimator=None,
        errorbar=None,
        color=INK if len(runs) == 1 else _LINE if few else GHOST,
        linewidth=1.2 if few else 0.5,
        marker="o" if own["step"].nunique() == 1 else "",
        ax=ax,
    )
    if few and named and len(runs) > 1:
        last = own.sort_values("step").groupby("run", sort=False)["value"].last()
        names = told_apart([str(run) for run in runs], _LONGEST)
        ends = {literal(name): (last[run], _LINE) for name, run in zip(names, runs, strict=True)}
        name_ends(ax, ends)


def _mark_ends(ax: Axes, own: pd.DataFrame, ends: Mapping[str, Mapping[str, int]]) -> None:
    values = own.set_index(["run", "step"])["value"]
    few = own["run"].nunique() <= MOST_NAMED
    for name, marker in _MARKERS.items():
        found = [
            (steps[name], values[run, steps[name]])
            for run, steps in ends.items()
            if name in steps and (run, steps[name]) in values.index
        ]
        if found:
            x, y = zip(*found, strict=True)
            sns.scatterplot(
                x=list(x),
                y=list(y),
                marker=marker,
                facecolor="white" if few else _LINE,
                edgecolor=INK if few else "none",
                alpha=1 if few else 0.5,
                linewidth=0.8,
                s=16 if few else 6,
                label=name,
                legend=False,
                zorder=3,
                ax=ax,
            )
            if not few:
                middle = np.median(x), np.median(y)
                ax.plot(*middle, marker, color=INK, ms=6, mec="white", mew=0.8, zorder=4)
