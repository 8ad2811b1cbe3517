"""Photographs, read as a viewer would show them."""

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from noiseprobe.core.errors import UserError
from noiseprobe.core.reading import require_regular

if TYPE_CHECKING:
    import torch

PHOTOGRAPH_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

MOST_BYTES = 256 << 20
"""Of a photograph's file."""

MOST_PIXELS = 40_000_000
"""Of a photograph: more take more memory than a training needs. A JPEG is decoded smaller."""

_KINDS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""As Pillow calls them; of others, some would start a program to be read, as EPS does."""

Photograph = Path | Image.Image
"""Where one lies, or the picture itself."""

Place = tuple[int, int, int, int]
"""What SDXL is told of a view: height and width of the photograph as it was, top and left of the
part that is seen, in pixels after scaling."""


class PhotographWarning(UserWarning):
    """A photograph can be used, but not quite as its owner may expect."""


def photographs_in(folder: Path) -> tuple[Path, ...]:
    """The images in `folder`, sorted by name.

    Raises `UserError` for a folder, pipe or device that is named like one, and for a file of more
    than `MOST_BYTES`.
    """
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PHOTOGRAPH_SUFFIXES and not path.name.startswith(".")
    )
    for path in found:
        require_regular(path)
        if path.exists() and path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: larger than {MOST_BYTES >> 20} MB; make it smaller")
    return tuple(found)


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

    A JPEG of more than `MOST_PIXELS` is decoded at a half, quarter or eighth of its sides, as far
    as it takes. Raises `UserError` for what cannot be read as an image, and for larger ones.
    """
    path = name_of(photograph)
    try:
        if isinstance(photograph, Path):
            require_regular(photograph)
            with Image.open(photograph, formats=_KINDS) as opened:
                _fit_in_memory(opened, path)
                opened.load()
                image = _upright(opened)
        else:
            image = _upright(photograph)
        return _in_rgb(image)
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not an image; replace it or remove it") from error
    except UserError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({reason}); replace it or remove it") from error


_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError),
    *(ZeroDivisionError, EOFError, MemoryError, struct.error, Image.DecompressionBombError),
)
"""What Pillow raises at files that are broken."""


def _fit_in_memory(opened: Image.Image, path: str) -> None:
    """Let a JPEG be decoded smaller where it has too many pixels; refuse other such images."""
    width, height = opened.size
    if width * height <= MOST_PIXELS:
        return
    if opened.format == "JPEG":
        for part in (2, 4, 8):
            if width * height <= MOST_PIXELS * part**2:
                opened.draft("RGB", (width // part, height // part))
                return
    raise UserError(
        f"{path}: {width}x{height} pixels are more than {MOST_PIXELS / 1e6:.0f} million; make it "
        "smaller"
    )


def _upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; as it is where that cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except (*_UNREADABLE, AttributeError):
        return image.copy()


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        wide = np.asarray(image).clip(0, 65535)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image)
        return paper.convert("RGB")
    return image.convert("RGB")
