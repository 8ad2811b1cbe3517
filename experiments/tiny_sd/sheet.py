"""Contact sheets: many pictures in one PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def contact_sheet(
    pictures: NDArray[np.uint8], path: Path, columns: int, zoom: int = 1, gap: int = 2
) -> None:
    """Write pictures (N, H, W, 3) as a grid, row by row, with a palette if that is smaller."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    image = Image.fromarray(sheet)
    if zoom > 1:
        image = image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(192, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
