"""How a figure becomes a file: PNG, SVG or PDF, the same bytes for the same figure."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noiseprobe.core.errors import UserError
from noiseprobe.core.files import written_whole
from noiseprobe.plots.fonts import find_letters
from noiseprobe.plots.style import DRAWING

_DPI = 220

FORMATS: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""The kinds of files that figures are written as, each with the metadata that is left out."""


def figure_of(drawn: Figure | Axes | Sequence[Axes]) -> Figure:
    """The figure that panels, as plot functions return them, are part of."""
    if isinstance(drawn, Figure):
        return drawn
    figure = (drawn if isinstance(drawn, Axes) else drawn[0]).get_figure(root=True)
    assert figure is not None
    return figure


def save(
    drawn: Figure | Axes | Sequence[Axes], stem: Path, kinds: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Write a figure beside each other as `stem`.png and `stem`.svg, and return the paths.

    The same figure gives the same bytes: no date, no random element names. Text stays text in the
    SVG and the PDF, so that it can be searched and edited.
    """
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    for path in paths:
        save_one(drawn, path)
    return paths


def save_one(drawn: Figure | Axes | Sequence[Axes], path: Path) -> None:
    """Write a figure to `path`, in the format of `FORMATS` that its suffix names."""
    figure, kind = figure_of(drawn), path.suffix.removeprefix(".")
    find_letters(figure)
    # These settings exist only as matplotlib's global state, so one thread at a time.
    reproducible = matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "noiseprobe", "pdf.fonttype": 42}
    )
    with DRAWING, reproducible, written_whole(path) as beside:
        figure.savefig(beside, format=kind, dpi=_DPI, metadata=FORMATS[kind])


def check_format(flag: str, path: Path) -> None:
    """Raise `UserError` unless the suffix of `path` names a format that figures are written in."""
    if path.suffix.removeprefix(".") not in FORMATS:
        raise UserError(f"{flag} {path}: give a name that ends in .png, .svg or .pdf")
