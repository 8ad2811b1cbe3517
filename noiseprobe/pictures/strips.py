"""Pictures that were drawn, as they are kept: side by side in one PNG that holds their captions."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from noiseprobe.core.files import written_whole
from noiseprobe.run.directory import Run

CAPTIONS_KEY = "Captions"


def save_strip(pictures: Sequence[Image.Image], captions: Sequence[str], path: Path) -> None:
    """Write square pictures of one size side by side, as PNG that holds their captions."""
    row = side_by_side(pictures)
    about = PngInfo()
    about.add_itxt(CAPTIONS_KEY, "\n".join(captions))
    with written_whole(path) as beside:
        row.save(beside, "PNG", pnginfo=about)


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Square pictures of one size in a row."""
    side = pictures[0].width
    row = Image.new("RGB", (side * len(pictures), side))
    for index, picture in enumerate(pictures):
        row.paste(picture, (side * index, 0))
    return row


def read_samples(run: Run, step: int) -> dict[str, list[tuple[str, Image.Image]]]:
    """The measured pictures of a step with their captions, by kind: training and validation."""
    samples = {}
    for kind in ("training", "validation"):
        row = Image.open(run.samples(step, kind))
        captions = str(row.text[CAPTIONS_KEY]).split("\n")  # type: ignore[attr-defined]
        side = row.height
        samples[kind] = [
            (caption, row.crop((side * index, 0, side * (index + 1), side)))
            for index, caption in enumerate(captions)
        ]
    return samples
