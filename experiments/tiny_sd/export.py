"""Last stage: all parts in half precision, in the layout that StableDiffusionPipeline loads."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from experiments.tiny_sd.model import build_scheduler


def build_pipeline(
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> StableDiffusionPipeline:
    """The stock pipeline around the trained parts."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def export(pipeline: StableDiffusionPipeline, directory: Path) -> StableDiffusionPipeline:
    """Save `pipeline` in half precision into `directory`; returns what loads from there.

    The text encoder, a small part of the whole, is stored as float32: transformers loads weights in
    the precision they have, diffusers in float32, and a stock pipeline that is loaded without
    naming a precision would be of two minds.
    """
    pipeline.to("cpu")
    for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        part.half()
    pipeline.text_encoder.float()
    # The folder in which a part was trained is no part of the model.
    pipeline.vae.register_to_config(_name_or_path=directory.name)
    pipeline.save_pretrained(directory)
    return load(directory)


def load(directory: Path) -> StableDiffusionPipeline:
    """The exported pipeline, in float32 on the CPU."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        directory, safety_checker=None, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
