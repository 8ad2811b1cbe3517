"""A run's settings: every flag of `noiseprobe run` is a key here, with underscores for dashes.

What is left out takes the default of the model's family: the bundled model and a Stable Diffusion
need different lengths, learning rates and windows.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import NAMED_SETTINGS, Layout, parse_settings
from noiseprobe.run.defaults import BUNDLED_MODEL, DEFAULT_CONCEPT, METHODS, defaults_of

MAY_CHANGE_ON_RESUME = {
    "steps",
    "stop",
    "window",
    "threshold",
    "device",
    "micro_batch",
    "settings",
    "replicates",
    "probe_batch",
    "design_replicates",
    "design_batch",
}
"""Settings that may differ when a run goes on: they change neither a step nor a draw of it."""


class RunConfig(BaseModel):
    """Every setting of a run, validated and resolved; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    concept: str
    class_noun: str | None = None
    placeholder: str = "<v>"
    model: str = BUNDLED_MODEL
    method: Literal["textual-inversion", "dreambooth", "dreambooth-lora", "custom-diffusion"] = (
        "textual-inversion"
    )
    initializer: str | None = None
    num_vectors: int = Field(1, ge=1, le=64)
    learnable_property: Literal["object", "style"] = "object"
    instance_prompt: str | None = None
    rare_word: str = "sks"
    train_text_encoder: bool = False
    rank: int = Field(ge=1)
    lora_alpha: float | None = Field(None, gt=0, allow_inf_nan=False)
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    train_word: bool = True
    attention: Literal["crossattn_kv", "crossattn"] = "crossattn_kv"
    prior: bool = False
    prior_weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    class_images: str | None = None
    num_class_images: int = Field(ge=1)
    class_prompt: str | None = None
    center_crop: bool = True
    flip: float = Field(0.5, ge=0, le=1)
    rescale: bool = False
    max_grad_norm: float | None = Field(None, gt=0, allow_inf_nan=False)

    steps: int = Field(ge=1)
    stop: Literal["dvar", "clip", "fixed", "none"] = "dvar"
    window: int = Field(ge=2)
    threshold: float = Field(gt=0, allow_inf_nan=False)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    scale_lr: bool = True
    train_batch_size: int = Field(ge=1)
    eval_batch: int = Field(ge=1)
    eval_every: int = Field(1, ge=1)
    fixed_batch: Layout = "stratified"
    checkpoint_every: int = Field(ge=1)
    seed: int = Field(0, ge=0)
    device: str = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    clip: str | None = None
    checks: bool = False
    check_every: int = Field(ge=1)
    samples: int = Field(8, ge=1)
    patience: int = Field(ge=1)
    eps: float = Field(ge=0, allow_inf_nan=False)
    sampling_steps: int = Field(ge=1)
    sampling_seed: int = Field(1, ge=0)
    guidance: float = Field(ge=1, allow_inf_nan=False)

    settings: tuple[str, ...] = tuple(setting.name for setting in NAMED_SETTINGS)
    replicates: int = Field(ge=1)
    probe_batch: int = Field(ge=1)
    design_replicates: int = Field(32, ge=2)
    design_batch: int = Field(8, ge=1)
    micro_batch: int = Field(64, ge=1)

    @field_validator("settings", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> tuple[str, ...]:
        settings = parse_settings(_texts("--settings", value))
        if not settings:
            raise UserError("--settings: none given; name at least one, such as timesteps")
        return tuple(setting.name for setting in settings)

    @field_validator("lora_targets", mode="before")
    @classmethod
    def _lora_targets(cls, value: Any) -> tuple[str, ...]:
        targets = tuple(_texts("--lora-targets", value))
        if not targets:
            raise UserError("--lora-targets: none given; name at least one layer, such as to_k")
        return targets

    @property
    def effective_learning_rate(self) -> float:
        """The optimiser's learning rate: scaled by the batch size unless told otherwise.

        Custom Diffusion with prior preservation doubles it, as its publication does.
        """
        rate = self.learning_rate * (self.train_batch_size if self.scale_lr else 1)
        return rate * (2 if self.method == "custom-diffusion" and self.prior else 1)

    @property
    def alpha(self) -> float:
        """LoRA's alpha: the rank unless told otherwise, so that adapters are scaled by 1."""
        return self.rank if self.lora_alpha is None else self.lora_alpha


def resolve(given: dict[str, Any], file: Path | None = None) -> RunConfig:
    """The settings that result from a TOML `file`, flags that were `given`, and defaults.

    Flags win over the file, the file over the defaults of the model's family. A value of None was
    not given. Raises `UserError` naming the flag or key, what was found and what was expected.
    """
    merged = (read_toml(file) if file else {}) | {
        key: value for key, value in given.items() if value is not None
    }
    merged = located(merged)
    merged.setdefault("concept", DEFAULT_CONCEPT)
    model, method = merged.get("model", BUNDLED_MODEL), merged.get("method", METHODS[0])
    return _validated(defaults_of(str(model), str(method)) | merged)


def located(given: dict[str, Any]) -> dict[str, Any]:
    """The settings with folders by their full paths: a run is resumed from anywhere."""
    texts = {key: value for key, value in given.items() if isinstance(value, str) and value}
    folders = {
        key: str(Path(texts[key]).resolve())
        for key in ("concept", "model", "clip", "class_images")
        # The folder of class images may be made only then.
        if key in texts and (key == "class_images" or Path(texts[key]).is_dir())
    }
    return given | folders


def read_toml(file: Path) -> dict[str, Any]:
    """The settings in a TOML file; its keys are those of `RunConfig`, and `class`."""
    content = load_toml(file)
    if "class" in content:
        content["class_noun"] = content.pop("class")
    for key in content:
        if key not in RunConfig.model_fields:
            mend = did_you_mean(key, RunConfig.model_fields, "remove it", cutoff=0.5)
            raise UserError(f"{file}: unknown key '{key}'; {mend}")
    return content


def load_toml(file: Path) -> dict[str, Any]:
    """What a TOML file says; raises `UserError` for one that cannot be read."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid TOML ({error}); mend the file") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check the path") from error


def write_toml(config: RunConfig, file: Path) -> None:
    """Write every setting, such that `read_toml` gives them back."""
    import tomli_w

    content = config.model_dump(mode="json", exclude_none=True)
    with written_whole(file) as beside:
        beside.write_text(tomli_w.dumps(content), encoding="utf-8")


def resumed(recorded: RunConfig, given: dict[str, Any]) -> RunConfig:
    """The recorded settings with those that were `given` anew.

    Raises `UserError` where a given flag would change steps that are already done.
    """
    anew = {key: value for key, value in given.items() if value is not None}
    config = _validated(recorded.model_dump() | located(anew))
    for key in anew:
        before, now = getattr(recorded, key), getattr(config, key)
        if now != before and key not in MAY_CHANGE_ON_RESUME:
            raise UserError(
                f"{flag(key)}: this run was started with {before!r}, not {now!r}; leave the flag "
                "out, or start a new run"
            )
    return config


_FLAGS = {"class_noun": "class", "design_replicates": "replicates", "design_batch": "probe_batch"}


def flag(key: str) -> str:
    """The command-line flag of a setting."""
    return "--" + _FLAGS.get(key, key).replace("_", "-")


def _texts(name: str, value: Any) -> list[str]:
    """The words of a list that was given as one text, with commas, or as a list."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name}: {value!r} given; give names, with commas between them")
    return [text.strip() for text in texts if text.strip()]


def _validated(content: dict[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(ours := first.get("ctx", {}).get("error"), UserError):
            raise ours from None
        key = str(first["loc"][0])
        expected = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"{flag(key)}: {first['input']!r} given, but {expected}") from error
