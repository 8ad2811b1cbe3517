"""DreamBooth: the whole denoiser is trained to draw the thing at a rare word (Ruiz et al. 2022)."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from noiseprobe.models.base import DiffusionModel
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.concept import Concept
from noiseprobe.training.methods.base import Method

OF_DIFFUSERS, OF_TRANSFORMERS = "diffusion_pytorch_model.safetensors", "model.safetensors"


class DreamBooth(Method):
    """The denoiser, and with `train_text_encoder` the text encoders, trained in float32.

    A checkpoint is a folder per trained part, which `from_pretrained` of the part's class loads and
    the stock pipeline takes under the folder's name, as `unet=` and `text_encoder=`.
    """

    def __init__(self, model: DiffusionModel, concept: Concept, config: RunConfig) -> None:
        self.thing = f"{config.rare_word} {concept.class_noun}"
        self.captions = [config.instance_prompt or f"a photo of a {self.thing}"]
        self.denoiser_name = model.denoiser_name
        self.parts: dict[str, Any] = {model.denoiser_name: model.denoiser}
        if config.train_text_encoder:
            self.parts |= {each.name: each.module for each in model.clips()}
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
            ours = part == self.denoiser_name
            describe = module.save_config if ours else module.config.save_pretrained
            describe(folder)
            own = {
                name.removeprefix(f"{part}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{part}.")
            }
            save_file(own, folder / self._file_name(part), metadata={"format": "pt"})

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The weights that `save` wrote."""
        return {
            f"{part}.{name}": tensor
            for part in self.parts
            for name, tensor in load_file(directory / part / self._file_name(part)).items()
        }

    def _file_name(self, part: str) -> str:
        return OF_DIFFUSERS if part == self.denoiser_name else OF_TRANSFORMERS
