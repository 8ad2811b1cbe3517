"""What the criteria do: where each stops three losses that are made for the purpose."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from noiseprobe.analysis.replay import replayed
from noiseprobe.logs import Series
from noiseprobe.plots.replays import plot_replays
from noiseprobe.plots.style import styled
from noiseprobe.stopping import ON_MEANS

POINTS = 2000


@styled
def plot_criteria(
    params: Mapping[str, Mapping[str, float]] | None = None,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Each criterion over `made_losses`, as `plot_replays` draws it.

    Args:
        params: the criteria to show, each with the parameters that are not at their defaults; all
            but `never`, at their defaults, if None.
        axes: where to draw, two panels for each loss; a new figure if None.
    """
    chosen = params if params is not None else {name: {} for name in ON_MEANS if name != "never"}
    traces = made_losses()
    replays = [replayed(each, name, own) for each in traces for name, own in chosen.items()]
    return plot_replays(traces, replays, axes)


def made_losses(points: int = POINTS) -> list[Series]:
    """Losses of so many steps that level off, turn, or level off under noise; always the same."""
    steps = np.arange(points, dtype=np.int64)
    part = steps / points
    falling = 0.2 + 0.8 * np.exp(-part / 0.12)
    noise = np.random.default_rng(0).normal(0.0, 0.1, points)
    made = {
        "levels off": falling,
        "turns": falling + 0.3 * np.clip(part - 0.35, 0, None),
        "is noisy": falling + noise,
    }
    return [Series(name, steps, values, "loss") for name, values in made.items()]
