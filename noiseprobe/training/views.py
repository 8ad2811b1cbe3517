"""How a photograph is seen in training: as it is, flipped, or at another size.

The VAE is frozen and runs once per view, before training. So augmentations are a list of views per
photograph, one of which is drawn with it, rather than made anew at each step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from noiseprobe.core.errors import UserError
from noiseprobe.pictures.photographs import Photograph, Place, load_placed

_STREAM = 3  # of the seed's spawn keys, beside those of `noiseprobe.draws.factors.Stream`
# Kumari et al. 2023 (arXiv 2212.04488, section 3.2 and supplement): two thirds of the photographs
# are shrunk, to no less than a third of the side; the others are enlarged by 1.2 to 1.4.
SHRUNK_SHARE, SMALLEST, LARGER = 0.66, 1 / 3, (1.2, 1.4)
FAR_BELOW = 0.6
FAR, NEAR = ("a far away", "very small"), ("zoomed in", "close up")


@dataclass(frozen=True)
class View:
    """One way to see a photograph.

    `pixels` is (3, H, W) in [-1, 1], and `place` where in the photograph that is. `mask` (1, h, w),
    of the latents' size, is 1 where the loss counts; None: everywhere. `prefix` goes before the
    caption.
    """

    pixels: Tensor
    place: Place
    mask: Tensor | None = None
    prefix: str = ""


@dataclass(frozen=True)
class Flips:
    """Two views of each photograph: flipped with probability `flip`, and as it is."""

    resolution: int
    center_crop: bool = True
    flip: float = 0.5

    @property
    def shares(self) -> tuple[float, ...]:
        """The probability of each view."""
        return (self.flip, 1 - self.flip)

    def __call__(self, number: int, photograph: Photograph) -> list[View]:
        """The photograph flipped, and as it is."""
        pixels, place = load_placed(photograph, self.resolution, self.center_crop)
        return [View(pixels.flip(-1), place), View(pixels, place)]


@dataclass(frozen=True)
class Rescales:
    """`count` views at random sizes and places, as Custom Diffusion augments photographs.

    A shrunk photograph stands on grey, which the loss does not see; an enlarged one is cropped. The
    caption says so. Every view is flipped with probability `flip`. Views depend on `seed` and on
    the photograph's number alone. Raises `UserError` where a latent is too large for that.
    """

    resolution: int
    latent_size: int
    center_crop: bool = False
    flip: float = 0.5
    count: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        cell = self.resolution // self.latent_size
        if round(self.resolution * SMALLEST) < 2 * cell - 1:
            raise UserError(
                f"--rescale: at --resolution {self.resolution} a shrunk photograph may fill no "
                f"latent, which is {cell} pixels; give {6 * cell} or more, or --no-rescale"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """The probability of each view."""
        return (1 / self.count,) * self.count

    def __call__(self, number: int, photograph: Photograph) -> list[View]:
        """The photograph's views."""
        pixels, place = load_placed(photograph, self.resolution, self.center_crop)
        return [self._view(pixels, place, number, index) for index in range(self.count)]

    def _view(self, pixels: Tensor, place: Place, number: int, index: int) -> View:
        key = np.random.SeedSequence(self.seed, spawn_key=(_STREAM, number, index))
        shrunk, size, top, left, flipped, word = np.random.Generator(np.random.Philox(key)).random(
            6
        )
        if flipped < self.flip:
            pixels = pixels.flip(-1)
        full = self.resolution
        if shrunk < SHRUNK_SHARE:
            side = round(full * (SMALLEST + size * (1 - SMALLEST)))
        else:
            side = round(full * (LARGER[0] + size * (LARGER[1] - LARGER[0])))
        scaled = _resized(pixels, side)
        room = abs(full - side)
        y, x = int(top * (room + 1)), int(left * (room + 1))
        if side > full:
            everywhere = torch.ones(1, self.latent_size, self.latent_size)
            before = (round(each * side / full) for each in place[2:])
            seen = (*place[:2], *(each + more for each, more in zip(before, (y, x), strict=True)))
            cropped = scaled[:, y : y + full, x : x + full]
            return View(cropped, seen, everywhere, NEAR[int(word * 2)])
        paper = torch.zeros_like(pixels)
        paper[:, y : y + side, x : x + side] = scaled
        prefix = FAR[int(word * 2)] if side < FAR_BELOW * full else ""
        return View(paper, place, self._inside(y, x, side), prefix)

    def _inside(self, top: int, left: int, side: int) -> Tensor:
        """1 where a latent sees the photograph alone, not its surroundings."""
        cell = self.resolution // self.latent_size
        mask = torch.zeros(1, self.latent_size, self.latent_size)
        rows = slice(-(-top // cell), (top + side) // cell)
        columns = slice(-(-left // cell), (left + side) // cell)
        mask[:, rows, columns] = 1
        return mask


Look = Flips | Rescales
"""How photographs are seen: as many views of each, in the same order, with their probabilities."""


def _resized(pixels: Tensor, side: int) -> Tensor:
    scaled = F.interpolate(
        pixels[None], (side, side), mode="bicubic", antialias=True, align_corners=False
    )
    return scaled[0].clamp(-1, 1)
