"""How a sweep stands: where each run, by concept and method, ended of its most steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from noiseprobe.plots.panels import say
from noiseprobe.plots.style import COLUMN, FONT_SIZE, INK, dress, literal, one_panel, styled


@styled
def plot_sweep(runs: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """A cell per concept and method: the step that was reached, and whether the run failed.

    A cell is as dark as the share of its most steps that were done, which words in it say; one
    whose run failed has a frame, and says so. Seeds of a method stand beside each other.

    Args:
        runs: one row per run; columns method, concept, seed, step, steps (at most), failed.
        ax: where to draw; a new figure if None.
    """
    concepts = list(dict.fromkeys(runs["concept"]))
    methods = list(dict.fromkeys(zip(runs["method"], runs["seed"], strict=True)))
    width = max(COLUMN, 1.2 + 0.95 * len(methods))
    ax = one_panel(ax, width, 1.1 + 0.19 * max(len(concepts), 2), "sweep")
    if runs.empty:
        say(ax, "no run")
        return ax
    share = runs.assign(share=runs["step"] / runs["steps"].clip(lower=1)).pivot(
        index="concept", columns=["method", "seed"], values="share"
    )
    words = runs.assign(word=[_words(own) for own in runs.to_dict("records")]).pivot(
        index="concept", columns=["method", "seed"], values="word"
    )
    sns.heatmap(
        share.reindex(index=concepts, columns=methods).astype("float64"),
        annot=words.reindex(index=concepts, columns=methods).fillna(""),
        fmt="",
        cmap="Greys",
        vmin=0,
        vmax=2.2,  # so that words can be read on all cells
        cbar=False,
        xticklabels=False,  # seaborn's would be read as mathtext
        yticklabels=False,
        linewidths=1,
        annot_kws={"fontsize": FONT_SIZE, "color": INK},
        ax=ax,
    )
    for own in runs[runs["failed"].astype(bool)].to_dict("records"):
        corner = methods.index((own["method"], own["seed"])), concepts.index(own["concept"])
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec=INK, lw=1.2, clip_on=False))
    dress(ax)
    ax.grid(visible=False)
    several = runs["seed"].nunique() > 1
    heads = [f"{method}\nseed {seed}" if several else str(method) for method, seed in methods]
    ax.set_xticks(np.arange(len(methods)) + 0.5, heads)
    ax.set_yticks(np.arange(len(concepts)) + 0.5, [literal(str(name)) for name in concepts])
    ax.tick_params(axis="both", length=0, rotation=0)
    failed = int(runs["failed"].sum())
    done = int(((runs["step"] >= runs["steps"]) & ~runs["failed"].astype(bool)).sum())
    ax.set_xlabel(f"steps done; of {len(runs)} runs\n{done} went to the last step, {failed} failed")
    ax.set_ylabel("")
    return ax


def _words(run: Mapping[Any, Any]) -> str:
    """The steps of a run as its cell says them."""
    return f"failed at {run['step']}" if run["failed"] else f"{run['step']} of {run['steps']}"
