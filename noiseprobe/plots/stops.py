"""Whether a criterion adapts to the concept: the steps at which each stops, over runs."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.analysis.comparison import NAMES
from noiseprobe.plots.panels import say
from noiseprobe.plots.rows import draw_rows, name_rows, put_value
from noiseprobe.plots.style import COLUMN, FONT_SIZE, INK, one_panel, styled, whole_steps
from noiseprobe.run.defaults import METHODS

_SHOWN = ("clip", "few", "dvar")
_CLOUD = "#6b6b6b"


@styled
def plot_stops(raw: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Under each method a row per criterion: a dot per run at its stop, and below their median.

    Runs that it let go on to the last step are hollow; a dashed line is the method's last step.
    The bar is the 95% bootstrap interval of the median over runs. Median and number of runs stand
    at the right.

    Args:
        raw: what `noiseprobe.analysis.comparison.raw_numbers` returns.
        ax: where to draw; a new figure if None.
    """
    rows = stops_by_row(raw)
    ax = one_panel(ax, COLUMN, 0.9 + 0.26 * max(len(rows), 2), "stops")
    if rows.empty:
        say(ax, "no run with a criterion")
        return ax
    for own in rows.reset_index().to_dict("records"):
        of_method = raw[raw["method"] == own["method"]]
        if own["variant"] == "":
            _begin_method(ax, own["row"], own["method"], of_method, len(rows.loc[[own["method"]]]))
            continue
        _draw_runs(ax, own["row"], of_method[of_method["variant"] == own["variant"]])
        put_value(ax, own["row"], f"{own['median']:.0f} ({own['runs']:.0f})")
    draw_rows(ax, rows.set_index("row"), "median", "low", "high", lambda _: INK)
    put_value(ax, 0, "median (n)", head=True)
    name_rows(ax, [NAMES.get(name, "") for name in rows.index.get_level_values("variant")])
    ax.set_xlim(0, 1.04 * float(raw["step"].max()))
    ax.set_xlabel("step of the stop; hollow: it never fired\nbar: 95% interval of the median")
    whole_steps(ax, 5)
    return ax


def stops_by_row(raw: pd.DataFrame) -> pd.DataFrame:
    """By method and criterion: row, runs, the median of their stops, and low, high: its interval.

    The intervals are those of the bootstrap, 95%, over runs. Before a method's criteria, an empty
    row under the criterion "" makes room for its name.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for method in [name for name in METHODS if name in set(raw["method"])]:
        stops = raw[raw["method"] == method].groupby("variant")["step"]
        criteria = [criterion for criterion in _SHOWN if criterion in stops.groups]
        if criteria:
            found[method, ""] = {"row": len(found)}
        for criterion in criteria:
            steps = stops.get_group(criterion).to_numpy(dtype="float64")
            low, high = bootstrap_interval(steps, np.median)
            middle = {"runs": len(steps), "median": float(np.median(steps))}
            found[method, criterion] = {"row": len(found)} | middle | {"low": low, "high": high}
    columns = ["row", "runs", "median", "low", "high"]
    index = pd.MultiIndex.from_tuples([*found], names=["method", "variant"]) if found else None
    table = pd.DataFrame([*found.values()], index=index, columns=columns, dtype="float64")
    return table.astype({"row": "int64"})


def _begin_method(ax: Axes, row: int, method: str, of_method: pd.DataFrame, rows: int) -> None:
    """Its name, and how far its runs went: a dashed line beside its rows."""
    last = float(of_method["step"].max())
    ax.plot([last, last], [row + 0.3, row + rows - 0.5], color=INK, lw=0.8, ls="--", zorder=1)
    words = f"{method}, last step {last:.0f}"
    ax.annotate(words, (0, row), (2, 0), textcoords="offset points", va="center", size=FONT_SIZE)


def _draw_runs(ax: Axes, row: int, stops: pd.DataFrame) -> None:
    # Seaborn's own jitter would draw from numpy's global random state.
    jitter = np.random.default_rng(row).uniform(-0.12, 0.12, len(stops))
    fired = stops["fired"].to_numpy(dtype=bool)
    styles: dict[str, tuple[Any, dict[str, Any]]] = {
        "fired": (fired, {"color": _CLOUD, "linewidth": 0, "alpha": 0.6}),
        "never": (~fired, {"facecolor": "white", "edgecolor": _CLOUD, "linewidth": 0.7}),
    }
    for label, (chosen, style) in styles.items():
        if chosen.any():
            sns.scatterplot(
                x=stops["step"].to_numpy()[chosen],
                y=(row - 0.28 + jitter)[chosen],
                s=9,
                legend=False,
                label=label,
                rasterized=len(stops) > 2000,
                ax=ax,
                **style,
            )
