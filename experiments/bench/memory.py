"""The memory of published models, estimated from their configurations: docs/memory.md.

Run with python -m experiments.bench.memory. No weights are needed, and none are loaded.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from experiments.tiny_sd.tokenizer import build_tokenizer
from noiseprobe.models import family
from noiseprobe.run.resolving import resolve
from noiseprobe.training.estimate import GIB, Estimate, estimate

TOKENS = 77
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SHIFTS = {"shift": 3.0, "use_dynamic_shifting": True}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
CLIP_L: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
}
CLIP_G: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "vocab_size": 49408,
}
T5_XXL: dict[str, Any] = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "vocab_size": 32128,
}


def clip_tokenizer() -> Any:
    """A CLIP's, of few words and the usual length: memory asks for no others."""
    tokenizer = build_tokenizer(["a", "photo", "of", "dog", "sks"])
    tokenizer.model_max_length = TOKENS
    return tokenizer


def t5_tokenizer() -> Any:
    """A T5's, of letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0)]
    pieces += [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz<>"]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def stable_diffusion() -> dict[str, Any]:
    """Stable Diffusion 1.5, at 512 pixels."""
    return {
        "tokenizer": clip_tokenizer(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP_L)),
        "vae": AutoencoderKL(**VAE, latent_channels=4),
        "unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        "scheduler": DDPMScheduler(**BETAS),
    }


def stable_diffusion_xl() -> dict[str, Any]:
    """SDXL 1.0, at 1024 pixels."""
    second = CLIPTextConfig(**CLIP_G, hidden_act="gelu")
    return {
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP_L)),
        "text_encoder_2": CLIPTextModelWithProjection(second),
        "vae": AutoencoderKL(**VAE, latent_channels=4),
        "unet": UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        "scheduler": DDPMScheduler(**BETAS),
    }


def flux() -> dict[str, Any]:
    """FLUX.1-dev, at 1024 pixels."""
    return {
        "tokenizer": clip_tokenizer(),
        "tokenizer_2": t5_tokenizer(),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP_L)),
        "text_encoder_2": T5EncoderModel(T5Config(**T5_XXL)),
        "vae": AutoencoderKL(
            **VAE, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False
        ),
        "transformer": FluxTransformer2DModel(guidance_embeds=True),
        "scheduler": FlowMatchEulerDiscreteScheduler.from_config(
            {"_class_name": "FlowMatchEulerDiscreteScheduler"} | SHIFTS
        ),
    }


MODELS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "SD 1.5": ("StableDiffusionPipeline", stable_diffusion),
    "SDXL": ("StableDiffusionXLPipeline", stable_diffusion_xl),
    "FLUX.1-dev": ("FluxPipeline", flux),
}
"""The pipeline class of each, and how its parts are made."""

LORA = {"method": "dreambooth-lora"}
NO_WORD = LORA | {"train_word": False}
LESS = {"gradient_checkpointing": True}
GOALS: tuple[tuple[str, dict[str, Any], int | None], ...] = (
    ("SD 1.5", {"method": "textual-inversion"}, 8),
    ("SD 1.5", LORA, 8),
    ("SD 1.5", {"method": "custom-diffusion", "prior": True}, None),
    ("SD 1.5", {"method": "dreambooth"}, 24),
    ("SD 1.5", {"method": "dreambooth", "optimizer": "adamw8bit"} | LESS, 16),
    ("SDXL", NO_WORD, 16),
    ("SDXL", NO_WORD | LESS, 16),
    ("SDXL", LORA | LESS, 16),
    ("SDXL", {"method": "textual-inversion"} | LESS, None),
    ("FLUX.1-dev", NO_WORD | {"quantize": "int8"} | LESS, 24),
    ("FLUX.1-dev", NO_WORD | {"quantize": "nf4"} | LESS, 24),
)
"""Model, settings, and the size of the card in GB that it should fit, if one was asked."""


def estimated(model: str, settings: dict[str, Any], batch: int) -> Estimate:
    """The memory that training a published model takes on a GPU with bf16."""
    pipeline, make = MODELS[model]
    config = resolve({"model": model, "precision": "bf16", "train_batch_size": batch} | settings)
    with torch.device("meta"):
        parts = make()
    return estimate(config, family(pipeline), parts)


def row(model: str, settings: dict[str, Any], goal: int | None, batch: int) -> str:
    """A line of the table."""
    found = estimated(model, settings, batch)
    flags = " ".join(shown_flag(key, value) for key, value in settings.items() if key != "method")
    sizes = (*found.parts.values(), found.step, found.captions, found.photographs)
    numbers = " | ".join(f"{size / GIB:.1f}" for size in sizes)
    fits = "" if goal is None else f"{'fits' if found.fits(goal * GIB) else 'too much for'} {goal}"
    what = f"{model} | {settings['method']} {flags}".strip()
    return f"| {what} | {batch} | {found.trained / 1e6:,.3g} | {numbers} | {fits} |"


def shown_flag(key: str, value: Any) -> str:
    """A setting as a flag."""
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"`--{name}`" if value else f"`--no-{name}`"
    return f"`--{name} {value}`"


HEAD = (
    "| model | method | batch | trained, M | weights | gradients | optimizer | activations "
    "| a step | captions | photographs | card |\n" + "|---" * 12 + "|"
)


def main() -> None:
    """Print the table."""
    print(HEAD)
    for model, settings, goal in GOALS:
        for batch in (1, 2):
            print(row(model, settings, goal, batch), flush=True)


if __name__ == "__main__":
    main()
