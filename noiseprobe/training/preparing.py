"""What a run trains, made ready: concept, model, method, objective and checks."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from noiseprobe.core.progress import Reporter
from noiseprobe.draws.factors import TRAINERS
from noiseprobe.draws.recipes import recipe_size
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from noiseprobe.models.base import DiffusionModel
    from noiseprobe.pictures.likeness import Likeness, Previews
    from noiseprobe.run.foreign import Series
    from noiseprobe.training.concept import Concept
    from noiseprobe.training.conditioning import Conditioner
    from noiseprobe.training.methods.base import Method
    from noiseprobe.training.objective import Objective
    from noiseprobe.training.views import Look


@dataclass
class Personalization:
    """A method attached to a live model, and what stages need of both, made when one first does.

    `initializer` is what `noiseprobe.training.initializer.choose` returned, where it was asked.
    `cache` keeps what frozen encoders made. Of `config`, the precision is settled.
    """

    config: RunConfig
    concept: "Concept"
    model: "DiffusionModel"
    method: "Method"
    initializer: dict[str, Any] | None = None
    cache: Cache = field(default_factory=Cache)

    @cached_property
    def conditioner(self) -> "Conditioner":
        """What encodes captions: once each, if nothing of the text encoders is trained."""
        from noiseprobe.models.base import trains
        from noiseprobe.training.conditioning import Conditioner

        changing = self.method.changes_text
        if changing or any(trains(each.module) for each in self.model.encoders):
            return Conditioner(self.model)
        return Conditioner(self.model, keep=True, cache=self.cache)

    @cached_property
    def objective(self) -> "Objective":
        """The training objective on the photographs, all views of which are encoded here."""
        seen = look(self.model, self.config)
        return self.objective_on("photographs", self.concept.photographs, seen)

    @cached_property
    def held_out(self) -> "Objective | None":
        """The same on the photographs that are never trained on; None if there are none.

        They are seen at their size also where training rescales: what an augmentation teaches,
        such as a thing that is small on grey, is not to be learned.
        """
        if not self.concept.held_out:
            return None
        seen = look(self.model, self.config, held_out=True)
        return self.objective_on("held-out", self.concept.held_out, seen)

    def objective_on(
        self,
        name: str,
        photographs: "Sequence[Path]",
        seen: "Look",
        captions: "Sequence[str] | None" = None,
    ) -> "Objective":
        """The objective on some photographs, which the cache keeps under `name`.

        Their captions, by default the method's, are encoded here if they are encoded once.
        """
        from noiseprobe.models.placing import placed
        from noiseprobe.training.objective import Objective

        written = self.concept.written if captions is None else None
        own = [written[path] for path in photographs] if written else None
        with placed([self.model.vae], self.model.device):
            made = Objective(self.model, photographs, seen, self.conditioner, self.cache, name, own)
        if self.conditioner.keep:
            self.conditioner.learn(made.every_caption(captions or self.method.captions))
        return made

    @cached_property
    def likeness(self) -> "Likeness":
        """The CLIP that knows the photographs."""
        from noiseprobe.pictures.likeness import Likeness

        return Likeness.load(self.model, self.concept.photographs, self.config)

    @cached_property
    def previews(self) -> "Previews | None":
        """The CLIP checks of training, if there are any."""
        from noiseprobe.pictures.likeness import Previews

        if not self.config.draws_pictures:
            return None
        return Previews(self.model, self.method.captions, self.likeness, self.config)


def concept_of(config: RunConfig, series: "Series | None" = None) -> "Concept":
    """The concept that a run is taught, its held-out photographs apart; raises `UserError`.

    Where a `series` has no captions, each photograph has its own in a file beside it.
    """
    from noiseprobe.training.concept import load_concept, warn_of_captions, written_captions
    from noiseprobe.training.holding_out import held_out

    whole = load_concept(config.concept, config.class_noun, config.placeholder)
    parted = held_out(whole, config.hold_out, config.validation, config.seed)
    if series is None:
        warn_of_captions(whole.photographs)
    if series is None or series.captions:
        return parted
    return replace(parted, written=written_captions((*parted.photographs, *parted.held_out)))


def prepare(
    config: RunConfig,
    run: Run | None = None,
    reporter: Reporter | None = None,
    series: "Series | None" = None,
) -> Personalization:
    """Load the concept and the model, and attach the method; raises `UserError` for bad input.

    `run` is the one to go on with, if there is one: what it chose before stays chosen. `series` are
    checkpoints of another trainer, by default those that the run is about.
    """
    from noiseprobe.core.progress import Silent
    from noiseprobe.models import family_at, load_model, pick_device, pick_precision
    from noiseprobe.pictures.photographs import read_photograph
    from noiseprobe.training.initializer import CHOICES, choose
    from noiseprobe.training.methods import masters, method_of
    from noiseprobe.training.optimising import require_library
    from noiseprobe.training.prior import find_class_images

    series = run.foreign if run and series is None else series
    concept = concept_of(config, series)
    if config.fixed_batch in TRAINERS:
        recipe_size(config.fixed_batch, len(concept.photographs), config.eval_batch)
    if config.prior:
        find_class_images(config, concept, None)
    require_library(config.optimizer)
    if series is None:
        method_of(config).require(family_at(config.model, config.revision), config)
    precision = pick_precision(config.precision, pick_device(config.device))
    config = config.model_copy(update={"precision": precision})
    cache = Cache(run.cache_directory if run else None)
    if run is None:
        for photograph in (*concept.photographs, *concept.held_out):
            read_photograph(photograph)  # before a model is loaded, which may take long
    model = load_model(
        config.model,
        config.device,
        config.precision,
        masters=() if series else masters(config),
        quantize=config.quantize,
        aside=True,
        variant=config.variant,
        revision=config.revision,
        vae=config.vae,
        base=config.base,
        prediction=config.prediction,
        resolution=config.resolution,
        clip_skip=config.clip_skip,
        density=config.times,
        shift=config.shift,
        weighting=config.weighting,
        snr_gamma=config.snr_gamma,
    )
    if series:
        method = followed(model, concept, config, series)
        return Personalization(config, concept, model, method, cache=cache)
    if config.initializer not in CHOICES:
        method = attached(model, concept, config)
        compiled(model, config)
        return Personalization(config, concept, model, method, cache=cache)
    initializer, likeness = run.initializer if run else None, None
    if initializer is None:
        from noiseprobe.pictures.likeness import Likeness

        likeness = Likeness.load(model, concept.photographs, config)
        worded = [each for each in model.encoders if each.name in model.worded]
        tokenizers = [each.tokenizer for each in worded or model.encoders[:1]]
        silent = reporter or Silent()
        initializer = choose(config.initializer, tokenizers, likeness, config.seed, silent)
    chosen = config.model_copy(update={"initializer": initializer["word"]})
    method = attached(model, concept, chosen)
    compiled(model, config)
    ready = Personalization(config, concept, model, method, initializer, cache)
    if likeness:
        ready.likeness = likeness
    return ready


def attached(model: "DiffusionModel", concept: "Concept", config: RunConfig) -> "Method":
    """The method on the model, whose text encoders are now where they are needed."""
    from noiseprobe.models.placing import checkpoint_gradients, settle_in
    from noiseprobe.training.methods import attach

    method = attach(model, concept, config)
    settle_in(model)
    if config.gradient_checkpointing:
        checkpoint_gradients(model)
    return method


def compiled(model: "DiffusionModel", config: RunConfig) -> None:
    """Have those passes computed by compiled code that come again and again, where that is wanted.

    Which these are is a matter of the settings alone, so that a run that goes on in another process
    computes as it did before.
    """
    from noiseprobe.core.progress import Silent
    from noiseprobe.models.compiling import Compiled, compiles
    from noiseprobe.training.objective import MicroBatches

    if not compiles(config, model.device):
        return
    most = MicroBatches.of(model, config.micro_batch, Silent()).size
    tracked = [config.eval_batch, config.val_batch if config.hold_out or config.validation else 0]
    tracked.append(config.samples_per_step if config.tracks("paired") else 0)
    sizes = {most, *(min(each, most) for each in tracked if each)}
    trained = config.train_batch_size * (2 if config.prior else 1)
    model.fast = Compiled(model.denoiser, {(trained, True)} | {(each, False) for each in sizes})


def followed(
    model: "DiffusionModel", concept: "Concept", config: RunConfig, series: "Series"
) -> "Method":
    """Another trainer's checkpoints on the model."""
    from noiseprobe.training.methods.foreign import Foreign

    method = Foreign(model, series, config)
    if concept.written:
        method.captions = [concept.written[path] for path in concept.photographs]
    if method.changes_text:
        for each in model.encoders:
            each.module.to(model.device)
    return method


def look(model: "DiffusionModel", config: RunConfig, held_out: bool = False) -> "Look":
    """How the photographs are seen in training, or those that are held out."""
    from noiseprobe.training.views import Flips, Rescales

    size, crop, flip = model.resolution, config.center_crop, config.flip
    if config.rescale and not held_out:
        return Rescales(size, model.latent_shape[-1], crop, flip, seed=config.seed)
    return Flips(size, crop, flip)
