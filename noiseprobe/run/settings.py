"""A run's settings, each declared once: name, type, bounds, default, help, and where it counts.

The flags of the commands, `--help`, the keys of TOML files and docs/settings.md are made from this
declaration. What has no default here takes one by the model's family and the method
(`noiseprobe.run.defaults`).
"""

import math
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    field_serializer,
    field_validator,
    model_validator,
)

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.draws.factors import NAMED_SETTINGS, TRAINERS, Layout, parse_settings
from noiseprobe.run.declaring import (
    HELD_OUT,
    MACHINE,
    PICTURES,
    PRIOR,
    PROBE,
    STOPPING,
    TRAINED,
    About,
    setting,
)
from noiseprobe.run.defaults import (
    BUNDLED_MODEL,
    DEFAULT_CONCEPT,
    METHODS,
    PUBLISHED_CLIP,
    RATE_WITH_PRIOR,
    shown,
)

INVERSION, DREAMBOOTH, LORA, CUSTOM = METHODS
WITH_WORD = (INVERSION, LORA, CUSTOM)
WATCHED = ("l_det", "l_val", "loss", "grad_norm", "clip_img", "paired", "paired_mean", "recent")
"""The columns of a training trace that a criterion may watch."""

PER_SAMPLE = ("l_det", "l_val")
"""Those of them whose losses are kept for each sample of a fixed batch."""

TRACKED = ("paired", "recent")
"""What `--track` may ask for."""

LOG_WITH = ("tensorboard", "wandb", "trackio", "mlflow", "aim")
"""What a training may be logged with, as accelerate's trackers are called."""

SPACING = {"l_det": "eval_every", "l_val": "val_every", "paired": "paired_every"}
"""The setting that says how many steps there are between values of what is tracked."""

_LOOKS_AT = {
    "clip": "clip_img",
    "turn": "l_val",
    "gain-interval": "paired",
    "recent-gain": "recent",
}
"""The column that a criterion looks at where `--watch` says nothing; others look at L_det."""


_trained, _of_prior, _held_out, _stopping, _pictures, _probe, _machine = (
    partial(setting, group)
    for group in (TRAINED, PRIOR, HELD_OUT, STOPPING, PICTURES, PROBE, MACHINE)
)
_BOTH = ("run", "train", "probe")
_SIZED: dict[str, Any] = {"commands": ("run", "train", "estimate")}
"""Of what takes memory."""
_SIZED_AND_SEEN: dict[str, Any] = {"commands": ("run", "train", "estimate", "probe")}
_SEEN: dict[str, Any] = {"commands": ("run", "train", "probe")}
"""Of what checkpoints of another trainer are probed with."""
_PROBING: dict[str, Any] = {"commands": ("run", "probe"), "on_resume": True}
_PAIRS: dict[str, Any] = {"commands": (), "on_resume": True}
_WITH_OWN_WORDS = ("settings", "window", "track_budget")
"""Settings whose own readers say what is wrong with any value."""

_BY_BUDGET = "by --track-budget"

_FINITE: dict[str, Any] = {"allow_inf_nan": False}


class RunConfig(BaseModel):
    """Every setting of a run, validated and resolved; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    concept: str = _trained(
        "Folder with 3-6 photographs, or a bundled concept",
        metavar="DIR|NAME",
        usual=DEFAULT_CONCEPT,
        common=True,
        **_SEEN,
    )
    class_noun: str | None = _trained(
        "What kind of thing it is, e.g. dog",
        None,
        flag="class",
        metavar="NOUN",
        usual="what the concept says",
        common=True,
        **_SEEN,
    )
    placeholder: str = _trained("The new word", "<v>", **_SEEN)
    model: str = _trained(
        "Directory or hub id of a diffusers pipeline, or one .safetensors file as A1111, ComfyUI "
        "or kohya write it",
        BUNDLED_MODEL,
        metavar="DIR|ID|FILE",
        usual=f"{BUNDLED_MODEL}, the bundled one",
        common=True,
        **_SIZED_AND_SEEN,
    )
    variant: str | None = _trained(
        "Variant of a directory's or hub id's weights, such as fp16",
        None,
        usual="whole weights",
        **_SEEN,
    )
    revision: str | None = _trained(
        "Branch, tag or commit of a hub id",
        None,
        usual="the main branch",
        **_SIZED_AND_SEEN,
    )
    vae: str | None = _trained(
        "Another autoencoder: directory, hub id or file",
        None,
        metavar="DIR|ID|FILE",
        usual="the model's own",
        **_SEEN,
    )
    base: str | None = _trained(
        "Pipeline from which the parts come that a single file lacks",
        None,
        metavar="DIR|ID",
        usual="the package, and what the hub's cache has of its family",
        **_SIZED_AND_SEEN,
    )
    prediction: Literal["epsilon", "v_prediction", "sample"] | None = _trained(
        "What the denoiser of a single file predicts: epsilon, v_prediction or sample",
        None,
        usual="what the file says; epsilon, but for Stable Diffusion 2",
        **_SIZED_AND_SEEN,
    )
    method: Literal["textual-inversion", "dreambooth", "dreambooth-lora", "custom-diffusion"] = (
        _trained(f"{', '.join(METHODS)}", INVERSION, usual="the first", common=True, **_SIZED)
    )
    center_crop: bool = _trained(
        "Crop photographs to a square, or squeeze them",
        True,
        usual="crop, but for custom-diffusion",
        **_SEEN,
    )
    flip: float = _trained("Share of photographs seen mirrored", 0.5, ge=0, le=1, **_SEEN)
    rescale: bool = _trained(
        "See photographs at random sizes, captions saying so", False, usual="custom-diffusion only"
    )
    resolution: int | None = _trained(
        "Side of the pictures in pixels",
        None,
        ge=8,
        usual="what the model was made for",
        common=True,
        **_SIZED_AND_SEEN,
    )
    clip_skip: int | None = _trained(
        "Last layers of each CLIP that are left out",
        None,
        ge=1,
        usual="none",
        **_SEEN,
    )
    times: str | None = _trained(
        "Density of the timesteps: uniform; of flow matching also logit-normal or mode",
        None,
        usual="uniform; SD3: logit-normal",
        **_SEEN,
    )
    shift: float | Literal["auto"] | None = _trained(
        "Shift of a flow's timesteps towards noise; auto: by resolution",
        None,
        metavar="S|auto",
        usual="what the model's scheduler says",
        **_SEEN,
    )
    weighting: str | None = _trained(
        "Weight of the loss by timestep: none, min-snr; of flow matching none, sigma-sqrt, cosmap "
        "or preconditioned",
        None,
        usual="none; SD3: preconditioned",
        **_SEEN,
    )
    snr_gamma: float | None = _trained(
        "Gamma of min-snr", None, gt=0, **_FINITE, usual="5", **_SEEN
    )
    optimizer: Literal["adamw", "adamw8bit", "prodigy"] = _trained(
        "adamw; adamw8bit, whose state is a quarter (bitsandbytes); or prodigy, which finds its "
        "rate (prodigyopt)",
        "adamw",
        **_SIZED,
    )
    learning_rate: float = _trained("The optimizer's learning rate", gt=0, **_FINITE)
    scale_lr: bool = _trained("Multiply it by the samples per step", True, usual="yes; prodigy: no")
    lr_schedule: Literal[
        "constant",
        "constant_with_warmup",
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
    ] = _trained(
        "How it changes over the steps: constant, constant_with_warmup, linear, cosine, "
        "cosine_with_restarts or polynomial",
        "constant",
    )
    lr_warmup: int = _trained("Steps in which it rises from 0", 0, ge=0)
    max_grad_norm: float | None = _trained(
        "Clip gradients to this norm", None, gt=0, **_FINITE, usual="textual-inversion no, others 1"
    )
    train_batch_size: int = _trained("Samples per pass through the model", ge=1, **_SIZED)
    gradient_accumulation: int = _trained(
        "Passes per step, whose gradients are averaged: as a batch so many times as large", 1, ge=1
    )
    seed: int = _trained("Seed of every draw", 0, ge=0, common=True, **_SEEN)
    on_nan: Literal["stop", "skip"] = _trained(
        "Where a loss, gradient or picture is NaN or infinite: stop, naming the sample; or skip: "
        "take no such step, leave such a value out",
        "stop",
        metavar="stop|skip",
        on_resume=True,
        **_SEEN,
    )

    initializer: str | None = _trained(
        "Word of one token that the new one starts from, or best, worst (by CLIP) or random",
        None,
        methods=WITH_WORD,
        usual="the class noun",
    )
    num_vectors: int = _trained(
        "Vectors per placeholder", 1, ge=1, le=64, methods=(INVERSION,), **_SIZED
    )
    learnable_property: Literal["object", "style"] = _trained(
        "object or style, for its captions", "object", methods=(INVERSION,)
    )
    instance_prompt: str | None = _trained(
        "The one training caption",
        None,
        methods=(DREAMBOOTH, LORA, CUSTOM),
        usual="caption templates where a word is learned",
    )
    rare_word: str = _trained(
        "The word for the thing, where none is learned", "sks", methods=(DREAMBOOTH, LORA)
    )
    train_text_encoder: bool = _trained(
        "Train the text encoder as well",
        False,
        methods=(DREAMBOOTH, LORA),
        **_SIZED,
    )
    rank: int = _trained("Rank of the adapters", 4, ge=1, methods=(LORA,), **_SIZED)
    lora_alpha: float | None = _trained(
        "Alpha of the adapters", None, gt=0, **_FINITE, methods=(LORA,), usual="the rank"
    )
    lora_targets: tuple[str, ...] | None = _trained(
        "Layers that have adapters",
        None,
        methods=(LORA,),
        usual="attention, by family",
        **_SIZED,
    )
    train_word: bool | None = _trained(
        "Learn the placeholder as well",
        None,
        methods=(LORA,),
        usual="where diffusers loads learned words into the model",
        **_SIZED,
    )
    attention: Literal["crossattn_kv", "crossattn"] = _trained(
        "crossattn_kv, or crossattn for queries and outputs too",
        "crossattn_kv",
        methods=(CUSTOM,),
        **_SIZED,
    )

    prior: bool = _of_prior(
        "Train on class images as well", False, usual="custom-diffusion only", **_SIZED
    )
    prior_weight: float = _of_prior("Weight of their loss, which is added", 1.0, ge=0, **_FINITE)
    class_images: str | None = _of_prior(
        "Folder of class images, with a captions.txt or not; missing ones are drawn by the model",
        None,
        metavar="DIR",
        usual="class-images in the run",
    )
    num_class_images: int = _of_prior("How many", ge=1)
    class_prompt: str | None = _of_prior("Their caption", None, usual="a photo of a NOUN")

    hold_out: str | None = _held_out(
        "Photographs that are never trained on, for the loss l_val: how many, chosen by the seed, "
        "or file names",
        None,
        metavar="N|NAMES",
        usual="none",
        common=True,
    )
    validation: str | None = _held_out(
        "Folder of photographs for l_val, in place of held-out ones",
        None,
        metavar="DIR",
        usual="none",
        common=True,
        **_SEEN,
    )
    val_batch: int = _held_out(
        "Samples of the fixed batch of l_val", 32, ge=1, usual="32; fewer in short runs", **_SEEN
    )
    val_every: int = _held_out("Steps between values of l_val", 5, ge=1, usual=_BY_BUDGET)
    refit: bool = _held_out(
        "At the end, train anew on all photographs up to the best step of l_val",
        False,
        on_resume=True,
    )
    cross: bool = _held_out(
        "First leave each photograph out once, then train on all for the steps that were best on "
        "average",
        False,
    )

    steps: int = _stopping("Most steps to train", ge=1, on_resume=True, common=True)
    stop: str = _stopping(
        "What ends training before: dvar, clip, or another of `noiseprobe criteria`; none: nothing",
        "dvar",
        metavar="CRITERION",
        on_resume=True,
        common=True,
    )
    watch: str | None = _stopping(
        f"The recorded column that it looks at: {', '.join(WATCHED)}",
        None,
        metavar="COLUMN",
        usual="l_det; " + ", ".join(f"{name}: {column}" for name, column in _LOOKS_AT.items()),
        on_resume=True,
    )
    param: tuple[str, ...] = _stopping(
        "A parameter of it, such as patience=20; repeatable",
        (),
        metavar="NAME=VALUE",
        usual="its own",
        on_resume=True,
    )
    keep: Literal["best", "last"] | None = _stopping(
        "The checkpoint that becomes the result: best, by what is watched, or last",
        None,
        usual="best where the criterion names one",
        on_resume=True,
        common=True,
    )
    eval_batch: int | None = _stopping(
        "Samples of the fixed batch of L_det; a trainer's layout has a number of its own",
        ge=1,
        **_SEEN,
    )
    fixed_batch: Layout = _stopping(
        "How L_det's batch is laid out: random, stratified, antithetic or weighted; or as a "
        f"trainer validates: {', '.join(TRAINERS[:-1])} or {TRAINERS[-1]}",
        "stratified",
    )
    track_budget: int | float = _stopping(
        "The share of training's time that l_det, l_val and paired may take together, a step's "
        "passes being counted; where it is not said how many steps are between values of each",
        0.1,
        metavar="SHARE%",
        usual="10%",
    )
    eval_every: int = _stopping("Steps between values of L_det", 1, ge=1, usual=_BY_BUDGET)
    track: tuple[str, ...] = _stopping(
        "paired: the loss of each training batch less the starting model's on its draws; recent: "
        "less that under the weights some steps before; repeatable",
        (),
        metavar="paired|recent",
        usual="nothing more",
    )
    paired_every: int = _stopping(
        "Steps between values of the paired loss", 1, ge=1, usual=_BY_BUDGET
    )
    recent_steps: int = _stopping("Steps of a stretch, at whose end is a recent loss", 50, ge=4)
    window: int | float = _stopping(
        "Last steps whose L_det is compared with that of all: how many, or a share such as 20%",
        metavar="N|SHARE%",
        criteria=("dvar",),
        on_resume=True,
    )
    threshold: float = _stopping(
        "Stop below this ratio of variances", gt=0, **_FINITE, criteria=("dvar",), on_resume=True
    )
    patience: int = _stopping("Checks without a gain before it stops", ge=1, criteria=("clip",))
    eps: float = _stopping(
        "The least gain in similarity that counts", ge=0, **_FINITE, criteria=("clip",)
    )

    checks: bool = _pictures(
        "Check it in training, whatever the criterion",
        False,
        usual="where the criterion looks at it",
    )
    check_every: int = _pictures("Steps between checks", ge=1)
    samples: int = _pictures("Pictures per check", 8, ge=1)
    clip: str | None = _pictures(
        "CLIP directory or hub id", None, usual=f"{PUBLISHED_CLIP}; {BUNDLED_MODEL}: tiny-clip"
    )
    sampling_steps: int = _pictures("Denoising steps per picture", ge=1)
    guidance: float = _pictures("Guidance scale", ge=0, **_FINITE)
    sampling_seed: int = _pictures("Seed of the pictures", 1, ge=0)

    settings: tuple[str, ...] = _probe(
        f"Comma-separated: {', '.join(each.name for each in NAMED_SETTINGS)}, a sum such as "
        "timesteps+noise, or a code such as 11110",
        tuple(each.name for each in NAMED_SETTINGS),
        **_PROBING,
        usual="all seven",
    )
    replicates: int = _probe(
        "Redraws per setting that recur at all checkpoints", 7, ge=1, **_PROBING
    )
    probe_batch: int = _probe("Samples per redraw", 32, ge=1, **_PROBING)
    design_replicates: int = _probe(
        "Pairs of the Sobol design", 32, ge=2, flag="replicates", **_PAIRS
    )
    design_batch: int = _probe("Samples of each pair", 8, ge=1, flag="probe-batch", **_PAIRS)

    checkpoint_every: int = _machine("Steps between checkpoints", ge=1)
    log_with: tuple[str, ...] = _machine(
        f"Show the training live in {', '.join(LOG_WITH[:-1])} or {LOG_WITH[-1]} as well; several "
        "with commas, or repeated",
        (),
        metavar="TOOL",
        usual="none",
        on_resume=True,
    )
    device: str = _machine("auto, cuda, mps or cpu", "auto", commands=_BOTH, on_resume=True)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = _machine(
        "Of what is frozen: auto, fp32, bf16 or fp16",
        "auto",
        usual="auto: bf16 on a GPU that has it, else fp32",
        common=True,
        **_SIZED_AND_SEEN,
    )
    gradient_checkpointing: bool = _machine(
        "Compute activations twice rather than keep them: less memory, more time",
        False,
        on_resume=True,
        **_SIZED,
    )
    compile: Literal["auto", "on", "off"] = _machine(
        "Compile the denoiser's blocks: auto, on or off",
        "auto",
        commands=_BOTH,
        on_resume=True,
        usual="auto: on CUDA that has Triton, in runs of 1000 steps or more",
    )
    quantize: Literal["nf4", "int8"] | None = _machine(
        "Keep the denoiser's frozen weights in 4 bits (nf4: bitsandbytes) or 8 (int8: torchao)",
        None,
        metavar="nf4|int8",
        methods=(LORA,),
        usual="no",
        **_SIZED,
    )
    workers: int | None = _machine(
        "Trainings at once with --cross",
        None,
        ge=1,
        usual="tiny-sd on a CPU: one per core; else 1",
        on_resume=True,
    )
    micro_batch: int | None = _machine(
        "Samples that the denoiser takes at once where none is trained on; halved where memory is "
        "short",
        None,
        ge=1,
        commands=_BOTH,
        usual="by device and model",
        on_resume=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _as_they_are_meant(cls, given: Any) -> Any:
        """Refuse what pydantic would take for something else, and texts that say nothing."""
        for key, value in given.items() if isinstance(given, dict) else ():
            if key not in ABOUT or key in _WITH_OWN_WORDS:
                continue
            if isinstance(value, bool) and bool not in _kinds(key):
                raise UserError(
                    f"{flag(key)}: {str(value).lower()} given, but it is no switch; give its value"
                )
            if bool in _kinds(key) and not isinstance(value, bool | None):
                raise UserError(f"{flag(key)}: {value!r} given; write true or false")
            if isinstance(value, int) and abs(value) >= 2**53:
                raise UserError(f"{flag(key)}: {value} given, which is too large; give less")
            if isinstance(value, str) and not value.strip():
                raise UserError(f"{flag(key)}: an empty text given; leave it out, or say what")
            if isinstance(value, str) and "\0" in value:
                raise UserError(f"{flag(key)}: {value!r} given; a text has no NUL in it")
        return given

    @model_validator(mode="before")
    @classmethod
    def _one_word_for_none(cls, given: Any) -> Any:
        """To go on to the last step has one name, whichever of its three was given."""
        everything = isinstance(given, dict) and given.get("stop") in ("fixed", "never")
        return given | {"stop": "none"} if everything and not given.get("param") else given

    @field_validator("settings", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> tuple[str, ...]:
        settings = parse_settings(_texts("--settings", value))
        if not settings:
            raise UserError("--settings: none given; name at least one, such as timesteps")
        return tuple(setting.name for setting in settings)

    @field_validator("window", mode="before")
    @classmethod
    def _window(cls, value: Any) -> float:
        from noiseprobe.stopping.window import parse_window

        return parse_window(str(value))

    @field_serializer("window", when_used="json")
    def _as_people_write_it(self, window: float) -> int | str:
        from noiseprobe.stopping.window import shown_window

        return shown_window(window) if window < 1 else int(window)

    @field_validator("track_budget", mode="before")
    @classmethod
    def _budget(cls, value: Any) -> float:
        from noiseprobe.stopping.window import parse_number

        try:
            share = round(parse_number(str(value)), 6)  # which it is written with
        except ValueError:
            share = 0.0
        if isinstance(value, bool) or not 0 < share < math.inf:
            raise UserError(f"--track-budget: {value!r} given; give a share above 0, such as 10%")
        return share

    @field_serializer("track_budget", when_used="json")
    def _in_percent(self, share: float) -> str:
        return f"{100 * share:.12g}%"

    @field_validator("hold_out", mode="before")
    @classmethod
    def _held(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("log_with", "track", mode="before")
    @classmethod
    def _each_once(cls, value: Any, info: Any) -> tuple[str, ...]:
        name = flag(info.field_name)
        return tuple(dict.fromkeys(_texts(name, ",".join(_texts(name, value)))))

    @field_validator("lora_targets", "param", mode="before")
    @classmethod
    def _words(cls, value: Any, info: Any) -> tuple[str, ...] | None:
        if value is None:
            return None
        texts = tuple(_texts(flag(info.field_name), value))
        if not texts and info.field_name == "lora_targets":
            raise UserError("--lora-targets: none given; name at least one layer, such as to_k")
        return texts

    @model_validator(mode="after")
    def _criterion(self) -> "RunConfig":
        """Build the criterion once, which refuses what it cannot be."""
        from noiseprobe.stopping import CRITERIA, build

        if self.stop in _WITH_FLAGS:
            if self.param:
                raise UserError(f"--param: {_WITH_FLAGS[self.stop]}; leave it out")
        elif self.stop not in CRITERIA:
            known = list(dict.fromkeys([*_WITH_FLAGS, *CRITERIA]))
            mend = did_you_mean(self.stop, known, f"choose one of {', '.join(known)}")
            raise UserError(f"--stop: '{self.stop}' given, but there is no such criterion; {mend}")
        else:
            build(self.stop, self.params)
        return self

    @model_validator(mode="after")
    def _watched_is_recorded(self) -> "RunConfig":
        from noiseprobe.run.checks import check_recorded

        check_recorded(self)
        return self

    @property
    def params(self) -> dict[str, float]:
        """The parameters of the criterion that ends training, as `--param` gave them."""
        from noiseprobe.stopping.params import parse_param

        return dict(parse_param(pair) for pair in self.param)

    @property
    def watched(self) -> str:
        """The column that the criterion looks at."""
        if self.stop == "clip":
            return "clip_img"
        return self.watch or _LOOKS_AT.get(self.stop, "l_det")

    def spacing(self, column: str) -> int:
        """For how many steps each value of a column stands; 1 but for tracked losses."""
        every: int = getattr(self, SPACING.get(column.split("_mean")[0], ""), 1)
        return every

    @property
    def keeps_best(self) -> bool:
        """Whether the result is the best step, by what is watched, rather than the last."""
        from noiseprobe.stopping import CRITERIA, LossCriterion, Patience

        if self.keep is not None:
            return self.keep == "best"
        criterion = {"clip": Patience, "none": LossCriterion}.get(self.stop) or CRITERIA[self.stop]
        return criterion.best_index is not LossCriterion.best_index

    def tracks(self, name: str) -> bool:
        """Whether training batches are evaluated for `name`, one of `TRACKED`."""
        return name in self.track or self.watched.startswith(name)

    @property
    def draws_pictures(self) -> bool:
        """Whether CLIP similarity is checked in training."""
        return self.checks or (self.stop != "none" and self.watched == "clip_img")

    @property
    def samples_per_step(self) -> int:
        """How many samples of photographs a step sees, in all its passes."""
        return self.train_batch_size * self.gradient_accumulation

    @property
    def effective_learning_rate(self) -> float:
        """The optimiser's learning rate: scaled by the samples per step unless told otherwise.

        Custom Diffusion with prior preservation doubles it, as its publication does.
        """
        rate = self.learning_rate * (self.samples_per_step if self.scale_lr else 1)
        if self.optimizer == "prodigy":
            return rate  # a factor of the rate that it finds
        return rate * (RATE_WITH_PRIOR.get(self.method, 1) if self.prior else 1)

    @property
    def alpha(self) -> float:
        """LoRA's alpha: the rank unless told otherwise, so that adapters are scaled by 1."""
        return self.rank if self.lora_alpha is None else self.lora_alpha


_WITH_FLAGS = {
    "dvar": "DVAR has --window and --threshold",
    "clip": "the CLIP criterion has --patience and --eps",
    "none": "nothing ends training before its last step",
}


_FIELDS: dict[str, Any] = RunConfig.model_fields

ABOUT: dict[str, About] = {key: each.json_schema_extra["about"] for key, each in _FIELDS.items()}
"""What there is to say of each setting, by its name."""


def of_command(command: str) -> list[str]:
    """The settings that a command takes as flags, in the order of the help."""
    return [key for key, about in ABOUT.items() if command in about.commands]


def flag(key: str) -> str:
    """The command-line flag of a setting."""
    return "--" + (ABOUT[key].flag or key.replace("_", "-"))


def kind(key: str) -> Any:
    """What the command line reads of a setting: bool, int, float or str; a list where repeatable.

    Another list of names is one text, with commas between them.
    """
    if key in ("param", "log_with", "track"):
        return list[str]
    annotation = RunConfig.model_fields[key].annotation
    if get_origin(annotation) is UnionType:
        annotation, *others = (each for each in get_args(annotation) if each is not NoneType)
        if others:
            return str
    return annotation if annotation in (bool, int, float) else str


def _kinds(key: str) -> tuple[Any, ...]:
    """The types that a setting may be of."""
    annotation = RunConfig.model_fields[key].annotation
    return get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)


def told_default(key: str) -> str:
    """The default in words: as it is declared, or by family and method."""
    about, default = ABOUT[key], RunConfig.model_fields[key].default
    if about.usual:
        return about.usual
    if RunConfig.model_fields[key].is_required():
        return shown(key)
    if isinstance(default, bool):
        default = "yes" if default else "no"
    return ",".join(default) if isinstance(default, tuple) else str(default)


def _texts(name: str, value: Any) -> list[str]:
    """The words of a list that was given as one text, with commas, or as a list."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name}: {value!r} given; give names, with commas between them")
    return [text.strip() for text in texts if text.strip()]
