"""DreamBooth: the whole denoiser is trained to draw the thing at a rare word (Ruiz et al. 2022)."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from noiseprobe.models.base import DiffusionModel
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.concept import Concept
from noiseprobe.training.methods.base import Method

WEIGHTS_NAMES = {
    "unet": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


class DreamBooth(Method):
    """The UNet, and with `train_text_encoder` the text encoder, trained in float32.

    A checkpoint is a folder per trained part, which `from_pretrained` of the part's class loads and
    the stock pipeline takes as `unet=` and `text_encoder=`.
    """

    def __init__(self, model: DiffusionModel, concept: Concept, config: RunConfig) -> None:
        self.thing = f"{config.rare_word} {concept.class_noun}"
        self.captions = [config.instance_prompt or f"a photo of a {self.thing}"]
        self.parts: dict[str, Any] = {"unet": model.unet}
        if config.train_text_encoder:
            self.parts["text_encoder"] = model.text_encoder
        self.named = {
            f"{part}.{name}": parameter
            for part, module in self.parts.items()
            for name, parameter in module.float().requires_grad_(True).named_parameters()
        }

    def save(self, directory: Path) -> None:
        """Write the trained parts, each as its `save_pretrained` lays it out."""
        tensors = self.trained()
        for part, module in self.parts.items():
            folder = directory / part
            folder.mkdir(parents=True)
            # Weights are laid out channels-last, which safetensors does not take as they are.
            describe = module.save_config if part == "unet" else module.config.save_pretrained
            describe(folder)
            own = {
                name.removeprefix(f"{part}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{part}.")
            }
            save_file(own, folder / WEIGHTS_NAMES[part], metadata={"format": "pt"})

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The weights that `save` wrote."""
        return {
            f"{part}.{name}": tensor
            for part in self.parts
            for name, tensor in load_file(directory / part / WEIGHTS_NAMES[part]).items()
        }
