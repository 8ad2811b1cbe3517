"""The semi-deterministic panel: the loss curve that each source of randomness would show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from noiseprobe.analysis import as_seen, batch_losses, deterministic_losses, settings_in_order
from noiseprobe.plots.panels import say
from noiseprobe.plots.saving import figure_of
from noiseprobe.plots.style import (
    FONT_SIZE,
    INK,
    PAGE,
    colour_of,
    dress,
    key_above,
    marker_for,
    measured,
    plain_name,
    several_panels,
    styled,
    whole_steps,
)

_BAND = 0.28
_KEY = "#707070"

CROWDED = 60
"""More checkpoints than that, and lines from one to the next run into each other."""


@styled
def plot_settings(
    probe: pd.DataFrame,
    axes: Sequence[Axes] | None = None,
    seen: pd.DataFrame | None = None,
) -> list[Axes]:
    """The batch loss over training steps under each setting, side by side on one y axis.

    In each panel: as a line in the setting's colour what a person would see, who redraws at each
    checkpoint; behind it a band from the least to the most of all redraws at a checkpoint; in black
    the trace where nothing is redrawn. That is one batch of many, and lies where it happens to lie:
    it is moved up or down as a whole, to the median of the redraws, so that its course can be
    compared with theirs. Where redraws do not differ, words say so. Where a few heavy outliers
    would flatten all else, the y axis leaves them out, triangles at its edge stand in their place,
    and a note counts them. Each panel is labelled with its setting.

    Args:
        probe: the probe trace (`noiseprobe.run.traces.PROBE_COLUMNS`).
        axes: where to draw, one for each setting; a new figure if None.
        seen: what `noiseprobe.run.directory.Run.seen_trace` returns, a redraw of its own for each
            checkpoint; without it the line takes those of `probe` in turn, and the key says so.
    """
    settings = settings_in_order(probe)
    labels, width = settings or ["settings"], PAGE * max(len(settings), 7) / 7
    panels = several_panels(axes, labels, width, 2.4, sharex=True, sharey=True)
    losses = _finite(batch_losses(probe))
    if losses.empty:
        for ax in panels:
            say(ax, "nothing probed")
        return panels
    fresh = _finite(batch_losses(seen)) if seen is not None else losses.iloc[:0]
    lines = {setting: _seen(probe, fresh, setting) for setting in settings}
    shown = pd.concat([losses, fresh])
    fixed = deterministic_losses(probe)
    ghost = measured(fixed.index, fixed)
    limits = _limits(shown)
    for ax, setting in zip(panels, settings, strict=True):
        ax.set_title(_title(setting))
        of_setting = shown[shown["setting"] == setting]
        if setting == "deterministic":
            ax.plot(ghost.index, ghost, color=INK, lw=1.8, marker=marker_for(ghost), label="fixed")
        else:
            within = of_setting[of_setting["loss"].between(*limits)]
            _draw_setting(ax, within, lines[setting], ghost, colour_of(setting))
        ax.set_ylim(*limits)
        if words := _without_effect(probe[probe["setting"] == setting], redraws=of_setting):
            _say_beside(ax, words, of_setting["loss"])
        _mark_beyond(ax, of_setting, limits, colour_of(setting))
        ax.set(xlabel="", ylabel="")
        dress(ax)
        whole_steps(ax, 3)
    panels[0].set_ylabel("batch loss")
    _explain(panels, probe, fresh=len(fresh) > 0, ghost=len(ghost) > 0)
    return panels


def _finite(losses: pd.DataFrame) -> pd.DataFrame:
    return losses[np.isfinite(losses["loss"])]


def _seen(probe: pd.DataFrame, fresh: pd.DataFrame, setting: str) -> pd.Series:
    """What a person sees who redraws `setting` at each checkpoint, at even distances.

    A last checkpoint that training ended with may come right after the one before it, where two
    redraws would stand on top of each other: the one before is then left out.
    """
    own = fresh[fresh["setting"] == setting]
    trace = own.set_index("step")["loss"] if len(own) else as_seen(probe, setting)
    line = measured(trace.index, trace)
    gaps = np.diff(line.index.to_numpy())
    if len(gaps) > 3 and 4 * gaps[-1] < np.median(gaps[:-1]):
        line = line.drop(line.index[-2])
    return line


def _title(setting: str) -> str:
    if setting == "deterministic":
        return "nothing\nredrawn"
    if setting == "original":
        return f"{plain_name(setting)}\nredrawn"
    if "+" in setting:
        return plain_name(setting).replace(" + ", "\n+ ") + "\nredrawn"
    return f"only {plain_name(setting)}\nredrawn"


def _draw_setting(
    ax: Axes, redraws: pd.DataFrame, line: pd.Series, ghost: pd.Series, colour: str
) -> None:
    if redraws["step"].nunique() > 1:
        sns.lineplot(
            redraws,
            x="step",
            y="loss",
            estimator="median",
            errorbar=("pi", 100),
            color=colour,
            linewidth=0,
            err_kws={"alpha": _BAND, "linewidth": 0},
            label="_band",
            legend=False,
            ax=ax,
        )
    else:
        sns.scatterplot(redraws, x="step", y="loss", color=colour, s=12, alpha=0.5, ax=ax)
    crowded = len(line) > CROWDED
    width, marker = 0.5 if crowded else 0.9, marker_for(line)
    ax.plot(line.index, line, color=colour, lw=width, marker=marker, ms=4, label="seen", zorder=4)
    if len(ghost) and len(redraws):
        moved = ghost + _distance(redraws, ghost)
        # Where the two nearly coincide both are to be seen; where one is a thicket, the other.
        front, marker = (5 if crowded or len(moved) == 1 else 3), "D" if len(moved) == 1 else ""
        ax.plot(moved.index, moved, color=INK, lw=1.8, marker=marker, label="ghost", zorder=front)


def _distance(redraws: pd.DataFrame, ghost: pd.Series) -> float:
    """How far the redraws lie above the trace where nothing is redrawn: the median of all."""
    above = redraws["loss"] - redraws["step"].map(ghost)
    return float(above.median()) if above.notna().any() else 0.0


def _limits(losses: pd.DataFrame) -> tuple[float, float]:
    """The shared y axis: all losses of each setting but those beyond its outer fences.

    The outer fences lie 3 interquartile ranges beyond the quartiles (Tukey, Exploratory Data
    Analysis, 1977). Where nothing is redrawn, all is progress, not scatter, and is never cut.
    """
    lowest, highest = [], []
    for setting, group in losses.groupby("setting")["loss"]:
        low, high = float(group.min()), float(group.max())
        if setting != "deterministic":
            first, third = group.quantile([0.25, 0.75])
            low = max(low, first - 3 * (third - first))
            high = min(high, third + 3 * (third - first))
        lowest.append(low)
        highest.append(high)
    low, high = min(lowest), max(highest)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _without_effect(of_setting: pd.DataFrame, redraws: pd.DataFrame) -> str:
    """Why redraws do not differ, in words; "" where they do, or where there is but one."""
    counts = redraws.groupby("step")["loss"]
    if counts.size().max() < 2:
        return ""
    # Rows are cut into micro-batches in another way for each redraw, which rounds differently.
    if (counts.max() - counts.min() > 1e-5 * counts.mean().abs()).any():
        return ""
    if (of_setting["setting"] == "captions").all() and of_setting["caption"].nunique() == 1:
        return "one caption:\nnothing to\nredraw"
    return "redraws do\nnot differ"


def _say_beside(ax: Axes, words: str, losses: pd.Series) -> None:
    """Words in the half of the panel where the losses are not."""
    below = losses.median() > np.mean(ax.get_ylim())
    ax.text(
        0.5,
        0.08 if below else 0.92,
        words,
        transform=ax.transAxes,
        ha="center",
        va="bottom" if below else "top",
        fontsize=FONT_SIZE,
    )


def _mark_beyond(ax: Axes, shown: pd.DataFrame, limits: tuple[float, float], colour: str) -> None:
    """Triangles at the edge of the y axis where losses lie beyond it, and how many they are."""
    for edge, beyond, marker, height, alignment in (
        (limits[1], shown["loss"] > limits[1], "^", 0.95, "top"),
        (limits[0], shown["loss"] < limits[0], "v", 0.05, "bottom"),
    ):
        if beyond.any():
            steps = shown["step"][beyond].unique()
            ax.plot(steps, np.full(len(steps), edge), color=colour, ls="", marker=marker, ms=4)[
                0
            ].set_clip_on(False)
            ax.text(
                0.97,
                height,
                f"{int(beyond.sum())} beyond",
                transform=ax.transAxes,
                ha="right",
                va=alignment,
                fontsize=FONT_SIZE,
            )


def _explain(panels: Sequence[Axes], probe: pd.DataFrame, *, fresh: bool, ghost: bool) -> None:
    """The key above all panels, and below them what the losses are of."""
    redrawn = probe[probe["setting"] != "deterministic"]
    number = redrawn["replicate"].nunique()
    key: dict[str, Artist] = {}
    if number:
        in_turn = f"the {number} redraws in turn" if number > 1 else "redrawn once"
        words = "a new redraw at each checkpoint" if fresh else in_turn
        key[words] = Line2D([], [], color=_KEY, lw=0.9)
    if number + fresh > 1:
        key[f"least to most of {number + fresh} redraws"] = Patch(color=_KEY, alpha=_BAND, lw=0)
    if ghost:
        moved = ", moved to their median" if number else ""
        key[f"nothing redrawn{moved}"] = Line2D([], [], color=INK, lw=1.8)
    figure = figure_of(panels)
    key_above(figure, list(key.values()), list(key))
    checkpoints, batch = probe["step"].nunique(), probe["sample"].nunique()
    words = f"{_counted(checkpoints, 'checkpoint')}, batches of {_counted(batch, 'sample')}"
    figure.supxlabel(f"training step ({words})", fontsize=FONT_SIZE)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"
