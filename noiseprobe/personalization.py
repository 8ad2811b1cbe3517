"""What a run trains, made ready: concept, model, method, objective and checks."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from noiseprobe.config import RunConfig
from noiseprobe.progress import Reporter
from noiseprobe.run import Run

if TYPE_CHECKING:
    from noiseprobe.checks import Check, Judge
    from noiseprobe.concept import Concept
    from noiseprobe.methods.base import Method
    from noiseprobe.models.base import DiffusionModel
    from noiseprobe.objective import Objective
    from noiseprobe.views import Look


@dataclass
class Personalization:
    """A method attached to a live model, and what stages need of both, made when one first does.

    `initializer` is what `noiseprobe.initializer.choose` returned, where it was asked.
    """

    config: RunConfig
    concept: "Concept"
    model: "DiffusionModel"
    method: "Method"
    initializer: dict[str, Any] | None = None

    @cached_property
    def objective(self) -> "Objective":
        """The training objective on the photographs, all views of which are encoded here."""
        from noiseprobe.objective import Objective

        return Objective(self.model, self.concept.photographs, look(self.model, self.config))

    @cached_property
    def judge(self) -> "Judge":
        """The CLIP that knows the photographs."""
        from noiseprobe.checks import Judge

        return Judge.load(self.model, self.concept, self.config)

    @cached_property
    def check(self) -> "Check | None":
        """The CLIP checks of training, if there are any."""
        from noiseprobe.checks import Check

        if not (self.config.checks or self.config.stop == "clip"):
            return None
        return Check(self.model, self.method, self.judge, self.config)


def prepare(
    config: RunConfig, run: Run | None = None, reporter: Reporter | None = None
) -> Personalization:
    """Load the concept and the model, and attach the method; raises `UserError` for bad input.

    `run` is the one to go on with, if there is one: what it chose before stays chosen.
    """
    from noiseprobe.checks import Judge
    from noiseprobe.concept import load_concept
    from noiseprobe.initializer import CHOICES, choose
    from noiseprobe.methods import attach
    from noiseprobe.models import load_model
    from noiseprobe.prior import find_class_images
    from noiseprobe.progress import Silent

    concept = load_concept(config.concept, config.class_noun, config.placeholder)
    if config.prior:
        find_class_images(config, concept, None)
    model = load_model(config.model, config.device, config.precision)
    if config.initializer not in CHOICES:
        return Personalization(config, concept, model, attach(model, concept, config))
    initializer, judge = run.initializer if run else None, None
    if initializer is None:
        judge = Judge.load(model, concept, config)
        tokenizer, silent = model.tokenizer, reporter or Silent()
        initializer = choose(config.initializer, tokenizer, judge, config.seed, silent)
    chosen = config.model_copy(update={"initializer": initializer["word"]})
    ready = Personalization(config, concept, model, attach(model, concept, chosen), initializer)
    if judge:
        ready.judge = judge
    return ready


def look(model: "DiffusionModel", config: RunConfig) -> "Look":
    """How the photographs are seen in training."""
    from noiseprobe.views import Flips, Rescales

    size, crop, flip = model.resolution, config.center_crop, config.flip
    if config.rescale:
        return Rescales(size, model.latent_shape[-1], crop, flip, seed=config.seed)
    return Flips(size, crop, flip)
