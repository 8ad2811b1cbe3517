"""Textual inversion: one new word, its embedding is all that is trained (Gal et al. 2022)."""

from pathlib import Path

from torch import Tensor

from noiseprobe.models.base import DiffusionModel
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.concept import Concept
from noiseprobe.training.methods.base import Method
from noiseprobe.training.methods.word import Word, require_words


class TextualInversion(Method):
    """The placeholder's vectors, trained from the initializer's embedding.

    Of the settings it reads `initializer` and `num_vectors`; see `Word` for what it raises.
    """

    @classmethod
    def require(cls, family: type[DiffusionModel], config: RunConfig) -> None:
        """Raise `UserError` for a family into which diffusers loads no learned words."""
        require_words(family)

    def __init__(self, model: DiffusionModel, concept: Concept, config: RunConfig) -> None:
        self.word = Word(
            model, concept.placeholder, concept.class_noun, config.initializer, config.num_vectors
        )
        self.thing = self.word.text
        self.captions = concept.captions(self.thing, config.learnable_property)
        self.named = self.word.named

    def save(self, directory: Path) -> None:
        """Write `learned_embeds.safetensors`, for `load_textual_inversion`."""
        self.word.save(directory)

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The vectors that `save` wrote."""
        return self.word.read(directory)
