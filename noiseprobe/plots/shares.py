"""What the variance of the batch loss is made of: by factor at the end, and over training."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.panels import name_ends, say
from noiseprobe.plots.rows import INTERVAL, name_rows, put_value, with_ends
from noiseprobe.plots.style import (
    PAGE,
    colour_of,
    dress,
    plain_name,
    several_panels,
    styled,
    whole_steps,
)

FLOOR = 1e-4
"""Shares below this, also estimates below 0, are said to be; the logarithmic axis ends there."""

_MOST_MARKED = 30
_KINDS = {"first": ("alone", "o", -0.17), "total": ("with interactions", "D", 0.17)}


@styled
def plot_shares(
    table: pd.DataFrame,
    axes: Sequence[Axes] | None = None,
    over: str = "pairs of draws",
) -> list[Axes]:
    """Each factor's share of the batch loss's variance at the last checkpoint, and over steps.

    Left a row per factor: filled its first-order share ("alone"), hollow its total one ("with
    interactions"), with 95% intervals, and both in words. The axis is logarithmic and begins at
    `FLOOR`; a triangle there stands for what is less. Right the total share at each checkpoint.

    Args:
        table: what `noiseprobe.analysis.variance_shares` returns.
        axes: where to draw, two panels; a new figure if None.
        over: what the intervals are over, with its number: "12 concepts".
    """
    columns = [
        "step",
        "factor",
        *(f"{kind}{end}" for kind in _KINDS for end in ("", "_low", "_high")),
    ]
    table = table.reindex(columns=columns)
    rows, steps = several_panels(axes, ("shares", "over_steps"), PAGE, 2.2, width_ratios=(3, 2))
    for ax in (rows, steps):
        dress(ax)
    if not np.isfinite(table[["first", "total"]].to_numpy(dtype="float64")).any():
        for ax in (rows, steps):
            say(ax, "nothing probed")
        return [rows, steps]
    last = table[table["step"] == table["step"].max()].set_index("factor").reindex(FACTORS)
    order = list(last["total"].sort_values(ascending=False, kind="stable").index)
    _draw_last(rows, last.loc[order])
    rows.set_xlabel(f"share of the variance, with 95% intervals over {over}")
    rows.set_title(f"at step {table['step'].max()}", loc="left")
    _draw_steps(steps, table, order)
    return [rows, steps]


def _draw_last(ax: Axes, last: pd.DataFrame) -> None:
    ax.set_xscale("log")
    ax.set_xlim(FLOOR, 1.6)
    _percent(ax, "x")
    last = last.assign(row=np.arange(len(last), dtype="float64"))
    for kind, (_, marker, offset) in _KINDS.items():
        shown = last.assign(row=last["row"] + offset).dropna(subset=[kind]).reset_index()
        below = shown[kind] < FLOOR
        ends = with_ends(shown, kind, f"{kind}_low", f"{kind}_high")
        ends[kind] = ends[kind].clip(lower=FLOOR)
        for group, mark in ((~below, marker), (below, "<")):
            names = list(shown["factor"][group])
            if not names:
                continue
            sns.pointplot(
                ends[ends["factor"].isin(names)],
                x=kind,
                y="row",
                hue="factor",
                hue_order=names,
                palette=[colour_of(name) for name in names],
                orient="y",
                native_scale=True,
                linestyle="none",
                marker=mark,
                markersize=4,
                markerfacecolor=None if kind == "first" else "white",
                markeredgewidth=1,
                err_kws={"linewidth": 1.5},
                legend=False,
                clip_on=False,
                ax=ax,
                **INTERVAL,
            )
    for line in ax.lines:
        if line.get_marker() != "None":
            line.set_zorder(4)  # a hollow mark is not struck through by its interval
    for row, (_, share) in enumerate(last.iterrows()):
        put_value(ax, row, " · ".join(in_percent(share[kind]) for kind in _KINDS))
    name_rows(ax, [plain_name(str(name)) for name in last.index])
    put_value(ax, 0, "● alone · ◇ with interactions", head=True)


def _draw_steps(ax: Axes, table: pd.DataFrame, order: Sequence[str]) -> None:
    ax.set_title("with interactions, over training", loc="left")
    ax.set_yscale("log")
    ax.set_ylim(FLOOR, 1.6)
    _percent(ax, "y")
    known = table[table["total"] >= FLOOR]
    ax.set_xlabel("training step")
    ax.set_ylabel("")
    if known.empty:
        say(ax, f"no share above {FLOOR:.2%}")
        return
    sns.lineplot(
        known,
        x="step",
        y="total",
        hue="factor",
        hue_order=order,
        palette=[colour_of(name) for name in order],
        errorbar=None,
        estimator=None,
        marker="o" if known["step"].nunique() <= _MOST_MARKED else "",
        markeredgewidth=0,
        legend=False,
        ax=ax,
    )
    ends = known.sort_values("step").groupby("factor", sort=False)["total"].last()
    name_ends(
        ax, {plain_name(str(name)): (ends[name], colour_of(str(name))) for name in ends.index}
    )
    whole_steps(ax, 4)
    ax.set_xlabel("training step")
    ax.set_ylabel("")


def _percent(ax: Axes, which: str) -> None:
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator([1e-4, 1e-3, 1e-2, 1e-1, 1]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def in_percent(share: float) -> str:
    """A share with two digits, or that it is below `FLOOR`, or unknown."""
    if not np.isfinite(share):
        return "unknown"
    return f"<{FLOOR:.2%}" if share < FLOOR else f"{100 * share:.2g}%"
