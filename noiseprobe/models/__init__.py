"""The diffusion models: one interface, one file per family."""

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.run.defaults import BUNDLED_MODEL

if TYPE_CHECKING:
    import torch

    from noiseprobe.models.base import DiffusionModel


def load_model(
    source: str = BUNDLED_MODEL, device: str = "auto", precision: str = "fp32"
) -> "DiffusionModel":
    """The model in the directory or under the hub id `source` (`tiny-sd`: the bundled one).

    `device` is `auto` (CUDA, then MPS, then CPU) or a torch device; `precision` is that of the
    denoiser: fp32, bf16 or fp16. Raises `UserError` for a model that cannot be loaded, a device
    that is not there, or a family that is not supported.
    """
    from noiseprobe.models.base import PRECISIONS
    from noiseprobe.models.stable_diffusion import StableDiffusion

    if precision not in PRECISIONS:
        raise UserError(f"--precision: '{precision}' is none of {', '.join(PRECISIONS)}")
    where = model_location(source)
    family = _family(where)
    if family != "StableDiffusionPipeline":
        raise UserError(
            f"--model: '{where}' is a {family}; supported is StableDiffusionPipeline (1.x and 2.x)"
        )
    model = StableDiffusion.load(where, pick_device(device))
    model.settle(precision)
    return model


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


def _family(source: str) -> str:
    from noiseprobe.models.base import local_directory

    directory = local_directory(source)
    if directory is None:
        return _hub_family(source)
    index = directory / "model_index.json"
    if not index.is_file():
        raise UserError(
            f"--model: '{directory}' has no model_index.json; "
            "give a directory saved by a diffusers pipeline"
        )
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--model: {index}: not a diffusers index; save the model again") from error


def _hub_family(source: str) -> str:
    from diffusers import DiffusionPipeline

    try:
        return str(DiffusionPipeline.load_config(source)["_class_name"])
    except (OSError, ValueError, KeyError) as error:
        mend = did_you_mean(source, [BUNDLED_MODEL], "check its spelling and the connection")
        raise UserError(
            f"--model: '{source}' is no directory here and cannot be had from the hub; {mend}"
        ) from error
