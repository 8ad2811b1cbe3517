"""What a file or folder that another trainer left is, by its keys, and the step it is of.

Headers alone are read: no weight is loaded, and nothing here imports torch.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noiseprobe.core.errors import UserError
from noiseprobe.run.families import INDEX
from noiseprobe.run.weight_files import SAFE, Names, is_weights, kind_in, names_in, told_by_pickle

FLAG = "--checkpoints"
LORA, EMBEDDING, CUSTOM, PARTS, PIPELINE, MODEL = KINDS = (
    *("lora", "embedding", "custom-diffusion", "parts", "pipeline", "model"),
)
"""Adapters; a word's vectors; attention of Custom Diffusion; folders of whole parts, such as
`unet/`; a whole pipeline; a whole model in one file."""

DENOISERS = ("unet", "transformer")

_LORA = ("lora_A.weight", "lora_B.weight", "lora_A.default.weight", "lora_down.weight")
_LORA_ENDS = (*_LORA, "lora.down.weight", "lora.up.weight", "lora_linear_layer.down.weight")
_OTHER_ADAPTERS = {
    ".hada_w1_a": "a LoHa",
    ".lokr_w1": "a LoKr",
    ".lokr_w1_a": "a LoKr",
    ".oft_blocks": "an OFT",
    ".dora_scale": "a LoRA with DoRA scales, which diffusers leaves out",
}
_OF_TEXT = ("lora_te", "text_encoder")
_BESIDE = ("optimizer", "scheduler", "scaler", "random_states", "sampler", "training_args")
"""How the names of files begin in which trainers keep what they need to go on."""

SECOND = "learned_embeds_2"
"""How the name of the file begins that has a word for SDXL's second text encoder."""

STATE, SECOND_STATE = "model.safetensors", "model_1.safetensors"
"""What accelerate calls the first and second module in its state."""

_TOKENS = "embeddings.token_embedding.weight"

_STEP = (
    re.compile(r"-save-(\d+)-\d+-\d+$"),  # OneTrainer: step, epoch, step of the epoch
    re.compile(r"(?:^|[-_.])(?:checkpoint|global_?steps?|steps?|iter)[-_]?(\d+)$"),
    re.compile(r"_(\d{9})$"),  # ai-toolkit
)
_EPOCH = (re.compile(r"(?:^|[-_.])epoch[-_]?(\d+)$"),)
_SIX = re.compile(r"-(\d{6})$")  # sd-scripts, musubi-tuner: an epoch
_NUMBER = re.compile(r"-(\d+)$")  # A1111


@dataclass(frozen=True)
class Found:
    """One checkpoint.

    Attributes:
        path: the file or folder.
        files: the files and folders in it that are loaded, each with its kind.
        told: `step` and `epoch`, as far as it says them.
        text: whether anything of a text encoder is in it.
    """

    path: Path
    files: tuple[tuple[Path, str], ...]
    told: Mapping[str, int]
    text: bool


def look_at(path: Path) -> Found | None:
    """What a file or folder is; None for what no checkpoint is.

    Raises `UserError` for one that is damaged, or of a kind that is not supported.
    """
    if path.is_file():
        return _file(path) if is_weights(path) else None
    return _folder(path)


def _file(path: Path) -> Found | None:
    if path.stem.startswith(_BESIDE):
        return None
    names = contents(path)
    kind = kind_of(names)
    if kind is None:
        # A part's weights stand for the folder that holds the part.
        named = {path.parent.name} & {*DENOISERS}
        return _folder(path.parent.parent) if named else None
    return Found(path, ((path, kind),), _told(path, names), _touches_text(names, kind))


def _folder(path: Path) -> Found | None:
    if (path / INDEX).is_file():
        return Found(path, ((path, PIPELINE),), _told(path, None), text=True)
    if any((path / part / "config.json").is_file() for part in DENOISERS):
        text = any(path.glob("text_encoder*/config.json"))
        return Found(path, ((path, PARTS),), _told(path, None), text)
    inside = [each for each in sorted(path.glob("*")) if each.is_file() and is_weights(each)]
    found = [each for each in map(_file, inside) if each and each.path.parent == path]
    files = tuple(file for each in found for file in each.files if not is_second(file[0]))
    if not files:
        return None
    told = next((each.told for each in found if each.told), _told(path, None))
    return Found(path, files, told, any(each.text for each in found))


def is_second(file: Path) -> bool:
    """Whether a file has the vectors of SDXL's second text encoder, beside those of the first."""
    return file.name.startswith(SECOND) or (file.name == SECOND_STATE and is_state(file))


def is_state(file: Path) -> bool:
    """Whether a file is a text encoder in accelerate's state, as scripts of inversion leave it.

    A part of a pipeline, which has the same names, has its configuration beside it.
    """
    named = file.name in (STATE, SECOND_STATE) and not (file.parent / "config.json").is_file()
    return named and names_in(file, FLAG).under(_TOKENS, f"text_model.{_TOKENS}")


def contents(file: Path) -> Names:
    """The names in a file; of a pickle all texts, numbers as `step` in what it says of itself."""
    if file.suffix.lower() in SAFE:
        return names_in(file, FLAG)
    told = told_by_pickle(file, FLAG)
    about = {}
    for text, number in itertools.pairwise(told):
        if text == "step" and isinstance(number, int) and not isinstance(number, bool):
            about["step"] = str(number)
    # Texts with a space are what the pickle calls to build tensors.
    texts = [each for each in told if isinstance(each, str) and " " not in each]
    return Names(file, dict.fromkeys(texts), about)


def kind_of(names: Names) -> str | None:
    """The kind of what has these names; None for none of `KINDS`.

    Raises `UserError` for an adapter that diffusers does not load.
    """
    for end, told in _OTHER_ADAPTERS.items():
        if names.ending(end, f"{end}.weight"):
            raise UserError(
                f"{FLAG}: '{names.file}' is {told}, which is not supported; give LoRA files"
            )
    if names.ending(*_LORA_ENDS):
        return LORA
    if any("_custom_diffusion" in name for name in names.shapes):
        if names.file.name == "model.safetensors":
            raise UserError(
                f"{FLAG}: '{names.file}' is a part of accelerate's state, without the word; give "
                "pytorch_custom_diffusion_weights.bin, which the script saves at its end"
            )
        return CUSTOM
    if _is_embedding(names) or is_state(names.file):
        return EMBEDDING
    try:
        kind_in(names.file)
    except UserError:
        return None
    return MODEL


def _is_embedding(names: Names) -> bool:
    known = {"emb_params", "string_to_param", "clip_l", "clip_g"}
    if known & names.shapes.keys():
        return True
    if names.file.suffix.lower() not in SAFE:
        state = {"param_groups", "state_dict", "last_epoch"}  # of optimizers, schedules, models
        return not state & names.shapes.keys() and not any("." in name for name in names.shapes)
    flat = all(shape is not None and len(shape) <= 2 for shape in names.shapes.values())
    return bool(names.shapes) and flat and not any("." in name for name in names.shapes)


def _touches_text(names: Names, kind: str) -> bool:
    if kind == LORA:
        return names.under(*_OF_TEXT)
    return kind in (EMBEDDING, MODEL)


def _told(path: Path, names: Names | None) -> Mapping[str, int]:
    """The step and epoch: by metadata, else by the nearest name that has a number."""
    about = names.about if names else {}
    keys = {"ss_steps": "step", "ss_epoch": "epoch", "step": "step"}
    said = {unit: int(about[key]) for key, unit in keys.items() if about.get(key, "").isdecimal()}
    if said:
        return said
    if path.is_file():
        return _numbered(path.stem) or _numbered(path.parent.name, surely=True)
    return _numbered(path.name)


def _numbered(name: str, surely: bool = False) -> Mapping[str, int]:
    """The number in a name; with `surely` only where it says what it counts."""
    loose = () if surely else (("epoch", (_SIX,)), ("step", (_NUMBER,)))
    for unit, patterns in (("step", _STEP), ("epoch", _EPOCH), *loose):
        for pattern in patterns:
            if match := pattern.search(name):
                return {unit: int(match[1])}
    return {}
