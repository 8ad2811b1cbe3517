"""A concept: a folder of photographs, a class noun, a placeholder token; and caption templates."""

import tomllib
import warnings
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from noiseprobe.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import torch

BUNDLED_CONCEPTS = Path(str(files("noiseprobe") / "assets" / "concepts"))

DEFAULT_CONCEPT = "banded-cup"

PHOTOGRAPH_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

TEMPLATES = (
    "a photo of a {}",
    "a rendering of a {}",
    "a cropped photo of the {}",
    "the photo of a {}",
    "a photo of a clean {}",
    "a photo of a dirty {}",
    "a dark photo of the {}",
    "a photo of my {}",
    "a photo of the cool {}",
    "a close-up photo of a {}",
    "a bright photo of the {}",
    "a cropped photo of a {}",
    "a photo of the {}",
    "a good photo of the {}",
    "a photo of one {}",
    "a close-up photo of the {}",
    "a rendition of the {}",
    "a photo of the clean {}",
    "a rendition of a {}",
    "a photo of a nice {}",
    "a good photo of a {}",
    "a photo of the nice {}",
    "a photo of the small {}",
    "a photo of the weird {}",
    "a photo of the large {}",
    "a photo of a cool {}",
    "a photo of a small {}",
)
"""The caption templates for objects of Gal et al. 2022 (arXiv 2208.01618, appendix)."""

STYLE_TEMPLATES = (
    "a painting in the style of {}",
    "a rendering in the style of {}",
    "a cropped painting in the style of {}",
    "the painting in the style of {}",
    "a clean painting in the style of {}",
    "a dirty painting in the style of {}",
    "a dark painting in the style of {}",
    "a picture in the style of {}",
    "a cool painting in the style of {}",
    "a close-up painting in the style of {}",
    "a bright painting in the style of {}",
    "a good painting in the style of {}",
    "a rendition in the style of {}",
    "a nice painting in the style of {}",
    "a small painting in the style of {}",
    "a weird painting in the style of {}",
    "a large painting in the style of {}",
)
"""The caption templates for styles of the same source."""


class PhotographWarning(UserWarning):
    """A photograph can be used, but not quite as its owner may expect."""


@dataclass(frozen=True)
class Concept:
    """What is being taught: photographs, what kind of thing they show, and its new name.

    `validation_prompts` put `{}`, the thing, into places; a `concept.toml` may name them.
    """

    name: str
    photographs: tuple[Path, ...]
    class_noun: str
    placeholder: str
    validation_prompts: tuple[str, ...] = ()

    def captions(
        self, thing: str, learnable_property: Literal["object", "style"] = "object"
    ) -> list[str]:
        """Every caption template for objects, or for styles, filled with `thing`."""
        templates = TEMPLATES if learnable_property == "object" else STYLE_TEMPLATES
        return [template.format(thing) for template in templates]


def bundled_concepts() -> list[str]:
    """The names of the concepts that come with the package."""
    return sorted(path.parent.name for path in BUNDLED_CONCEPTS.glob("*/concept.toml"))


def load_concept(source: str | Path, class_noun: str | None, placeholder: str = "<v>") -> Concept:
    """The concept in the folder `source`, or the bundled concept of that name.

    `class_noun` may be None where the folder has a `concept.toml` that says it, as bundled ones do.
    Raises `UserError` for an unknown name, a folder without photographs, or no class noun.
    """
    folder = Path(source)
    if not folder.exists() and (BUNDLED_CONCEPTS / str(source)).is_dir():
        folder = BUNDLED_CONCEPTS / str(source)
    if not folder.exists():
        names = bundled_concepts()
        mend = did_you_mean(str(source), names, f"bundled are {', '.join(names)}")
        raise UserError(f"--concept: '{source}' is neither a folder nor a bundled concept; {mend}")
    if not folder.is_dir():
        raise UserError(f"--concept: '{folder}' is a file; give the folder with the photographs")
    photographs = photographs_in(folder)
    if not photographs:
        kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in PHOTOGRAPH_SUFFIXES))
        raise UserError(f"--concept: no photographs in '{folder}'; put 3-6 there ({kinds})")
    said = _description_of(folder)
    noun = class_noun if class_noun is not None else said.get("class_noun")
    if not noun or not noun.strip():
        raise UserError(
            f"--class: what kind of thing '{folder}' shows is not said; add e.g. --class dog"
        )
    if not placeholder.strip() or any(letter.isspace() for letter in placeholder):
        raise UserError(f"--placeholder: '{placeholder}' must be one word, e.g. '<v>'")
    prompts = said.get("validation_prompts", [])
    if not all(isinstance(prompt, str) and "{}" in prompt for prompt in prompts):
        raise UserError(
            f"{folder / 'concept.toml'}: validation_prompts must be texts with a {{}} each, where "
            "the thing is named; mend or remove them"
        )
    return Concept(folder.resolve().name, photographs, noun.strip(), placeholder, tuple(prompts))


def photographs_in(folder: Path) -> tuple[Path, ...]:
    """The images in `folder`, sorted by name."""
    return tuple(
        sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in PHOTOGRAPH_SUFFIXES and not path.name.startswith(".")
        )
    )


def _description_of(folder: Path) -> dict[str, Any]:
    description = folder / "concept.toml"
    if not description.is_file():
        return {}
    try:
        return tomllib.loads(description.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{description}: not valid TOML ({error}); mend or remove it") from error


def load_pixels(path: Path, resolution: int, center_crop: bool) -> "torch.Tensor":
    """The photograph as a float32 tensor (3, resolution, resolution) in [-1, 1].

    It is shown as a viewer would show it: turned by its EXIF orientation, palette and CMYK colours
    resolved, 16 bits scaled to 8, transparency laid on white, the first frame of an animation.
    Without `center_crop` the whole photograph is squeezed into the square, as in the diffusers
    example of textual inversion. Raises `UserError` for what cannot be read as an image.
    """
    import torch

    image = read_photograph(path)
    if min(image.size) < resolution:
        warnings.warn(
            f"{path}: {image.width}x{image.height} is smaller than the resolution {resolution}; "
            "it is enlarged",
            PhotographWarning,
            stacklevel=2,
        )
    size = (resolution, resolution)
    if center_crop:
        image = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    else:
        image = image.resize(size, Image.Resampling.BICUBIC)
    values = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def read_photograph(path: Path) -> Image.Image:
    """The photograph in RGB, as a viewer would show it; see `load_pixels`.

    Raises `UserError` for what cannot be read as an image.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
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
