"""Photographs, read as a viewer would show them."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from noiseprobe.core.errors import UserError

if TYPE_CHECKING:
    import torch

PHOTOGRAPH_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


Photograph = Path | Image.Image
"""Where one lies, or the picture itself."""

Place = tuple[int, int, int, int]
"""What SDXL is told of a view: height and width of the photograph as it was, top and left of the
part that is seen, in pixels after scaling."""


class PhotographWarning(UserWarning):
    """A photograph can be used, but not quite as its owner may expect."""


def photographs_in(folder: Path) -> tuple[Path, ...]:
    """The images in `folder`, sorted by name."""
    return tuple(
        sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in PHOTOGRAPH_SUFFIXES and not path.name.startswith(".")
        )
    )


def load_pixels(photograph: Photograph, resolution: int, center_crop: bool) -> "torch.Tensor":
    """The photograph as a float32 tensor (3, resolution, resolution) in [-1, 1].

    It is shown as a viewer would show it: turned by its EXIF orientation, palette and CMYK colours
    resolved, 16 bits scaled to 8, transparency laid on white, the first frame of an animation.
    Without `center_crop` the whole photograph is squeezed into the square, as in the diffusers
    example of textual inversion. Raises `UserError` for what cannot be read as an image.
    """
    return load_placed(photograph, resolution, center_crop)[0]


def load_placed(
    photograph: Photograph, resolution: int, center_crop: bool
) -> "tuple[torch.Tensor, Place]":
    """The pixels that `load_pixels` gives, and which part of the photograph they are."""
    import torch

    image = read_photograph(photograph)
    if min(image.size) < resolution:
        warnings.warn(
            f"{name_of(photograph)}: {image.width}x{image.height} is smaller than the "
            f"resolution {resolution}; it is enlarged",
            PhotographWarning,
            stacklevel=2,
        )
    fit = ImageOps.fit if center_crop else Image.Image.resize
    square = fit(image, (resolution, resolution), Image.Resampling.BICUBIC)
    values = np.asarray(square, dtype=np.float32) / 127.5 - 1.0
    pixels = torch.from_numpy(values).permute(2, 0, 1).contiguous()
    shorter = min(image.size)
    top, left = (
        round((int(resolution * side / shorter) - resolution) / 2) if center_crop else 0
        for side in (image.height, image.width)
    )
    return pixels, (image.height, image.width, top, left)


def name_of(photograph: Photograph) -> str:
    """What messages call it: its path, or what kind of picture it is."""
    return str(photograph) if isinstance(photograph, Path) else repr(photograph).split(" at ")[0]


def read_photograph(photograph: Photograph) -> Image.Image:
    """The photograph in RGB, as a viewer would show it; see `load_pixels`.

    Raises `UserError` for what cannot be read as an image.
    """
    path = name_of(photograph)
    try:
        if isinstance(photograph, Path):
            with Image.open(photograph) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
        else:
            image = ImageOps.exif_transpose(photograph)
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not an image; replace it or remove it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read ({error}); replace it or remove it") from error
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")
