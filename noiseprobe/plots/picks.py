"""Which checkpoint to take: the loss at each, and which may be the best."""

import numpy as np
from matplotlib.axes import Axes

from noiseprobe.analysis.best_of import BestOf
from noiseprobe.plots.style import (
    COLUMN,
    GHOST,
    INK,
    colour_of,
    dress,
    literal,
    one_panel,
    styled,
    whole_steps,
)


@styled
def plot_pick(found: BestOf, loss: str = "loss", ax: Axes | None = None) -> Axes:
    """The loss of each checkpoint less the lowest, with simultaneous 95% intervals.

    Those that may be the best are filled, the lowest has a star.

    Args:
        found: what `noiseprobe.analysis.best_of` returns.
        loss: what it is called.
        ax: where to draw; a new figure if None.
    """
    ax = one_panel(ax, COLUMN, 2.5, "pick")
    table, colour = found.table, colour_of("noise")
    ax.axhline(0, color=GHOST, lw=0.8, zorder=1)
    few = len(table) <= 60
    for chosen, edge in ((table["candidate"], colour), (~table["candidate"], INK)):
        rows = table[chosen]
        if few:
            ax.vlines(rows["step"], rows["low"], rows["high"], color=edge, lw=1)
        else:
            ax.vlines(rows["step"], rows["low"], rows["high"], color=edge, lw=0.5, alpha=0.4)
        ax.plot(
            rows["step"],
            rows["difference"],
            "o",
            ms=4 if few else 2,
            color=edge,
            mfc=edge if edge == colour else "white",
            label="may be the best" if edge == colour else "surely worse",
        )
    best = table.iloc[found.best]
    ax.plot(best["step"], 0, marker="*", ms=9, color=colour, mec="white", ls="", zorder=5)
    dress(ax)
    whole_steps(ax, 6)
    if np.isfinite(table["high"]).any():
        # Some may be far above, as where training begins: what there is to choose among is below.
        reach = float(np.nanmax(table.loc[table["candidate"], "high"].abs()))
        top = max(3 * reach, 2 * float(np.nanquantile(table["difference"], 0.75)))
        top = 1.05 * min(top, float(np.nanmax(table["high"])))
        ax.set_ylim(top=top)
        beyond = table.loc[table["difference"] > top, "step"]
        ax.plot(beyond, np.full(len(beyond), top), "^", ms=4, color=INK, mfc=INK, clip_on=False)
    ax.set(
        xlabel="training step (bars: 95%, for all together)",
        ylabel=f"{literal(loss)}\nabove the lowest",
    )
    ax.legend(frameon=False, loc="best")
    return ax
