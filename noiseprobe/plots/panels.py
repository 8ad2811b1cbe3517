"""What panels of several figures share: words where nothing is known, and names at line ends."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from noiseprobe.plots.saving import figure_of
from noiseprobe.plots.style import FONT_SIZE, INK, dress


def say(ax: Axes, words: str) -> None:
    """Words in the middle of a panel that would be empty without them, and no ticks."""
    dress(ax)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(
        0.5,
        0.5,
        words,
        transform=ax.transAxes,
        ha="center",
        va="center",
        fontsize=FONT_SIZE,
        color=INK,
    )


def name_ends(ax: Axes, ends: Mapping[str, tuple[float, str]]) -> None:
    """Names of lines at the right of the panel, each at its last value and in its colour.

    Names that would overlap are moved apart, in the order of their values; thin lines lead back.

    Args:
        ends: by name the last value and the colour. The scale and limits of the y axis are final.
    """
    scale, (low, high) = ax.transScale, ax.get_ylim()
    order = sorted(ends, key=lambda name: ends[name][0])
    places = np.array([scale.transform((1.0, ends[name][0]))[1] for name in order])
    bottom, top = (scale.transform((1.0, end))[1] for end in (low, high))
    height = ax.get_position().height * figure_of(ax).get_figheight()
    line = 1.35 * FONT_SIZE / 72 / height
    spread = spread_out((places - bottom) / (top - bottom), line)
    for name, own, moved in zip(order, (places - bottom) / (top - bottom), spread, strict=True):
        ax.annotate(
            name,
            (1, own),
            xycoords="axes fraction",
            xytext=(1 + 0.09, moved),
            textcoords="axes fraction",
            va="center",
            fontsize=FONT_SIZE,
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": ends[name][1], "lw": 0.8, "shrinkA": 1},
        )


def spread_out(places: np.ndarray, least: float) -> np.ndarray:
    """Sorted places in 0..1 moved as little as need be, so that neighbours are `least` apart."""
    if not len(places):
        return places
    at = np.arange(len(places)) * least
    # Pool neighbours that would collide: their mean stays (Barlow et al. 1972, isotonic means).
    groups: list[list[float]] = []
    for value in places - at:
        groups.append([value, 1.0])
        while len(groups) > 1 and groups[-2][0] >= groups[-1][0]:
            value_2, weight_2 = groups.pop()
            value_1, weight_1 = groups[-1]
            weight = weight_1 + weight_2
            groups[-1] = [(value_1 * weight_1 + value_2 * weight_2) / weight, weight]
    found = np.concatenate([np.full(int(weight), value) for value, weight in groups]) + at
    return found + max(0.0, -found[0])
