"""DreamBooth-LoRA: low-rank adapters beside frozen weights (Hu et al. 2021, arXiv 2106.09685)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.models.base import DiffusionModel
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.weight_files import order_metadata
from noiseprobe.training.concept import Concept
from noiseprobe.training.methods.base import Method
from noiseprobe.training.methods.word import Word, require_words
from noiseprobe.training.tracker import undisturbed

WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
HALVES = (torch.float16, torch.bfloat16)
TEXT_ENCODER_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


class DreamBoothLora(Method):
    """Adapters of rank `rank` on `lora_targets` of the denoiser; by default those of its family.

    With `train_text_encoder` the attention of its CLIPs has some as well. With `train_word`
    the placeholder's embedding is trained along with them, as in Voronov et al. 2023, by default
    where diffusers loads learned words into the family; without it the thing is called by a rare
    word, as in DreamBooth. The adapters start from `seed` alone.
    Raises `UserError` for a target that the denoiser lacks, an initializer where no word is
    learned, or a family into which diffusers loads no adapters.
    """

    @classmethod
    def require(cls, family: type[DiffusionModel], config: RunConfig) -> None:
        """Raise `UserError` for a family into which diffusers loads no adapters, or no words."""
        if not family.takes_adapters():
            raise UserError(
                f"--method: diffusers loads no adapters into {family.pipeline_name}; choose "
                "dreambooth"
            )
        if config.train_word:
            require_words(family)

    def __init__(self, model: DiffusionModel, concept: Concept, config: RunConfig) -> None:
        self.pipeline: Any = getattr(diffusers, model.pipeline_name)
        self.parts: dict[str, Any] = {model.denoiser_name: model.denoiser}
        targets = {model.denoiser_name: config.lora_targets or model.lora_targets}
        if config.train_text_encoder:
            for each in model.clips():
                self.parts[each.name] = each.module
                targets[each.name] = TEXT_ENCODER_TARGETS
        require_targets(model, targets[model.denoiser_name])
        # Parameters, and what the tensor of each is called in a checkpoint.
        self.named: dict[str, nn.Parameter] = {}
        self.keys: dict[str, str] = {}
        for part, module in self.parts.items():
            add_adapter(module, targets[part], config.rank, config.alpha, config.seed)
            self._name_parameters(part)
        self.word: Word | None = None
        if model.worded if config.train_word is None else config.train_word:
            self.word = Word(model, concept.placeholder, concept.class_noun, config.initializer)
            self.named |= self.word.named
        elif config.initializer is not None:
            raise UserError("--initializer: no word is learned that it could begin; leave it out")
        self.thing = self.word.text if self.word else f"{config.rare_word} {concept.class_noun}"
        usual = concept.captions(self.thing) if self.word else [f"a photo of a {self.thing}"]
        self.captions = [config.instance_prompt] if config.instance_prompt else usual

    def save(self, directory: Path) -> None:
        """Write `pytorch_lora_weights.safetensors`, for `load_lora_weights`.

        With a word of its own also `learned_embeds.safetensors`, for `load_textual_inversion`.
        """
        layers = {part: self._layers(part) for part in self.parts}
        about = {
            f"{part}_lora_adapter_metadata": in_order(module.peft_config["default"].to_dict())
            for part, module in self.parts.items()
        }
        named = {f"{part}_lora_layers": own for part, own in layers.items()}
        self.pipeline.save_lora_weights(directory, **named, **about)
        order_metadata(directory / WEIGHTS_NAME)
        if self.word:
            self.word.save(directory)

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The tensors that `save` wrote."""
        weights = load_file(directory / WEIGHTS_NAME)
        tensors = {name: weights[key] for name, key in self.keys.items()}
        return tensors | (self.word.read(directory) if self.word else {})

    def _layers(self, part: str) -> dict[str, Tensor]:
        """The adapters of one part, under the names that diffusers' scripts give them.

        Those of a UNet have names of their own; of a transformer, some would be passed over.
        """
        layers = get_peft_model_state_dict(self.parts[part], save_embedding_layers=False)
        named: dict[str, Tensor] = (
            convert_state_dict_to_diffusers(layers) if "unet" in self.parts else layers
        )
        return named

    def _name_parameters(self, part: str) -> None:
        """Take note of each trained parameter, and of what its tensor is called in a checkpoint."""
        keys = {tensor.data_ptr(): key for key, tensor in self._layers(part).items()}
        for name, parameter in self.parts[part].named_parameters():
            if parameter.requires_grad:
                self.named[f"{part}.{name}"] = parameter
                self.keys[f"{part}.{name}"] = f"{part}.{keys[parameter.data_ptr()]}"


def require_targets(model: DiffusionModel, targets: Sequence[str]) -> None:
    """Raise `UserError` unless each target ends the name of a layer that LoRA can adapt."""
    layers = [
        name
        for name, module in model.denoiser.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    usual = model.lora_targets
    ends = {name.split(".")[-1] for name in layers} | set(usual)
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in layers):
            mend = did_you_mean(target, sorted(ends), f"usual are {','.join(usual)}")
            raise UserError(
                f"--lora-targets: the {model.denoiser_name} has no layer '{target}'; {mend}"
            )


def add_adapter(module: Any, targets: Sequence[str], rank: int, alpha: float, seed: int) -> None:
    """Put float32 adapters beside the targets; they start as no change, from `seed` alone."""
    with undisturbed(), _as_in_float32(module):
        torch.manual_seed(seed)
        module.add_adapter(
            LoraConfig(
                r=rank,
                lora_alpha=alpha,
                target_modules=list(targets),
                init_lora_weights="gaussian",
            )
        )
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


@contextmanager
def _as_in_float32(module: Any) -> Iterator[None]:
    """Let layers in fewer bits look as if in float32, so that adapters start without rounding."""
    stood_in: dict[nn.Module, nn.Parameter] = {}
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.dtype in HALVES:
            stood_in[layer] = cast(nn.Parameter, layer.weight)
            zero = torch.zeros((), device=layer.weight.device)  # of no size, whatever the shape
            layer.weight = nn.Parameter(zero.expand(layer.weight.shape), requires_grad=False)
    try:
        yield
    finally:
        for layer, weight in stood_in.items():
            layer.weight = weight


def in_order(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with sets as lists, whose order is the same in every process."""
    return {
        key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()
    }
