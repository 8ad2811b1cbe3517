"""The personalization methods: what of the model is trained. One file per method."""

from importlib import import_module
from typing import TYPE_CHECKING

from noiseprobe.models import pick_precision

if TYPE_CHECKING:
    from noiseprobe.models.base import DiffusionModel
    from noiseprobe.run.settings import RunConfig
    from noiseprobe.training.concept import Concept
    from noiseprobe.training.methods.base import Method

HOME = {
    "textual-inversion": "textual_inversion.TextualInversion",
    "dreambooth": "dreambooth.DreamBooth",
    "dreambooth-lora": "dreambooth_lora.DreamBoothLora",
    "custom-diffusion": "custom_diffusion.CustomDiffusion",
}
"""Where each method is, by its name on the command line."""


def method_of(config: "RunConfig") -> "type[Method]":
    """The method that `config` names."""
    module, kind = HOME[config.method].split(".")
    found: type[Method] = getattr(import_module(f"noiseprobe.training.methods.{module}"), kind)
    return found


def attach(model: "DiffusionModel", concept: "Concept", config: "RunConfig") -> "Method":
    """The method that `config` names, attached to the live model; the rest is cast as it says.

    A model in float32 lets what is trained start from the very weights of its file.

    Raises `UserError` where the method's settings do not fit the model.
    """
    kind = method_of(config)
    kind.require(type(model), config)
    method = kind(model, concept, config)  # type: ignore[call-arg]
    model.settle(pick_precision(config.precision, model.device))
    return method


def masters(config: "RunConfig") -> tuple[str, ...]:
    """Of `denoiser` and `encoders`, those whose weights what is trained starts from."""
    whole = config.method in ("dreambooth", "custom-diffusion")
    word = config.method in ("textual-inversion", "custom-diffusion") or (
        config.method == "dreambooth-lora" and config.train_word is not False
    )
    return ("denoiser",) * whole + ("encoders",) * (word or config.train_text_encoder)
