"""What each criterion would have left one with: pictures, side by side."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from noiseprobe.plots.style import FONT_SIZE, PAGE, new_figure

CAPTION_SIZE = FONT_SIZE - 1
SHOWN = 4  # pictures of each kind
LETTER = 0.6  # width of a letter over its height; a line of a caption is as wide as its picture


@dataclass(frozen=True)
class Drawn:
    """One row of the figure: its title, and pictures with their captions.

    `training` are from training prompts, `validation` from validation prompts; all rows have the
    same prompts.
    """

    title: str
    training: Sequence[tuple[str, Image.Image]]
    validation: Sequence[tuple[str, Image.Image]]


def samples_figure(rows: Sequence[Drawn], figure: Figure | None = None) -> Figure:
    """A grid: one row per criterion; training prompts on the left, validation prompts on the right.

    The captions stand above their columns, for they and the noise are the same in every row. The
    first four distinct prompts of each kind are shown.

    Args:
        rows: at least one; the first row's captions are written.
        figure: where to draw; a new figure if None.
    """
    training, validation = distinct(rows[0].training), distinct(rows[0].validation)
    columns = len(training) + len(validation)
    side = (PAGE - 0.9) / columns
    letters = int(side * 72 / (LETTER * CAPTION_SIZE))
    captions = [rows[0].training[place][0] for place in training]
    captions += [rows[0].validation[place][0] for place in validation]
    titles = ["\n".join(textwrap.wrap(caption, letters)) for caption in captions]
    lines = max(3, *(title.count("\n") + 1 for title in titles))
    figure = figure or new_figure(PAGE, 0.14 + 0.12 * lines + (side + 0.05) * len(rows))
    gap = [1.0] * len(training) + [0.12] + [1.0] * len(validation)
    panels = figure.subplots(
        len(rows), columns + 1, squeeze=False, gridspec_kw={"width_ratios": gap}
    )
    for index, (row, drawn) in enumerate(zip(panels, rows, strict=True)):
        shown = [drawn.training[place][1] for place in training]
        shown += [drawn.validation[place][1] for place in validation]
        row[len(training)].set_axis_off()
        for axes, title, picture in zip(np.delete(row, len(training)), titles, shown, strict=True):
            _show(axes, picture)
            if index == 0:
                axes.set_title(title, fontsize=CAPTION_SIZE)
        row[0].set_ylabel(drawn.title, fontsize=FONT_SIZE)
    return figure


def distinct(pictures: Sequence[tuple[str, Image.Image]]) -> list[int]:
    """The places of the first pictures of the first distinct captions."""
    first: dict[str, int] = {}
    for index, (caption, _) in enumerate(pictures):
        first.setdefault(caption, index)
    return list(first.values())[:SHOWN]


def _show(axes: Axes, picture: Image.Image) -> None:
    axes.imshow(np.asarray(picture), interpolation="lanczos")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
