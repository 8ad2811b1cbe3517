"""The diffusion models: one interface, one file per family."""

import json
from collections.abc import Collection
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.run.defaults import BUNDLED_MODEL

if TYPE_CHECKING:
    import torch

    from noiseprobe.models.base import DiffusionModel


FAMILIES = {
    "StableDiffusionPipeline": "stable_diffusion.StableDiffusion",
    "StableDiffusionXLPipeline": "stable_diffusion_xl.StableDiffusionXL",
    "StableDiffusion3Pipeline": "stable_diffusion_3.StableDiffusion3",
    "FluxPipeline": "flux.Flux",
    "SanaPipeline": "sana.Sana",
}
"""Where each family is, by the pipeline class that it serves."""


def load_model(
    source: str = BUNDLED_MODEL,
    device: str = "auto",
    precision: str = "fp32",
    *,
    masters: Collection[str] = (),
    quantize: str | None = None,
    aside: bool = False,
    **options: Any,
) -> "DiffusionModel":
    """The model in the directory or under the hub id `source` (`tiny-sd`: the bundled one).

    All weights are frozen and in evaluation mode. The VAE is in float32, for what it encodes is
    what is learned, and float16 is not enough for that of SDXL.

    Args:
        source: what is loaded.
        device: `auto` (CUDA, then MPS, then CPU) or a torch device.
        precision: of the denoiser and the text encoders: auto, fp32, bf16 or fp16.
        masters: `denoiser`, `encoders`: those that are in float32 until `settle` is called, for
            what is trained starts from them.
        quantize: `nf4` or `int8`: how the denoiser's weights are kept
            (`noiseprobe.models.quantising`).
        aside: leave text encoders and VAE on the CPU, for whoever brings them in when needed.
        options: of `noiseprobe.models.base.DiffusionModel`.

    Raises:
        UserError: a model that cannot be loaded, a device that is not there, or a family that is
            not known.
    """
    where = model_location(source)
    index = index_of(where)
    if index["_class_name"] not in FAMILIES:
        raise UserError(
            f"--model: '{where}' is a {index['_class_name']}, which is not known; known are "
            f"{', '.join(FAMILIES)}"
        )

    import torch

    from noiseprobe.models.base import PRECISIONS
    from noiseprobe.models.loading import freeze, load_parts
    from noiseprobe.models.quantising import quantise, require_library

    chosen = pick_device(device)
    precision = pick_precision(precision, chosen)
    if precision not in PRECISIONS:
        raise UserError(f"--precision: '{precision}' is none of auto, {', '.join(PRECISIONS)}")
    made = family(index["_class_name"])
    if quantize:
        require_library(quantize)
    own = {"denoiser": [made.denoiser_name], "encoders": list(made.encoder_names)}
    halved = [part for kind, parts in own.items() if kind not in masters for part in parts]
    loaded = load_parts(
        where, index, made.part_names(), dict.fromkeys(halved, PRECISIONS[precision])
    )
    if quantize:  # before it goes to a device that may hold it only so
        quantise(loaded[made.denoiser_name], quantize, PRECISIONS[precision], chosen)
    freeze(loaded, chosen, loaded.keys() - {made.denoiser_name} if aside else ())
    model = made(where, loaded, **options)
    if not masters:
        model.settle(precision)
    if precision != "fp32" and chosen.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, for what stays in float32
    return model


def pick_precision(precision: str, device: "torch.device") -> str:
    """The precision named `precision`; `auto` takes bf16 on a GPU that has it, else fp32."""
    import torch

    if precision != "auto":
        return precision
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_it else "fp32"


def family(pipeline: str) -> "type[DiffusionModel]":
    """The family of a known pipeline class."""
    module, kind = FAMILIES[pipeline].split(".")
    made: type[DiffusionModel] = getattr(import_module(f"noiseprobe.models.{module}"), kind)
    return made


def index_of(where: str) -> dict[str, Any]:
    """The `model_index.json` of a directory or hub id; raises `UserError`."""
    directory = Path(where).expanduser()
    if directory.is_dir():
        return read_index(directory)
    from diffusers import DiffusionPipeline

    try:
        return dict(DiffusionPipeline.load_config(where))
    except (OSError, ValueError, KeyError) as error:
        mend = did_you_mean(where, [BUNDLED_MODEL], "check its spelling and the connection")
        raise UserError(
            f"--model: '{where}' is no directory here and cannot be had from the hub; {mend}"
        ) from error


def read_index(directory: Path) -> dict[str, Any]:
    """The `model_index.json` of a directory; raises `UserError`."""
    index = directory / "model_index.json"
    if not index.is_file():
        raise UserError(
            f"--model: '{directory}' has no model_index.json; "
            "give a directory saved by a diffusers pipeline"
        )
    try:
        content = dict(json.loads(index.read_text(encoding="utf-8")))
        _ = content["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--model: {index}: not a diffusers index; save the model again") from error
    return content


def model_location(source: str, bundled: str = BUNDLED_MODEL) -> str:
    """The directory of the model `bundled` if `source` is its name, else `source` itself."""
    if source == bundled and not Path(source).is_dir():
        return str(files("noiseprobe.models") / "assets" / bundled)
    return source


def pick_device(device: str) -> "torch.device":
    """The torch device named `device`; `auto` takes CUDA, then MPS, then the CPU."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    # In this order: no such device, a torch built without its support, support without kernels.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"--device: '{device}' is not there ({str(error).splitlines()[0]}); try --device auto"
        ) from error
    return chosen
