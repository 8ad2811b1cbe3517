"""CLIP checks: pictures that are drawn as training goes on, and how like the photographs they are.

A check reads the live model and leaves it as it was; it uses no global random state. So a run with
checks has the weights of one without.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from noiseprobe.concept import Concept, read_photograph
from noiseprobe.config import RunConfig
from noiseprobe.defaults import BUNDLED_MODEL, PUBLISHED_CLIP
from noiseprobe.methods.base import Method
from noiseprobe.metrics import BUNDLED_CLIP, Clip, mean_similarity
from noiseprobe.models.base import DiffusionModel
from noiseprobe.sampling import Sampler


class Judge:
    """A CLIP that knows the concept's photographs; their features are computed once."""

    def __init__(self, clip: Clip, concept: Concept) -> None:
        self.clip = clip
        self.photographs: Tensor = clip.embed_images(map(read_photograph, concept.photographs))

    @classmethod
    def load(cls, model: DiffusionModel, concept: Concept, config: RunConfig) -> "Judge":
        """The judge that `config` names: by default the bundled one for the bundled model."""
        usual = BUNDLED_CLIP if config.model == BUNDLED_MODEL else PUBLISHED_CLIP
        return cls(Clip.load(config.clip or usual, model.device), concept)

    def image_similarity(self, pictures: Sequence[Image.Image]) -> float:
        """Mean cosine similarity of the pictures to the photographs."""
        return mean_similarity(self.clip.embed_images(pictures), self.photographs)


class Check:
    """Draws `samples` pictures from training prompts, the same prompts and noise at each check."""

    def __init__(
        self, model: DiffusionModel, method: Method, judge: Judge, config: RunConfig
    ) -> None:
        self.judge = judge
        self.seed = config.sampling_seed
        self.sampler = Sampler(model, config.sampling_steps, config.guidance)
        self.prompts = training_prompts(method.captions, config.samples, config.sampling_seed)

    def similarity(self) -> float:
        """CLIP similarity of what the live model draws now to the photographs."""
        return self.judge.image_similarity(self.sampler.draw(self.prompts, self.seed))


def training_prompts(captions: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the captions, none twice before all were taken, as a function of `seed`."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(captions))
    return [captions[order[index % len(order)]] for index in range(count)]
