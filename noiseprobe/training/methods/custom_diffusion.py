"""Custom Diffusion: keys and values of cross-attention, and a new word (Kumari et al. 2023)."""

from pathlib import Path

import torch
from diffusers.models.attention_processor import (
    CustomDiffusionAttnProcessor,
    CustomDiffusionAttnProcessor2_0,
)
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import DiffusionModel
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.concept import Concept
from noiseprobe.training.methods.base import Method
from noiseprobe.training.methods.word import Word

WEIGHTS_NAME = "pytorch_custom_diffusion_weights.bin"


class CustomDiffusion(Method):
    """Copies of the keys' and values' projections of cross-attention, and the placeholder's vector.

    With `attention` = "crossattn" queries and outputs are trained as well. The first token's keys
    and values are detached, by diffusers' own attention processors, which are used as they are:
    that of `load_attn_procs` on a CPU, where it draws what the stock pipeline draws, and its
    equal on fused attention elsewhere.
    """

    @classmethod
    def require(cls, family: type[DiffusionModel], config: RunConfig) -> None:
        """Raise `UserError` for a family without a UNet."""
        if family.denoiser_name != "unet":
            raise UserError(
                f"--method: custom-diffusion trains the cross-attention of a UNet, and "
                f"{family.pipeline_name} has none; choose another"
            )

    def __init__(self, model: DiffusionModel, concept: Concept, config: RunConfig) -> None:
        self.unet = model.denoiser
        self.word = Word(model, concept.placeholder, concept.class_noun, config.initializer)
        self.thing = f"{self.word.text} {concept.class_noun}"
        self.captions = (
            [config.instance_prompt] if config.instance_prompt else concept.captions(self.thing)
        )
        queries = config.attention == "crossattn"
        fused = model.device.type != "cpu"
        processor = CustomDiffusionAttnProcessor2_0 if fused else CustomDiffusionAttnProcessor
        weights = self.unet.state_dict()
        processors, self.named = {}, {}
        for name in self.unet.attn_processors:
            cross = not name.endswith("attn1.processor")
            layer = name.removesuffix(".processor")
            width, words = weights[f"{layer}.to_k.weight"].shape
            with model.device:
                own = processor(
                    train_kv=cross,
                    train_q_out=cross and queries,
                    hidden_size=width,
                    cross_attention_dim=words if cross else None,
                )
            copied = {
                f"{key}_custom_diffusion{end}": weights[f"{layer}.{key}{end}"]
                for key, end in own_weights(cross, queries)
            }
            own.load_state_dict(copied)
            processors[name] = own.to(model.device, torch.float32).requires_grad_(True)
            self.named |= {f"{name}.{key}": value for key, value in own.named_parameters()}
        self.unet.set_attn_processor(processors)
        self.named |= self.word.named

    def save(self, directory: Path) -> None:
        """Write `pytorch_custom_diffusion_weights.bin` and `learned_embeds.safetensors`.

        `load_attn_procs` (which needs `_pipeline=` to do anything in diffusers 0.42) reads the one,
        `load_textual_inversion` the other. The former is a pickle because only so diffusers keeps
        which attention is left as it is.
        """
        self.word.save(directory)
        self.unet.save_attn_procs(directory, weight_name=WEIGHTS_NAME, safe_serialization=False)

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The tensors that `save` wrote."""
        weights = torch.load(directory / WEIGHTS_NAME, map_location="cpu", weights_only=True)
        tensors = {name: weights[name] for name in self.named.keys() - self.word.named.keys()}
        return tensors | self.word.read(directory)


def own_weights(cross: bool, queries: bool) -> list[tuple[str, str]]:
    """Which projections of an attention layer are trained: name, and what follows it."""
    if not cross:
        return []
    kv = [("to_k", ".weight"), ("to_v", ".weight")]
    return kv + ([("to_q", ".weight"), ("to_out", ".0.weight"), ("to_out", ".0.bias")] * queries)
