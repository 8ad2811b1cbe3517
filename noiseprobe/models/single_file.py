"""Loading a model from one file of weights, as A1111, ComfyUI and kohya write them.

What such a file lacks, the configurations of its parts and the vocabularies of its tokenizers, does
not come from the hub: configurations come with the package, by the kind of model that the names in
the file tell (`noiseprobe.run.weight_files`), and vocabularies are in the local cache of the hub,
if any model of a kind was ever fetched. With a `base`, a directory or hub id of the same kind of
pipeline, everything that the file lacks is taken from there.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.core.reading import json_of
from noiseprobe.models.converting import converted
from noiseprobe.models.loading import class_of, has_weights, load_part, load_parts, loading
from noiseprobe.run.families import cached_file, hub_file, index_of, pipeline_of
from noiseprobe.run.weight_files import DENOISER, SAFE, Kind, Names, kind_in, names_in

CONFIGS = Path(str(files("noiseprobe.models") / "assets" / "configs"))

_DIFFUSION = {"unet": (DENOISER,), "vae": ("first_stage_model.",)}
_FLOW = {"transformer": (DENOISER, ""), "vae": ("first_stage_model.", "vae.")}
_CLIP_L, _CLIP_G, _T5 = (
    f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl")
)
PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    "StableDiffusionPipeline": {
        **_DIFFUSION,
        "text_encoder": ("cond_stage_model.transformer.", "cond_stage_model.model."),
    },
    "StableDiffusionXLPipeline": {
        **_DIFFUSION,
        "text_encoder": ("conditioner.embedders.0.transformer.",),
        "text_encoder_2": ("conditioner.embedders.1.model.",),
    },
    "StableDiffusion3Pipeline": {
        **_FLOW,
        "text_encoder": (_CLIP_L,),
        "text_encoder_2": (_CLIP_G,),
        "text_encoder_3": (_T5,),
    },
    "FluxPipeline": {**_FLOW, "text_encoder": (_CLIP_L,), "text_encoder_2": (_T5,)},
    "SanaPipeline": {"transformer": (DENOISER, "")},
}
"""What stands before the names of each part, by the pipeline class; "" where it may be alone."""

_CACHED = {
    "StableDiffusionPipeline": ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    "StableDiffusionXLPipeline": ("stabilityai/stable-diffusion-xl-base-1.0",),
    "StableDiffusion3Pipeline": (
        *("stabilityai/stable-diffusion-3-medium-diffusers",),
        *("stabilityai/stable-diffusion-3.5-medium", "stabilityai/stable-diffusion-3.5-large"),
    ),
    "FluxPipeline": ("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell"),
    "SanaPipeline": (
        "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
        "Efficient-Large-Model/Sana_600M_1024px_diffusers",
    ),
}
"""The models that the hub's cache is asked for what a file lacks, by the pipeline class."""

_T5_REPOS = (*_CACHED["StableDiffusion3Pipeline"], *_CACHED["FluxPipeline"])
_VOCABULARIES: dict[str, tuple[tuple[str, str], ...]] = {
    # Repository and folder, the smallest first. All CLIPs share one vocabulary.
    "clip": (
        ("openai/clip-vit-large-patch14", ""),
        *((repo, "tokenizer") for repos in list(_CACHED.values())[:4] for repo in repos),
    ),
    "t5": (
        ("google/t5-v1_1-xxl", ""),
        *((repo, "tokenizer_3" if "diffusion-3" in repo else "tokenizer_2") for repo in _T5_REPOS),
    ),
    "gemma": tuple((repo, "tokenizer") for repo in _CACHED["SanaPipeline"]),
}
_VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


@dataclass(frozen=True)
class SingleFile:
    """One file of weights, and where the rest of its model comes from.

    Args:
        file: the file.
        base: a directory or hub id of a pipeline of the same kind, or None.
        prediction: what the denoiser predicts, where betas are trained with; None: as the file
            says, or the base.
        revision: of the base, on the hub.
        variant: of the base's weights, such as fp16.
    """

    file: Path
    base: str | None = None
    prediction: str | None = None
    revision: str | None = None
    variant: str | None = None

    @cached_property
    def kind(self) -> Kind:
        """The kind of model; raises `UserError`, also for Stable Diffusion 2 that does not say."""
        kind = kind_in(self.file)
        if kind.pipeline not in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
            if self.prediction is not None:
                raise UserError("--prediction: this model is trained as a flow; leave it out")
            return kind
        kind = replace(kind, predicts=self.prediction or kind.predicts)
        if kind.name == "sd-2" and self.base is None:
            if kind.predicts is None:
                raise UserError(
                    f"--model: '{self.file}' is a Stable Diffusion 2 and does not say what it "
                    "predicts; add --prediction v_prediction (768 pixels) or epsilon (512)"
                )
            kind = replace(kind, name="sd-2-v" if kind.predicts == "v_prediction" else "sd-2")
        return kind

    @cached_property
    def index(self) -> Mapping[str, Any]:
        """Library and class of each part, and without a base the name of its configuration."""
        if self.base is None:
            content = json.loads((CONFIGS / "kinds.json").read_text(encoding="utf-8"))
            return dict(content[self.kind.name])
        if (other := pipeline_of(self.base, self.revision)) != self.kind.pipeline:
            raise UserError(
                f"--base: '{self.base}' is a {other}, and '{self.file}' holds a "
                f"{self.kind.pipeline}; give one of its kind"
            )
        return index_of(self.base, self.revision)

    def load(
        self,
        known: Iterable[str],
        optional: Iterable[str] = (),
        dtypes: Mapping[str, torch.dtype] | None = None,
    ) -> dict[str, Any]:
        """The parts that `known` names; those that are `optional` only where they are.

        `dtypes` are those of parts that are not in float32. Raises `UserError` naming what is
        nowhere to be had, and where it could be.
        """
        _ = self.kind  # which finds what is wrong
        parts = {}
        for part in known:
            library, name, *_ = self.index.get(part) or (None, None)
            if library is None:
                continue
            made = class_of(str(self.file), part, library, str(name))
            dtype = (dtypes or {}).get(part, torch.float32)
            if has_weights(made) and (prefix := self.prefix_of(part)) is not None:
                parts[part] = self._from_file(part, made, prefix, dtype)
            elif (found := self.elsewhere(part, made, dtype)) is not None:
                parts[part] = found
            elif part not in optional:
                raise self.lacks(part)
        return parts

    def lacks(self, part: str) -> UserError:
        """The error that says that a part is nowhere to be had."""
        return UserError(
            f"--model: '{self.file}' has no {part}, and the hub's cache neither; add --base with "
            f"a pipeline's directory or hub id, such as {_CACHED[self.kind.pipeline][0]}"
        )

    def prefix_of(self, part: str) -> str | None:
        """What stands before the part's names in the file; None if it is not in there."""
        for prefix in PLACES[self.kind.pipeline].get(part, ()):
            if prefix == "" or self._names.under(prefix):
                return prefix
        return None

    def has(self, part: str) -> bool:
        """Whether the file has a part, or its tokenizer the encoder, or there is one elsewhere."""
        encoder = part.replace("tokenizer", "text_encoder")
        if self.base is not None or self.prefix_of(encoder) is not None:
            return True
        repos = _CACHED[self.kind.pipeline]
        return any(cached_file(repo, f"{encoder}/config.json") for repo in repos)

    @cached_property
    def _names(self) -> Names:
        return names_in(self.file)

    def config_file(self, part: str) -> Path | None:
        """The configuration of a part; None where the package has none and there is no base."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        if self.base is not None:
            directory = Path(self.base).expanduser()
            file = directory / part / name
            if directory.is_dir():
                return file
            return hub_file(self.base, f"{part}/{name}", self.revision)
        own = self.index[part][2]
        return None if own is None else CONFIGS / f"{own}.json"

    def _from_file(self, part: str, made: Any, prefix: str, dtype: torch.dtype) -> Any:
        where = f"--model: cannot load the {part} of '{self.file}'"
        base = self.base or f"what {self.kind.name} is in the package"
        with loading(where, f"check that it is complete, and of the same sizes as {base}"):
            config = self.config_file(part)
            if config is None or not config.is_file():
                raise ValueError("its configuration is not there")
            return converted(made, config, weights_in(self.file, prefix), prefix, dtype)

    def _scheduler(self, made: Any) -> Any:
        config = self.config_file("scheduler")
        with loading(f"--model: cannot load the scheduler of '{self.base}'", "save it again"):
            told = json_of(config) if config else {}
            if self.kind.predicts is not None:
                told["prediction_type"] = self.kind.predicts
            if self.kind.zero_snr:
                told["rescale_betas_zero_snr"] = True
            return made.from_config(told)

    def elsewhere(self, part: str, made: Any, dtype: torch.dtype | None = None) -> Any:
        """A part that is not in the file; None where it is not to be had.

        From the base, or from the package or the local cache of the hub.
        """
        if part == "scheduler":
            return self._scheduler(made)
        if self.base is not None:
            own = {} if dtype is None else {part: dtype}
            variant = self.variant if has_weights(made) else None
            return load_parts(
                self.base, self.index, [part], own, variant=variant, revision=self.revision
            )[part]
        if part.startswith("tokenizer"):
            return _tokenizer(made, self.index[part][2])
        for repo in _CACHED[self.kind.pipeline]:
            if (config := cached_file(repo, f"{part}/config.json")) is not None:
                return load_part(config.parents[1], part, made, dtype=dtype)
        return None


def weights_in(file: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a file under a prefix, by their names in it; a pickle of weights alone."""
    if file.suffix.lower() in SAFE:
        with safe_open(file, framework="pt") as opened:
            return {
                name: opened.get_tensor(name)
                for name in opened.keys()  # noqa: SIM118 - it is no mapping
                if name.startswith(prefix)
            }
    found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    while "state_dict" in found:
        found = found["state_dict"]
    return {name: each for name, each in found.items() if name.startswith(prefix)}


def _tokenizer(made: Any, name: str) -> Any:
    """A tokenizer whose vocabulary is in the local cache of the hub; None if it is not there."""
    vocabulary, _, open_clip = name.partition("-")
    for repo, folder in _VOCABULARIES[vocabulary]:
        found = cached_file(repo, f"{folder}/tokenizer_config.json".lstrip("/"))
        if found is None or not any((found.parent / each).is_file() for each in _VOCABULARY_FILES):
            continue
        # OpenCLIPs were trained with captions that end in zeros, which this token is.
        own = {"pad_token": "!"} if open_clip else {}
        with loading(f"--model: cannot load the tokenizer in {found.parent}", "fetch it again"):
            return made.from_pretrained(str(found.parent), local_files_only=True, **own)
    return None
