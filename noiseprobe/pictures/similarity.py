"""How alike pictures and words are, as a CLIP sees it (Radford et al. 2021, arXiv 2103.00020)."""

import math
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import combinations, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from noiseprobe.core.errors import UserError
from noiseprobe.models import model_location
from noiseprobe.models.loading import load_whole, loading

T = TypeVar("T")

BUNDLED_CLIP = "tiny-clip"
PUBLISHED_DINO = "facebook/dino-vits16"
BATCH = 64


class Clip:
    """A CLIP and its processor; embeddings are unit vectors, so that a dot product is a cosine."""

    def __init__(self, model: CLIPModel, processor: CLIPProcessor, device: torch.device) -> None:
        self.model = model.to(device).requires_grad_(False).eval()
        self.processor = processor
        self.device = device

    @classmethod
    def load(cls, source: str = BUNDLED_CLIP, device: torch.device | str = "cpu") -> "Clip":
        """The CLIP in the directory or under the hub id `source` (`tiny-clip`: the bundled one).

        Raises `UserError` for one that cannot be loaded.
        """
        where = model_location(source, BUNDLED_CLIP)
        mend = "give the directory or the hub id of a CLIPModel with its processor"
        with loading(f"--clip: '{source}' cannot be loaded", mend):
            model = load_whole(CLIPModel, where)
            # Named one by one, for what CLIPProcessor would load by itself needs torchvision.
            # A hub id is what a person named.
            images = CLIPImageProcessorPil.from_pretrained(where)  # nosec B615
            tokenizer = CLIPTokenizer.from_pretrained(where)  # nosec B615
            processor = CLIPProcessor(images, tokenizer)
        return cls(model, processor, torch.device(device))

    def embed_images(self, images: Iterable[Image.Image]) -> Tensor:
        """Unit vectors (N, D), float32 on the CPU, of N pictures of any size."""
        return _unit_vectors(images, self._of_images)

    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors (N, D), float32 on the CPU; words beyond the text encoder's are cut off."""
        return _unit_vectors(captions, self._of_captions)

    def _of_images(self, images: list[Image.Image]) -> Tensor:
        pixels = self.processor(images=images, return_tensors="pt").pixel_values
        seen = self.model.vision_model(pixels.to(self.device)).pooler_output
        return self.model.visual_projection(seen)

    def _of_captions(self, captions: list[str]) -> Tensor:
        tokens = self.processor(
            text=captions, return_tensors="pt", padding="max_length", truncation=True
        )
        said = self.model.text_model(**tokens.to(self.device)).pooler_output
        return self.model.text_projection(said)


class Dino:
    """A vision transformer; its class token is compared, as in DreamBooth (Ruiz et al. 2022)."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        self.model = model.to(device).requires_grad_(False).eval()
        self.processor = processor
        self.device = device

    @classmethod
    def load(cls, source: str = PUBLISHED_DINO, device: torch.device | str = "cpu") -> "Dino":
        """The DINO in the directory or under the hub id `source`.

        Raises `UserError` for one that cannot be loaded.
        """
        from transformers import ViTImageProcessorPil, ViTModel

        mend = "give the directory or the hub id of a ViTModel with its processor, or leave it out"
        with loading(f"--dino: '{source}' cannot be loaded", mend):
            model = load_whole(ViTModel, source, add_pooling_layer=False)
            # A hub id is what a person named.
            processor = ViTImageProcessorPil.from_pretrained(source)  # nosec B615
        return cls(model, processor, torch.device(device))

    def embed_images(self, images: Iterable[Image.Image]) -> Tensor:
        """Unit vectors (N, D), float32 on the CPU, of N pictures of any size."""
        return _unit_vectors(images, self._of_images)

    def _of_images(self, images: list[Image.Image]) -> Tensor:
        pixels = self.processor(images=images, return_tensors="pt").pixel_values
        return self.model(pixels.to(self.device)).last_hidden_state[:, 0]


@torch.no_grad()
def _unit_vectors(items: Iterable[T], embed: Callable[[list[T]], Tensor]) -> Tensor:
    rest, parts = iter(items), []
    while batch := list(islice(rest, BATCH)):
        parts.append(embed(batch))
    return F.normalize(torch.cat(parts), dim=-1).cpu()


def require_lpips_here() -> None:
    """Raise `UserError` where torchvision would fetch the weights that LPIPS stands on."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    if not weights.is_file():
        raise UserError(f"--lpips: '{weights}' would be fetched; leave --lpips or --offline out")


def load_lpips(device: torch.device | str = "cpu") -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS by AlexNet (Zhang et al. 2018): the distances (N,) of pictures (N, 3, H, W) in [-1, 1].

    By the `lpips` package, which torchvision's weights belong to. Raises `UserError` where either
    is not at hand.
    """
    try:
        network = import_module("lpips").LPIPS(net="alex", verbose=False).to(device).eval()
    except (ImportError, OSError) as error:
        raise UserError(
            f"--lpips: not at hand ({error}); pip install lpips torchvision, or leave it out"
        ) from error

    @torch.no_grad()
    def distances(first: Tensor, second: Tensor) -> Tensor:
        return network(first.to(device), second.to(device)).flatten().cpu()

    return distances


def diversity(
    images: Sequence[Image.Image],
    captions: Sequence[str],
    distances: Callable[[Tensor, Tensor], Tensor],
) -> float:
    """Mean distance between all pairs of pictures of one caption (Ruiz et al. 2022, DIV).

    NaN where no caption has two pictures, which must be of one size.
    """
    arrays = [torch.from_numpy(np.array(image.convert("RGB"))) for image in images]
    pixels = torch.stack(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
    every = combinations(range(len(images)), 2)
    pairs = [[one, other] for one, other in every if captions[one] == captions[other]]
    if not pairs:
        return math.nan
    first, second = np.array(pairs).T
    return float(distances(pixels[first], pixels[second]).mean())


def mean_similarity(images: Tensor, references: Tensor) -> float:
    """Mean cosine similarity over all pairs of unit vectors (N, D) and (M, D).

    The image and text metrics of Gal et al. 2022 (arXiv 2208.01618, section 4.2).
    """
    return float((images @ references.T).mean())


def mean_similarity_within(images: Tensor) -> float:
    """Mean cosine similarity over all pairs of different rows of (N, D), N at least 2."""
    count = len(images)
    if count < 2:
        raise ValueError("a similarity within needs two pictures or more")
    return float(((images @ images.T).sum() - images.square().sum()) / (count * (count - 1)))
