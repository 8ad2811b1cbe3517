"""Losses that tell, over training steps: on fixed batches, paired, and left out one at a time."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from noiseprobe.plots.panels import name_ends, say
from noiseprobe.plots.style import (
    COLUMN,
    GHOST,
    INK,
    colour_of,
    dress,
    literal,
    one_panel,
    put_heading,
    styled,
    whole_steps,
)

_NAMES = {"l_det": "trained on", "l_val": "held out"}
_COLOURS = {"l_det": INK, "l_val": colour_of("noise")}
_OTHERS = [colour_of(name) for name in ("vae_noise", "original", "images", "captions")]

_AGAINST = "loss against its start"
_DRAWS = "band: 95%, over draws"


@styled
def plot_tracked(
    tracked: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    best: tuple[str, int] | None = None,
    stop: tuple[str, int] | None = None,
) -> Axes:
    """How the loss on each fixed batch has changed since its start, with a 95% band.

    Args:
        tracked: by name, what `noiseprobe.analysis.tracked.changes` returns.
        ax: where to draw; a new figure if None.
        best: the name of the loss that decides and its best step, which a star marks.
        stop: the criterion that stops and the step at which it does, which a line marks.
    """
    ax = one_panel(ax, COLUMN, 2.5, "tracked")
    shown = {name: table for name, table in tracked.items() if len(table)}
    if not shown:
        say(ax, "nothing recorded")
        return ax
    ax.axhline(0, color=GHOST, lw=0.8, zorder=1)
    others = iter(_OTHERS * len(shown))
    ends = {}
    for name, table in shown.items():
        colour = _COLOURS.get(name) or next(others)
        _draw(ax, table, "change", colour)
        ends[_NAMES.get(name, literal(name))] = float(table["change"].iloc[-1]), colour
        if best is not None and best[0] == name:
            at = table[table["step"] == best[1]]
            _star(ax, at, "change", colour, f"lowest: step {best[1]}")
    dress(ax)
    whole_steps(ax, 6)
    ax.set(xlabel=f"training step ({_DRAWS})", ylabel=_AGAINST)
    name_ends(ax, ends)
    if stop is not None:
        ax.axvline(stop[1], color=colour_of("timesteps"), lw=1, ls="--", label="stop", zorder=1.5)
        ax.set_xlabel(f"training step ({_DRAWS};\n{literal(stop[0])} stops at {stop[1]})")
    return ax


@styled
def plot_paired(train: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The paired loss of each training batch as a dot, and its running mean with a 95% band.

    L_det against its start is there as a line, where it was recorded: what a fixed batch tells of
    the same gain.

    Args:
        train: the training trace (`noiseprobe.run.traces.TRAIN_COLUMNS`).
        ax: where to draw; a new figure if None.
    """
    ax = one_panel(ax, COLUMN, 2.5, "paired")
    rows = train[np.isfinite(train["paired_mean"])]
    if rows.empty:
        say(ax, "no paired loss recorded")
        return ax
    ax.axhline(0, color=GHOST, lw=0.8, zorder=1)
    colour = colour_of("vae_noise")
    dots = rows[np.isfinite(rows["paired"])]
    sns.scatterplot(
        x=dots["step"],
        y=dots["paired"],
        color=colour,
        s=7 if len(dots) < 500 else 3,
        alpha=0.35,
        linewidth=0,
        rasterized=True,
        ax=ax,
    )
    reach = 1.96 * rows["paired_se"]
    table = rows.assign(low=rows["paired_mean"] - reach, high=rows["paired_mean"] + reach)
    _draw(ax, table, "paired_mean", colour)
    ends = {"running mean": (float(rows["paired_mean"].iloc[-1]), colour)}
    fixed = train[np.isfinite(train["l_det"])]
    if len(fixed) > 1 and fixed["step"].iloc[0] == 0:
        against = fixed["l_det"] - fixed["l_det"].iloc[0]
        sns.lineplot(x=fixed["step"], y=against, color=INK, errorbar=None, ax=ax)
        ends["$L_{\\mathrm{det}}$"] = float(against.iloc[-1]), INK
    # Single batches reach far beyond what there is to see.
    inner = np.quantile(dots["paired"], [0.02, 0.98])
    lines = [table["low"].min(), table["high"].max(), *(end for end, _ in ends.values())]
    low, high = min(inner[0], *lines), max(inner[1], *lines, 0.0)
    ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    outside = int(((dots["paired"] < ax.get_ylim()[0]) | (dots["paired"] > ax.get_ylim()[1])).sum())
    dress(ax)
    whole_steps(ax, 6)
    beyond = f"; {outside} beyond" if outside else ""
    ax.set(
        xlabel=f"training step (dot: a batch{beyond};\nband: 95% of the running mean)",
        ylabel="loss less the starting\nmodel's, same draws",
    )
    name_ends(ax, ends)
    return ax


@styled
def plot_recent(train: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each stretch of steps brought of the training loss, with a 95% interval.

    Args:
        train: the training trace (`noiseprobe.run.traces.TRAIN_COLUMNS`).
        ax: where to draw; a new figure if None.
    """
    ax = one_panel(ax, COLUMN, 2.5, "recent")
    rows = train[np.isfinite(train["recent"])]
    if rows.empty:
        say(ax, "no recent loss recorded")
        return ax
    ax.axhline(0, color=GHOST, lw=0.8, zorder=1)
    colour, reach = colour_of("captions"), 1.96 * rows["recent_se"]
    ax.vlines(rows["step"], rows["recent"] - reach, rows["recent"] + reach, color=colour, lw=1.2)
    sns.scatterplot(x=rows["step"], y=rows["recent"], color=colour, s=14, ax=ax)
    dress(ax)
    whole_steps(ax, 6)
    ax.set_xlim(left=0)
    ax.set(
        xlabel="training step (bar: 95%, over samples)",
        ylabel="change of the loss\nover the stretch, same draws",
    )
    return ax


@styled
def plot_cross(
    table: pd.DataFrame,
    folds: Sequence[pd.DataFrame] = (),
    ax: Axes | None = None,
    recommended: int | None = None,
) -> Axes:
    """The held-out loss against its start, averaged over photographs left out, with a 95% band.

    Args:
        table: what `noiseprobe.analysis.crossing.crossed` returns.
        folds: the training trace of each training that left one out, a faint line each.
        ax: where to draw; a new figure if None.
        recommended: the step to take, which a star marks.
    """
    ax = one_panel(ax, COLUMN, 2.5, "cross")
    if table.empty:
        say(ax, "nothing recorded")
        return ax
    colour = _COLOURS["l_val"]
    ax.axhline(0, color=GHOST, lw=0.8, zorder=1)
    for fold in folds:
        curve = fold.set_index("step")["l_val"].dropna()
        ax.plot(curve.index, curve - curve.iloc[0], color=colour, lw=0.6, alpha=0.45)
    _draw(ax, table, "mean", colour)
    if recommended is not None:
        at = table[table["step"] == recommended]
        _star(ax, at, "mean", colour, f"lowest: step {recommended}")
    dress(ax)
    whole_steps(ax, 6)
    count = int(table["folds"].iloc[0])
    ax.set(
        xlabel=f"training step (faint: each of {count} left out;\nband: 95% over photographs)",
        ylabel=f"held-out {_AGAINST}",
    )
    return ax


@styled
def plot_gap(bins: pd.DataFrame, ax: Axes | None = None, time_axis: str = "timestep") -> Axes:
    """The change of the loss since the start by timestep, on both kinds of photographs.

    Args:
        bins: what `noiseprobe.analysis.gap.gap_by_timestep` returns.
        ax: where to draw; a new figure if None.
        time_axis: what `Run.time_axis` says.
    """
    ax = one_panel(ax, COLUMN, 2.5, "gap")
    known = bins[np.isfinite(bins[["trained", "held"]]).any(axis=1)]
    if known.empty:
        say(ax, "nothing probed")
        return ax
    ax.axhline(0, color=GHOST, lw=0.8, zorder=1)
    middle = (known["from"] + known["to"]) / 2
    width = float((known["to"] - known["from"]).iloc[0])
    for name, kind, shift in (("l_det", "trained", -0.1), ("l_val", "held", 0.1)):
        places, colour = middle + shift * width, _COLOURS[name]
        spread = known[f"{kind}_low"], known[f"{kind}_high"]
        ax.vlines(places, *spread, color=colour, lw=1.2)
        sns.scatterplot(x=places, y=known[kind], color=colour, s=14, ax=ax, label=_NAMES[name])
    dress(ax)
    ax.legend(frameon=False, loc="best")
    ax.set(
        xlabel=f"{time_axis} (more noise to the right; 95% over draws)",
        ylabel="change of the loss\nsince the start",
    )
    return ax


def _draw(ax: Axes, table: pd.DataFrame, column: str, colour: str) -> None:
    """A line with its interval; evaluations that are few have dots."""
    steps = table["step"].to_numpy(np.float64)
    known = np.isfinite(table["low"].to_numpy(np.float64))
    ends = [table[name].to_numpy(np.float64)[known] for name in ("low", "high")]
    ax.fill_between(steps[known], *ends, color=colour, alpha=0.15, lw=0)
    marker = "o" if len(table) < 12 else ""
    values = table[column].to_numpy()
    sns.lineplot(x=steps, y=values, color=colour, marker=marker, errorbar=None, ax=ax)


def _star(ax: Axes, at: pd.DataFrame, column: str, colour: str, words: str) -> None:
    if at.empty:
        return
    ax.plot(at["step"], at[column], ls="", marker="*", ms=8, color=colour, mec="white")[
        0
    ].set_clip_on(False)
    put_heading(ax, f"★ {words}", "right")
