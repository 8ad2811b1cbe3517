"""Small pipelines of real classes, with random weights: one of each family."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from experiments.tiny_sd.tokenizer import build_tokenizer
from noiseprobe.training.concept import TEMPLATES

WIDTH = 16
WORDS = sorted({*" ".join(TEMPLATES).replace("{}", "").replace("-", " - ").split(), "dog", "sks"})


def vae(**more: Any) -> AutoencoderKL:
    """An AutoencoderKL whose latents are an eighth of the side."""
    return AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        **more,
    )


def clip(kind: Any, tokenizer: Any, **more: Any) -> Any:
    """A CLIP's text encoder, whose words matter."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )
    return wordy(kind(config))


def wordy(encoder: Any) -> Any:
    """The encoder, with token embeddings that differ by more than new ones do."""
    with torch.no_grad():
        encoder.get_input_embeddings().weight.normal_(std=0.5)
    return encoder


def t5() -> tuple[T5Tokenizer, T5EncoderModel]:
    """A T5 that knows the words of the caption templates."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0)]
    pieces += [(f"▁{word}", -2.0) for word in WORDS] + [(letter, -9.0) for letter in LETTERS]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
    config = T5Config(
        vocab_size=len(tokenizer) + 4,  # as real ones, whose matrix has more rows than words
        d_model=2 * WIDTH,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=4,
    )
    return tokenizer, wordy(T5EncoderModel(config))


LETTERS = "abcdefghijklmnopqrstuvwxyz-<>_0123456789"


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    """SDXL at 64 pixels."""
    first, second = build_tokenizer(WORDS), build_tokenizer(WORDS)
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=clip(CLIPTextModel, first),
        text_encoder_2=clip(CLIPTextModelWithProjection, second, projection_dim=24),
        tokenizer=first,
        tokenizer_2=second,
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(1, 2),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
            cross_attention_dim=2 * WIDTH,
        ),
        scheduler=DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    """SD3 at 64 pixels, with all three text encoders."""
    first, second = build_tokenizer(WORDS), build_tokenizer(WORDS)
    third, long = t5()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=48,
            pos_embed_max_size=8,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False),
        text_encoder=clip(CLIPTextModelWithProjection, first, projection_dim=24),
        tokenizer=first,
        text_encoder_2=clip(CLIPTextModelWithProjection, second, projection_dim=24),
        tokenizer_2=second,
        text_encoder_3=long,
        tokenizer_3=third,
    )


def flux(guided: bool = True) -> FluxPipeline:
    """FLUX.1-dev, or without guidance -schnell."""
    tokenizer, (second, long) = build_tokenizer(WORDS), t5()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if guided else 1.0, use_dynamic_shifting=guided
        ),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False),
        text_encoder=clip(CLIPTextModel, tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=long,
        tokenizer_2=second,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guided,
        ),
    )


def schnell() -> FluxPipeline:
    """FLUX.1-schnell."""
    return flux(guided=False)


def gemma() -> tuple[GemmaTokenizer, Gemma2Model]:
    """A Gemma 2 that knows the words of the caption templates."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"▁{word}" for word in WORDS), "▁", *LETTERS]
    tokenizer = GemmaTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        head_dim=8,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_hidden_layers=2,
        attn_implementation="eager",
    )
    return tokenizer, wordy(Gemma2Model(config))


def sana() -> SanaPipeline:
    """Sana at 64 pixels, with the sampler that its models come with."""
    tokenizer, encoder = gemma()
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=AutoencoderDC(
            in_channels=3,
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            encoder_qkv_multiscales=((), (), (5,)),
            decoder_qkv_multiscales=((), (), (5,)),
            encoder_layers_per_block=(1, 1, 1),
            decoder_layers_per_block=(1, 1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        ),
        transformer=SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            sample_size=16,
        ),
        scheduler=DPMSolverMultistepScheduler(
            use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
        ),
    )


def pixart_sigma() -> PixArtSigmaPipeline:
    """PixArt-Σ at 64 pixels."""
    tokenizer, encoder = t5()
    return PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=vae(scaling_factor=0.13025),
        transformer=PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            cross_attention_dim=16,
            sample_size=8,
            caption_channels=2 * WIDTH,
        ),
        scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )


SMALL: dict[str, Callable[[], Any]] = {
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "flux-dev": flux,
    "flux-schnell": schnell,
    "sana": sana,
    "pixart-sigma": pixart_sigma,
}
"""How the pipeline of each family but Stable Diffusion is made, by its short name."""
