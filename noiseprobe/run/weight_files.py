"""What is in a file of weights, told from its names and shapes alone: nothing of it is loaded.

As A1111, ComfyUI and kohya write models, the parts of a pipeline lie in one file, under the names
of the code that they were first trained with. Nothing here imports torch.
"""

import json
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noiseprobe.core.errors import UserError

SAFE, PICKLED = (".safetensors",), (".ckpt", ".pt", ".pth", ".bin")
LONGEST_HEADER = 16 << 20  # bytes; those of whole models take less than one in ten of that
LONGEST_PICKLE = 64 << 20  # bytes of the names in a file of torch.save

DENOISER = "model.diffusion_model."
"""What stands before the denoiser's names, where more than it is in the file."""

QUANTISED = (
    *(".absmax", ".quant_map", ".scale_weight", ".weight_scale", "scaled_fp8", ".comfy_quant"),
)
"""How names end that only quantised weights have."""


@dataclass(frozen=True)
class Names:
    """The names in a file of weights.

    Attributes:
        file: the file.
        shapes: of each tensor by its name; None where the file does not say it before it is loaded.
        about: what the file says of itself.
    """

    file: Path
    shapes: Mapping[str, tuple[int, ...] | None]
    about: Mapping[str, str]

    def under(self, *prefixes: str) -> bool:
        """Whether a tensor's name begins with one of the prefixes."""
        return any(name.startswith(prefixes) for name in self.shapes)

    def ending(self, *ends: str) -> bool:
        """Whether a tensor's name ends with one of these."""
        return any(name.endswith(ends) for name in self.shapes)

    def of_denoiser(self, name: str, axis: int) -> int | None:
        """The size of a tensor of the denoiser; None if there is none, or it is not known."""
        shape = self.shapes.get(DENOISER + name) or self.shapes.get(name)
        return shape[axis] if shape and len(shape) > axis else None


@dataclass(frozen=True)
class Kind:
    """What kind of model a file holds.

    Attributes:
        name: under which its configuration comes with the package.
        pipeline: the class of diffusers that it belongs to.
        predicts: what the denoiser predicts; None where the file does not say it.
        zero_snr: whether it was trained with betas rescaled to end in pure noise.
    """

    name: str
    pipeline: str
    predicts: str | None = None
    zero_snr: bool = False


def is_weights(file: Path) -> bool:
    """Whether a path looks like a file of weights, by its suffix."""
    return file.suffix.lower() in (*SAFE, *PICKLED)


def kind_in(file: Path) -> Kind:
    """The kind of model in a file; raises `UserError` where it is none that is known."""
    names = names_in(file)
    _refuse_parts(names)
    _refuse_quantised(names)
    _refuse_relatives(names)
    for kind in _told(names):
        return kind
    raise UserError(
        f"--model: '{file}' has weights of no family that is known (such as "
        f"{next(iter(names.shapes), 'none')}); known are Stable Diffusion 1.x and 2.x, SDXL, "
        "SD3 and 3.5, FLUX.1 and Sana"
    )


def names_in(file: Path, flag: str = "--model") -> Names:
    """The names of the tensors in a file; raises `UserError` for one that is none of weights.

    `flag` is what errors say that the file was given by.
    """
    suffix = file.suffix.lower()
    if suffix in SAFE:
        return _safe_names(file, flag)
    if suffix in PICKLED:
        return Names(file, dict.fromkeys(_texts_of_pickle(file, flag)), {})
    raise UserError(
        f"{flag}: '{file}' is no file of weights; give one that ends in "
        f"{', '.join((*SAFE, *PICKLED[:-1]))} or {PICKLED[-1]}, or a pipeline's directory"
    )


def _safe_names(file: Path, flag: str) -> Names:
    """Of a .safetensors file: its header, which is JSON after eight bytes of its length."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        whole = file.stat().st_size
        if not 2 <= length <= min(whole - 8, LONGEST_HEADER):
            raise UserError(f"{flag}: '{file}' is no .safetensors file, or cut; fetch it again")
        text = opened.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        about = header.pop("__metadata__", {})
        shapes = {name: tuple(told["shape"]) for name, told in header.items()}
        ends = max((told["data_offsets"][1] for told in header.values()), default=0)
        if not isinstance(ends, int):
            raise TypeError("an offset that is no number")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{flag}: '{file}' is no .safetensors file; fetch it again") from error
    if 8 + length + ends > whole:
        raise UserError(f"{flag}: '{file}' is cut: {whole} bytes are there; fetch it again")
    return Names(file, shapes, {str(key): str(value) for key, value in about.items()})


def _texts_of_pickle(file: Path, flag: str) -> Iterator[str]:
    """The names in a file that torch.save wrote, as far as a dot tells them from other texts."""
    yield from {
        each for each in told_by_pickle(file, flag) if isinstance(each, str) and "." in each
    }


def told_by_pickle(file: Path, flag: str) -> list[str | int]:
    """The texts and whole numbers in a file that torch.save wrote, in their order.

    It is read without running what a pickle may run. `flag` is what errors say that it was given
    by.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            inside = next(each for each in archive.infolist() if _is_pickle(each))
            pickle = archive.read(inside)
        return [
            argument
            for operation, argument, _ in pickletools.genops(pickle)
            if isinstance(argument, str | int) and "PUT" not in operation.name
        ]
    except _BROKEN as error:
        raise UserError(
            f"{flag}: '{file}' is no file that torch.save has written since 2020, or cut; give a "
            ".safetensors file"
        ) from error


_BROKEN = (
    *(zipfile.BadZipFile, StopIteration, ValueError, KeyError, EOFError, NotImplementedError),
    *(RuntimeError, zlib.error, OSError, struct.error, OverflowError),
)


def _is_pickle(member: zipfile.ZipInfo) -> bool:
    """Whether a file in an archive has the names; one that is none for its size ends the search."""
    if not member.filename.endswith("data.pkl"):
        return False
    if member.file_size > LONGEST_PICKLE or member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("torch.save compresses nothing, and names take less")
    return True


def _refuse_parts(names: Names) -> None:
    """Refuse files that belong to a model and are none, by what is in them."""
    lora = (".lora_down.weight", ".lora_up.weight", ".lora_A.weight", ".lora.down.weight")
    if names.ending(*lora) or names.under("lora_"):
        raise UserError(f"--model: '{names.file}' is a LoRA; give the model that it was trained on")
    if {"emb_params", "string_to_param", "clip_l", "clip_g"} & names.shapes.keys():
        raise UserError(f"--model: '{names.file}' is an embedding; give the model that it is for")
    if names.under("encoder.conv_in.") and not names.under(DENOISER):
        raise UserError(f"--model: '{names.file}' is an autoencoder alone; --vae takes it")
    own = ("down_blocks.", "transformer_blocks.", "text_model.", "encoder.block.")
    if names.under(*own):
        raise UserError(
            f"--model: '{names.file}' is one part of a diffusers pipeline; give the pipeline's "
            "directory"
        )


def _refuse_quantised(names: Names) -> None:
    if names.ending(*QUANTISED):
        raise UserError(
            f"--model: '{names.file}' has quantised weights; give the file in fp16, bf16 or fp32"
        )


def _refuse_relatives(names: Names) -> None:
    """Refuse models that take more than text and noise, and relatives of those that are known."""
    relatives = {
        "conditioner.embedders.0.model.": "the refiner of SDXL",
        f"{DENOISER}distilled_guidance_layer.": "Chroma",
        "distilled_guidance_layer.": "Chroma",
        f"{DENOISER}double_stream_modulation": "FLUX.2",
        "double_stream_modulation": "FLUX.2",
        "edm_mean": "Playground 2.5",
        "control_model.": "a ControlNet",
    }
    for prefix, told in relatives.items():
        if names.under(prefix):
            raise UserError(
                f"--model: '{names.file}' is {told}, which is not known; give a model of Stable "
                "Diffusion 1.x or 2.x, SDXL, SD3 or 3.5, FLUX.1 or Sana"
            )
    for first, channels in (("input_blocks.0.0.weight", (4,)), ("img_in.weight", (16, 64))):
        found = names.of_denoiser(first, 1)
        if found is not None and found not in channels:
            raise UserError(
                f"--model: '{names.file}' takes {found} channels, as for inpainting or editing; "
                "give a model that draws from text alone"
            )


def _told(names: Names) -> Iterator[Kind]:
    """The kinds that the names tell of, the surest first."""

    def has(*inside: str) -> bool:
        return names.under(*inside, *(DENOISER + each for each in inside))

    words = names.of_denoiser("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", 1)
    if has("input_blocks."):
        predicts, zero = _predicts(names)
        if names.under("conditioner.embedders.1.model.") or has("label_emb."):
            yield Kind("sdxl", "StableDiffusionXLPipeline", predicts, zero)
        if names.under("cond_stage_model.model.") or words == 1024:
            yield Kind("sd-2", "StableDiffusionPipeline", predicts, zero)
        yield Kind("sd-1", "StableDiffusionPipeline", predicts, zero)
    if has("joint_blocks."):
        kind = "sd-3.5-large" if has("joint_blocks.30.") else "sd-3-medium"
        twice = has("joint_blocks.0.x_block.attn2.")
        yield Kind("sd-3.5-medium" if twice else kind, "StableDiffusion3Pipeline")
    if has("double_blocks.") and has("single_blocks."):
        yield Kind("flux-dev" if has("guidance_in.") else "flux-schnell", "FluxPipeline")
    if has("blocks.0.mlp.inverted_conv.") and has("blocks.0.cross_attn."):
        yield Kind("sana-600m" if has("blocks.27.") else "sana-1600m", "SanaPipeline")


def _predicts(names: Names) -> tuple[str | None, bool]:
    """What the denoiser predicts, as trainers write it beside the weights, and zero terminal SNR.

    `modelspec.prediction_type` is of sd-scripts; the tensors `v_pred` and `ztsnr` are a custom of
    those who share SDXL models.
    """
    told = names.about.get("modelspec.prediction_type", "")
    by_tensor = "v" if "v_pred" in names.shapes else ""
    words = {"v": "v_prediction", "v_prediction": "v_prediction", "epsilon": "epsilon"}
    return words.get(told or by_tensor), "ztsnr" in names.shapes


def order_metadata(file: Path) -> None:
    """Put what a file of safetensors says of itself in order, which its writer leaves to chance.

    The same weights are then the same bytes. The length of the header stays.
    """
    with file.open("r+b") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            opened.seek(8)
            opened.write(text.ljust(length))
