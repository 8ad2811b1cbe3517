"""What each criterion would have left one with: pictures, beside the photographs."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from noiseprobe.plots.style import FONT_SIZE, PAGE, literal, new_figure, styled

SHOWN = 4  # pictures of each kind
LETTER = 0.6  # width of a letter over its height; a line of a caption is as wide as its picture
LARGEST = 1.4  # inches, of a picture's side
MARGIN = 1.0  # inches left of the pictures, for what a row is
LINE = 1.2 * FONT_SIZE  # points


@dataclass(frozen=True)
class Drawn:
    """One row of the figure: its title, and pictures with their captions.

    `training` are from training prompts, `validation` from validation prompts; all rows have the
    same prompts.
    """

    title: str
    training: Sequence[tuple[str, Image.Image]]
    validation: Sequence[tuple[str, Image.Image]]


@styled
def plot_samples(
    rows: Sequence[Drawn],
    axes: Sequence[Axes] | None = None,
    photographs: Sequence[Image.Image] = (),
) -> list[Axes]:
    """A grid: one row per criterion; training prompts on the left, validation prompts on the right.

    Above them a row of the concept's photographs. The captions stand above their columns, for they
    and the noise are the same in every row. The first four distinct prompts of each kind are shown.

    Args:
        rows: at least one; the first row's captions are written.
        axes: where to draw, row by row: one for each photograph that is shown, at most as many as
            there are prompts, and one for each prompt of each row; a new figure if None.
        photographs: of the concept, of any size.

    Raises:
        ValueError: there is no row, or there are not as many axes as pictures.
    """
    if not rows:
        raise ValueError("rows: none given; there are no pictures to show")
    places = [("training", place) for place in distinct(rows[0].training)]
    places += [("validation", place) for place in distinct(rows[0].validation)]
    columns, left = len(places), sum(kind == "training" for kind, _ in places)
    shown = photographs[:columns]
    side = min((PAGE - MARGIN) / max(columns, 1), LARGEST)
    letters = max(int(side * 72 / (LETTER * FONT_SIZE)), 1)
    captions = [
        "\n".join(textwrap.wrap(literal(getattr(rows[0], kind)[place][0]), letters))
        for kind, place in places
    ]
    lines = max(caption.count("\n") + 1 for caption in captions)
    if axes is None:
        height = 0.25 + (lines + 1) * LINE / 72 + (side + 0.05) * (len(rows) + bool(shown))
        size = MARGIN + max(side * columns, 2.5), height
        axes = _grid(len(rows), columns, left, len(shown), size)
    if len(axes) != len(shown) + len(rows) * columns:
        needed = len(shown) + len(rows) * columns
        raise ValueError(f"axes: {len(axes)} given; this figure has {needed} pictures")
    for ax, photograph in zip(axes, shown, strict=False):
        _show(ax, photograph, "photograph")
    if shown:
        some = f"{len(shown)} of {len(photographs)}\n" if len(shown) < len(photographs) else ""
        _name(axes[0], f"{some}photographs")
    for index, drawn in enumerate(rows):
        row = axes[len(shown) + index * columns :][:columns]
        for ax, (kind, place), caption in zip(row, places, captions, strict=True):
            _show(ax, getattr(drawn, kind)[place][1], kind)
            if index == 0:
                ax.set_title("\n" + caption)  # below the line that `_head` fills
        if columns:
            _name(row[0], drawn.title)
    first = axes[len(shown) : len(shown) + columns]
    for place, words in ((0, "prompts of training"), (left, "prompts that training never saw")):
        if place < columns and (place or left):
            _head(first[place], words, lines)
    return list(axes)


def _grid(
    rows: int, columns: int, left: int, photographs: int, size: tuple[float, float]
) -> list[Axes]:
    """A panel for each picture, in a new figure: with a gap between the two kinds of prompts."""
    above = photographs > 0
    widths = [1.0] * left + [0.12] + [1.0] * (columns - left)
    grid = new_figure(*size).subplots(
        rows + above, columns + 1, squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    for ax in grid[:, left]:
        ax.remove()
    pictures = np.delete(grid, left, axis=1)
    for ax in pictures[0, photographs:] if above else []:
        ax.remove()
    return [*pictures[0, :photographs], *pictures[above:].ravel()]


def distinct(pictures: Sequence[tuple[str, Image.Image]]) -> list[int]:
    """The places of the first pictures of the first distinct captions."""
    first: dict[str, int] = {}
    for index, (caption, _) in enumerate(pictures):
        first.setdefault(caption, index)
    return list(first.values())[:SHOWN]


def _show(ax: Axes, picture: Image.Image, label: str) -> None:
    ax.set_label(label)
    ax.imshow(np.asarray(picture), interpolation="lanczos")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _name(ax: Axes, title: str) -> None:
    """What a row is, left of it, one line below the other where there is no room beside."""
    letters = int((MARGIN - 0.1) * 72 / (LETTER * FONT_SIZE))
    lines = [part for line in literal(title).split("\n") for part in textwrap.wrap(line, letters)]
    ax.set_ylabel("\n".join(lines), rotation=0, ha="right", va="center", labelpad=4)


def _head(ax: Axes, words: str, lines: int) -> None:
    """What kind of prompts begin here, above their captions."""
    ax.annotate(
        words,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 4 + lines * LINE),
        textcoords="offset points",
        va="bottom",
        fontsize=FONT_SIZE,
        fontweight="bold",
    ).set_in_layout(False)
