"""The parts of the model: a small Stable Diffusion of stock diffusers and transformers classes.

The VAE shrinks 64x64 pixels to 16x16x4 latents. Full resolution is where a CPU spends its time, so
the layers there are the thinnest; attention works at the coarsest level, 4x4, alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

RESOLUTION = 64
TOKENS = 32


@dataclass(frozen=True)
class Widths:
    """Channels of each part, finest level first; `text` is also the cross-attention width."""

    vae: tuple[int, ...] = (16, 32, 64)
    unet: tuple[int, ...] = (32, 48, 96)
    text: int = 128
    text_layers: int = 2
    latents: int = 4
    groups: int = 16


FULL = Widths()
MICRO = Widths(vae=(8, 8, 8), unet=(16, 16, 16), text=16, text_layers=1, groups=8)


def build_vae(widths: Widths = FULL) -> AutoencoderKL:
    """The untrained autoencoder; its scaling factor is measured after training."""
    levels = len(widths.vae)
    return AutoencoderKL(
        block_out_channels=widths.vae,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=widths.latents,
        norm_num_groups=8,
        sample_size=RESOLUTION,
        mid_block_add_attention=False,
    )


def build_unet(widths: Widths = FULL) -> UNet2DConditionModel:
    """The untrained denoiser over 16x16 latents."""
    plain = len(widths.unet) - 1
    return UNet2DConditionModel(
        sample_size=RESOLUTION // 2 ** (len(widths.vae) - 1),
        in_channels=widths.latents,
        out_channels=widths.latents,
        block_out_channels=widths.unet,
        down_block_types=(*("DownBlock2D",) * plain, "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", *("UpBlock2D",) * plain),
        layers_per_block=1,
        cross_attention_dim=widths.text,
        attention_head_dim=4,
        norm_num_groups=widths.groups,
    )


def build_text_encoder(vocabulary_size: int, widths: Widths = FULL) -> CLIPTextModel:
    """The untrained text encoder; the last two tokens of the vocabulary are start and end."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=widths.text,
            intermediate_size=widths.text * 4,
            num_hidden_layers=widths.text_layers,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=vocabulary_size - 2,
            eos_token_id=vocabulary_size - 1,
            pad_token_id=vocabulary_size - 1,
        )
    )


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, sampled by DDIM."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
