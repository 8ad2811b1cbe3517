"""How far from a judge's best each criterion stops, and its difference from another."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from noiseprobe.plots.panels import say
from noiseprobe.plots.rows import draw_rows, mark_place, name_rows, put_value
from noiseprobe.plots.style import INK, PAGE, several_panels, styled


@styled
def plot_regret(
    summary: pd.DataFrame, paired: pd.DataFrame, axes: Sequence[Axes] | None = None
) -> list[Axes]:
    """A row per criterion, the least regret on top: its mean regret, and its paired difference.

    Bars are 95% intervals over origins of traces; the means stand at the right.

    Args:
        summary: what `noiseprobe.analysis.regret.summary` returns.
        paired: what `noiseprobe.analysis.regret.paired` returns.
        axes: where to draw, two panels; a new figure if None.
    """
    height = 0.95 + 0.2 * max(len(summary), 2)
    own, less = several_panels(axes, ("regret", "difference"), PAGE, height)
    table = summary.sort_values("regret", kind="stable").set_index("criterion")
    if not table["regret"].notna().any():
        for ax in (own, less):
            say(ax, "no trace with a regret")
        return [own, less]
    draw_regrets(own, table)
    own.set_title("regret: 0 the judge's best, 1 its first", loc="left")
    own.set_xlim(left=min(0.0, own.get_xlim()[0]))
    over = "95% intervals over " if table["origins"].max() > 1 else ""
    own.set_xlabel(over + _units(table))
    if len(paired):
        draw_differences(less, paired, [str(name) for name in table.index])
    else:
        say(less, "no other criterion")
    less.tick_params(axis="y", labelleft=False)
    return [own, less]


def draw_regrets(ax: Axes, table: pd.DataFrame) -> None:
    """A row per criterion (the index): its mean with interval, and in words."""
    draw_rows(ax, table, "regret", "regret_low", "regret_high", lambda _: INK)
    for row, value in enumerate(table["regret"]):
        put_value(ax, row, f"{value:.2f}" if value == value else "unknown")
    name_rows(ax, [str(name) for name in table.index])


def draw_differences(ax: Axes, paired: pd.DataFrame, names: Sequence[str]) -> None:
    """A row for each of `names`: its regret less that of `against`, left of 0 where it is better.

    Args:
        paired: rows of `noiseprobe.analysis.regret.paired`, against one criterion.
        names: of criteria, top down; that which the others are held against may be one.
    """
    against = str(paired["against"].iloc[0])
    table = paired.set_index("criterion").reindex(list(names))
    mark_place(ax, 0.0, f"as {against}")
    draw_rows(ax, table, "regret", "regret_low", "regret_high", lambda _: INK)
    for row, (name, value) in enumerate(table["regret"].items()):
        unknown = "0" if name == against else "unknown"
        put_value(ax, row, f"{value:+.2f}".replace("-", "−") if value == value else unknown)
    name_rows(ax, names)
    ax.set_xlabel(f"regret less that of {against} on the same {counted(paired['traces'])}")


def _units(table: pd.DataFrame) -> str:
    """What the intervals are over: the traces, or their origins where these are fewer."""
    traces, origins = counted(table["traces"]), counted(table["origins"])
    return traces if traces == origins else f"{origins.replace('trace', 'origin')} of {traces}"


def counted(traces: pd.Series) -> str:
    """How many traces, if all rows have as many, or from how many to how many."""
    if not len(traces):
        return "no traces"
    low, high = int(traces.min()), int(traces.max())
    if high == 1:
        return "1 trace"
    return f"{low} traces" if low == high else f"{low} to {high} traces"
