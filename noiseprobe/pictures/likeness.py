"""How like the photographs the pictures are that a live model draws, as training goes on.

Drawing reads the live model and leaves it as it was; it uses no global random state. So a run with
CLIP checks has the weights of one without.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from noiseprobe.models.base import DiffusionModel
from noiseprobe.pictures.photographs import read_photograph
from noiseprobe.pictures.sampling import Sampler
from noiseprobe.pictures.similarity import Clip, mean_similarity
from noiseprobe.run.defaults import usual_clip
from noiseprobe.run.settings import RunConfig


class Likeness:
    """A CLIP that knows the concept's photographs; their features are computed once."""

    def __init__(self, clip: Clip, photographs: Sequence[Path]) -> None:
        self.clip = clip
        self.photographs: Tensor = clip.embed_images(map(read_photograph, photographs))

    @classmethod
    def load(
        cls, model: DiffusionModel, photographs: Sequence[Path], config: RunConfig
    ) -> "Likeness":
        """By the CLIP that `config` names: by default the bundled one for the bundled model."""
        source = config.clip or usual_clip(config.model)
        return cls(Clip.load(source, model.device), photographs)

    def of(self, pictures: Sequence[Image.Image]) -> float:
        """Mean cosine similarity of the pictures to the photographs."""
        return mean_similarity(self.clip.embed_images(pictures), self.photographs)


class Previews:
    """Draws `samples` pictures from training prompts, the same prompts and noise each time.

    `pictures` are those that were drawn last.
    """

    def __init__(
        self, model: DiffusionModel, captions: Sequence[str], likeness: Likeness, config: RunConfig
    ) -> None:
        self.likeness = likeness
        self.seed = config.sampling_seed
        self.sampler = Sampler(model, config.sampling_steps, config.guidance)
        self.prompts = training_prompts(captions, config.samples, config.sampling_seed)
        self.pictures: list[Image.Image] = []

    def similarity(self) -> float:
        """CLIP similarity of what the live model draws now to the photographs."""
        self.pictures = self.sampler.draw(self.prompts, self.seed)
        return self.likeness.of(self.pictures)


def training_prompts(captions: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the captions, none twice before all were taken, as a function of `seed`."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(captions))
    return [captions[order[index % len(order)]] for index in range(count)]
