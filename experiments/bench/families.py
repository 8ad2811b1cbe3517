"""Models of published shapes with random weights, and of small ones: what speed and memory ask for.

A part is made where it is needed, on a device or as shapes alone (`meta`), so that no file of
weights is needed, and no memory for what a measurement does not touch.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import Tensor
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
from noiseprobe.models.base import PRECISIONS, Conditioning, DiffusionModel, type_of
from noiseprobe.models.compiling import LONG as LONG_RUN
from noiseprobe.models.loading import freeze
from noiseprobe.run.defaults import DEFAULT_CONCEPT
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.cache import Cache
from noiseprobe.training.concept import TEMPLATES
from noiseprobe.training.methods import masters
from noiseprobe.training.preparing import Personalization, attached, compiled, concept_of

Parts = dict[str, Callable[[], Any]]
"""The parts of a pipeline by name, each made when it is called."""

TOKENS = 77
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
NOISE = BETAS | {"clip_sample": False, "steps_offset": 1}
SHIFTS = {"shift": 3.0, "use_dynamic_shifting": True}
LONG = {"SD3": 2 * TOKENS, "FLUX.1-dev": 512}
"""Tokens of what a transformer is told: of SD3 those of the CLIPs and of as long a T5."""

VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
SMALL_VAE: dict[str, Any] = VAE | {"block_out_channels": (8,) * 4, "norm_num_groups": 4}
NO_QUANT: dict[str, Any] = {"use_quant_conv": False, "use_post_quant_conv": False}
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
SMALL_CLIP: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projection_dim": 64,
    "vocab_size": 2000,
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
SMALL_T5: dict[str, Any] = T5_XXL | {"d_model": 128, "d_ff": 256, "num_layers": 2, "num_heads": 2}
WORDS = sorted(
    {*" ".join(TEMPLATES).replace("{}", "").replace("-", " - ").split()}
    | {"a", "photo", "of", "cup", "dog", "thing", "sks"}
)


def clip_tokenizer() -> Any:
    """A CLIP's, of few words and the usual length: neither speed nor memory asks for others."""
    tokenizer = build_tokenizer(WORDS)
    tokenizer.model_max_length = TOKENS
    return tokenizer


def t5_tokenizer() -> Any:
    """A T5's, of letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0)]
    pieces += [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz<>"]
    return T5Tokenizer(vocab=pieces, extra_ids=0)


def clip(shape: Mapping[str, Any], kind: Any = CLIPTextModel, **more: Any) -> Callable[[], Any]:
    """A CLIP's text encoder."""
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return lambda: kind(CLIPTextConfig(**shape, **ends, **more))


def stable_diffusion(small: bool = False) -> Parts:
    """Stable Diffusion 1.5, at 512 pixels; or a small one, at 128."""
    shape = {"block_out_channels": (32,) * 4, "layers_per_block": 1} if small else {}
    width = 64 if small else 768
    side = 16 if small else 64
    return {
        "tokenizer": clip_tokenizer,
        "text_encoder": clip(SMALL_CLIP if small else CLIP_L),
        "vae": lambda: AutoencoderKL(**(SMALL_VAE if small else VAE), latent_channels=4),
        "unet": lambda: UNet2DConditionModel(sample_size=side, cross_attention_dim=width, **shape),
        "scheduler": lambda: DDPMScheduler(**NOISE),
    }


def stable_diffusion_xl(small: bool = False) -> Parts:
    """SDXL 1.0, at 1024 pixels; or a small one, at 128."""
    shape: dict[str, Any] = {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "projection_class_embeddings_input_dim": 1280 + 6 * 256,
    }
    if small:
        shape |= {
            "sample_size": 16,
            "block_out_channels": (32, 64, 128),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (1, 2, 4),
            "cross_attention_dim": 128,
            "projection_class_embeddings_input_dim": 64 + 6 * 256,
        }
    return {
        "tokenizer": clip_tokenizer,
        "tokenizer_2": clip_tokenizer,
        "text_encoder": clip(SMALL_CLIP if small else CLIP_L),
        "text_encoder_2": clip(
            SMALL_CLIP if small else CLIP_G, CLIPTextModelWithProjection, hidden_act="gelu"
        ),
        "vae": lambda: AutoencoderKL(**(SMALL_VAE if small else VAE), latent_channels=4),
        "unet": lambda: UNet2DConditionModel(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            **shape,
        ),
        "scheduler": lambda: DDPMScheduler(**NOISE),
    }


def stable_diffusion_3(small: bool = False) -> Parts:
    """SD3 medium, at 1024 pixels; or a small one, at 128."""
    shape: dict[str, Any] = {
        "sample_size": 128,
        "num_layers": 24,
        "num_attention_heads": 24,
        "caption_projection_dim": 1536,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 192,
    }
    if small:
        shape |= {
            "sample_size": 16,
            "num_layers": 4,
            "num_attention_heads": 2,
            "caption_projection_dim": 128,
            "joint_attention_dim": 128,
            "pooled_projection_dim": 128,
            "pos_embed_max_size": 24,
        }
    first, second, third = (SMALL_CLIP, SMALL_CLIP, SMALL_T5) if small else (CLIP_L, CLIP_G, T5_XXL)
    return {
        "tokenizer": clip_tokenizer,
        "tokenizer_2": clip_tokenizer,
        "tokenizer_3": t5_tokenizer,
        "text_encoder": clip(first, CLIPTextModelWithProjection),
        "text_encoder_2": clip(second, CLIPTextModelWithProjection, hidden_act="gelu"),
        "text_encoder_3": lambda: T5EncoderModel(T5Config(**third)),
        "vae": lambda: AutoencoderKL(
            **(SMALL_VAE if small else VAE),
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            **NO_QUANT,
        ),
        "transformer": lambda: SD3Transformer2DModel(
            patch_size=2, in_channels=16, out_channels=16, attention_head_dim=64, **shape
        ),
        "scheduler": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


def flux(small: bool = False, blocks: tuple[int, int] = (19, 38)) -> Parts:
    """FLUX.1-dev, at 1024 pixels, of so many double and single blocks; or a small one."""
    shape: dict[str, Any] = {"num_layers": blocks[0], "num_single_layers": blocks[1]}
    if small:
        shape |= {
            "num_layers": 2,
            "num_single_layers": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 32,
            "axes_dims_rope": (8, 12, 12),
            "joint_attention_dim": 128,
            "pooled_projection_dim": 64,
        }
    return {
        "tokenizer": clip_tokenizer,
        "tokenizer_2": t5_tokenizer,
        "text_encoder": clip(SMALL_CLIP if small else CLIP_L),
        "text_encoder_2": lambda: T5EncoderModel(T5Config(**(SMALL_T5 if small else T5_XXL))),
        "vae": lambda: AutoencoderKL(
            **(SMALL_VAE if small else VAE), latent_channels=16, **NO_QUANT
        ),
        "transformer": lambda: FluxTransformer2DModel(guidance_embeds=True, **shape),
        "scheduler": lambda: FlowMatchEulerDiscreteScheduler.from_config(
            {"_class_name": "FlowMatchEulerDiscreteScheduler"} | SHIFTS
        ),
    }


@dataclass(frozen=True)
class Family:
    """How a model of a family is made: its pipeline's class, and its parts."""

    pipeline: str
    make: Callable[..., Parts]


FAMILIES = {
    "SD 1.5": Family("StableDiffusionPipeline", stable_diffusion),
    "SDXL": Family("StableDiffusionXLPipeline", stable_diffusion_xl),
    "SD3": Family("StableDiffusion3Pipeline", stable_diffusion_3),
    "FLUX.1-dev": Family("FluxPipeline", flux),
}
FEWER_BLOCKS = (4, 8)
"""Of FLUX where it is measured: of its 19 and 38 blocks, so that training fits beside others."""

SMALL_SIDE = 128
"""Pixels of what the small ones see; a FLUX says no size of its own."""


def shapes_of(name: str, small: bool = False, fewer: bool = False) -> Parts:
    """The parts of a family's model; with `fewer`, a FLUX of less blocks."""
    more = {"blocks": FEWER_BLOCKS} if fewer and name == "FLUX.1-dev" else {}
    return FAMILIES[name].make(small, **more)


def settings_of(
    name: str, folder: Path, given: Mapping[str, Any], small: bool = False
) -> RunConfig:
    """The settings of a training of a family, whose defaults come from an index in `folder`."""
    place = folder / name.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    index = {"_class_name": FAMILIES[name].pipeline}
    (place / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    side = {"resolution": SMALL_SIDE} if small and name == "FLUX.1-dev" else {}
    return resolve({"model": str(place), "concept": DEFAULT_CONCEPT} | side | dict(given))


def parts_on(
    parts: Parts,
    device: torch.device,
    live: Collection[str] | None = None,
    dtypes: Mapping[str, torch.dtype] | None = None,
) -> dict[str, Any]:
    """The parts with random weights on a device; those that are not `live` are shapes alone.

    `dtypes` are those of parts that are not in float32.
    """
    made: dict[str, Any] = {}
    torch.manual_seed(0)
    for name, make in parts.items():
        where = device if live is None or name in live else torch.device("meta")
        with torch.device("cpu") if name.startswith(("tokenizer", "scheduler")) else where:
            made[name] = make()
        dtype = (dtypes or {}).get(name)
        if dtype is not None:  # weight by weight, so that no two copies of all are there at once
            for label, weight in made[name].named_parameters():
                weight.data = weight.data.to(type_of(made[name], label, dtype))
    return made


def model_of(
    name: str,
    config: RunConfig,
    parts: Parts,
    device: torch.device,
    live: Collection[str] | None = None,
) -> DiffusionModel:
    """The family's model as `load_model` would leave it for a training, but on one device."""
    kind = family(FAMILIES[name].pipeline)
    own = {"denoiser": [kind.denoiser_name], "encoders": list(kind.encoder_names)}
    full = masters(config)
    halved = [
        part for of, names in own.items() if of not in full for part in names if part in parts
    ]
    dtypes = dict.fromkeys(halved, PRECISIONS[config.precision])
    made = parts_on(parts, device, live, dtypes)
    away = {part for part in made if live is not None and part not in live}
    freeze(made, device, away)
    if config.precision != "fp32" and device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return kind(config.model, made, resolution=config.resolution)


def ready_of(name: str, config: RunConfig, parts: Parts, device: torch.device) -> Personalization:
    """What `prepare` makes, of random weights: a method on the model, and photographs."""
    concept = concept_of(config)
    model = model_of(name, config, parts, device)
    method = attached(model, concept, config)
    return Personalization(config, concept, model, method, cache=Cache())


def compile_as_by_default(model: DiffusionModel, config: RunConfig) -> None:
    """Compile what a run of these settings has compiled where it is long, as most are."""
    compiled(model, config.model_copy(update={"steps": max(config.steps, LONG_RUN)}))


def conditioning_of(name: str, model: DiffusionModel, count: int) -> Conditioning:
    """What the denoiser is told of `count` captions: random numbers of the right shape."""
    config = model.denoiser.config
    if name in LONG:
        words, pooled = config.joint_attention_dim, config.pooled_projection_dim
    else:
        words = config.cross_attention_dim
        beside = getattr(config, "projection_class_embeddings_input_dim", None)
        pooled = beside - 6 * config.addition_time_embed_dim if beside else None
    tokens = LONG.get(name, model.encoders[0].tokenizer.model_max_length)
    told = {"words": _random(model, count, tokens, words)}
    return told if pooled is None else told | {"pooled": _random(model, count, pooled)}


def inputs_of(name: str, model: DiffusionModel, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents and noise (B, C, h, w), float32, and times (B,) of the path, all on the device."""
    uniform = torch.linspace(0, 0.999, count, dtype=torch.float64).numpy()
    times = torch.from_numpy(model.path.times(uniform))
    if times.is_floating_point():
        times = times.float()
    shape = (count, *model.latent_shape)
    return _random(model, *shape), _random(model, *shape), times.to(model.device)


def _random(model: DiffusionModel, *shape: int) -> Tensor:
    return torch.randn(shape, device=model.device)
