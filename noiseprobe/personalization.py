"""What a run trains, made ready: concept, model, method, objective and checks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noiseprobe.config import RunConfig
from noiseprobe.progress import Reporter
from noiseprobe.run import Run

if TYPE_CHECKING:
    from noiseprobe.checks import Check
    from noiseprobe.concept import Concept
    from noiseprobe.methods.base import Method
    from noiseprobe.models.base import DiffusionModel
    from noiseprobe.objective import Objective
    from noiseprobe.views import Look


@dataclass
class Personalization:
    """A method attached to a live model, the objective on the photographs, and CLIP checks if any.

    `initializer` is what `noiseprobe.initializer.choose` returned, where it was asked.
    """

    concept: "Concept"
    objective: "Objective"
    method: "Method"
    check: "Check | None"
    initializer: dict[str, Any] | None


def prepare(
    config: RunConfig, run: Run | None = None, reporter: Reporter | None = None
) -> Personalization:
    """Load the concept and the model, and attach the method; raises `UserError` for bad input.

    `run` is the one to go on with, if there is one: what it chose before stays chosen.
    """
    from noiseprobe.checks import Check, Judge
    from noiseprobe.concept import load_concept
    from noiseprobe.initializer import CHOICES, choose
    from noiseprobe.methods import attach
    from noiseprobe.models import load_model
    from noiseprobe.objective import Objective
    from noiseprobe.prior import find_class_images
    from noiseprobe.progress import Silent

    concept = load_concept(config.concept, config.class_noun, config.placeholder)
    if config.prior:
        find_class_images(config, concept, None)
    model = load_model(config.model, config.device, config.precision)
    by_judge = config.initializer in CHOICES
    checked = config.checks or config.stop == "clip"
    judge = Judge.load(model, concept, config) if checked or by_judge else None
    initializer = None
    if by_judge and config.initializer and judge:
        initializer = run.initializer if run else None
        if initializer is None:
            tokenizer, seed = model.tokenizer, config.seed
            initializer = choose(config.initializer, tokenizer, judge, seed, reporter or Silent())
        method = attach(
            model, concept, config.model_copy(update={"initializer": initializer["word"]})
        )
    else:
        method = attach(model, concept, config)
    objective = Objective(model, concept.photographs, look(model, config))
    check = Check(model, method, judge, config) if checked and judge else None
    return Personalization(concept, objective, method, check, initializer)


def look(model: "DiffusionModel", config: RunConfig) -> "Look":
    """How the photographs are seen in training."""
    from noiseprobe.views import Flips, Rescales

    size, crop, flip = model.resolution, config.center_crop, config.flip
    if config.rescale:
        return Rescales(size, model.latent_shape[-1], crop, flip, seed=config.seed)
    return Flips(size, crop, flip)
