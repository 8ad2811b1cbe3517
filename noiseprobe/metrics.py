"""How alike pictures and words are, as a CLIP sees it (Radford et al. 2021, arXiv 2103.00020)."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from noiseprobe.errors import UserError
from noiseprobe.models import model_location

T = TypeVar("T")

BUNDLED_CLIP = "tiny-clip"
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
        try:
            model = CLIPModel.from_pretrained(where, dtype=torch.float32)
            # Named one by one, for what CLIPProcessor would load by itself needs torchvision.
            images = CLIPImageProcessorPil.from_pretrained(where)
            processor = CLIPProcessor(images, CLIPTokenizer.from_pretrained(where))
        except (OSError, ValueError) as error:
            raise UserError(
                f"--clip: '{source}' cannot be loaded ({str(error).splitlines()[0]}); give the "
                "directory or the hub id of a CLIPModel with its processor"
            ) from error
        return cls(model, processor, torch.device(device))

    @torch.no_grad()
    def embed_images(self, images: Iterable[Image.Image]) -> Tensor:
        """Unit vectors (N, D), float32 on the CPU, of N pictures of any size."""
        parts = []
        for batch in _batches(images, BATCH):
            pixels = self.processor(images=batch, return_tensors="pt").pixel_values
            parts.append(self.model.vision_model(pixels.to(self.device)).pooler_output)
        return F.normalize(self.model.visual_projection(torch.cat(parts)), dim=-1).cpu()

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors (N, D), float32 on the CPU; words beyond the text encoder's are cut off."""
        parts = []
        for batch in _batches(captions, BATCH):
            tokens = self.processor(
                text=batch, return_tensors="pt", padding="max_length", truncation=True
            )
            parts.append(self.model.text_model(**tokens.to(self.device)).pooler_output)
        return F.normalize(self.model.text_projection(torch.cat(parts)), dim=-1).cpu()


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


def _batches(items: Iterable[T], size: int) -> Iterable[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
