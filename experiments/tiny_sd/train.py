"""Both training stages in a row, and the record of what they took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from experiments.tiny_sd.export import build_pipeline
from experiments.tiny_sd.model import FULL, Widths
from experiments.tiny_sd.schedule import Budget
from experiments.tiny_sd.train_denoiser import train_denoiser
from experiments.tiny_sd.train_vae import train_vae

VAE_BATCH, DENOISER_BATCH = 16, 64


def train(
    out: Path,
    vae_budget: Budget,
    denoiser_budget: Budget,
    device: torch.device,
    seed: int = 0,
    scenes: int = 48_000,
    widths: Widths = FULL,
) -> StableDiffusionPipeline:
    """The trained pipeline; what an earlier call with the same `out` finished is not done again."""
    if (out / "vae").is_dir():
        vae = AutoencoderKL.from_pretrained(out / "vae").to(device).eval()
    else:
        vae = train_vae(out, vae_budget, device, seed, VAE_BATCH, widths)
    unet, text_encoder, tokenizer = train_denoiser(
        out, vae, denoiser_budget, device, seed, DENOISER_BATCH, scenes, widths
    )
    return build_pipeline(vae, unet, text_encoder, tokenizer)


def training_record(out: Path) -> dict[str, Any]:
    """Steps, pictures seen, minutes and hardware of each stage, as their saved states say."""
    record = {}
    for stage, batch in (("vae", VAE_BATCH), ("denoiser", DENOISER_BATCH)):
        state = torch.load(out / f"{stage}.pt", map_location="cpu", weights_only=True)
        record[stage] = {
            "steps": state["step"],
            "pictures": state["step"] * batch,
            "minutes": round(state["seconds"] / 60, 1),
            "hardware": state["hardware"],
        }
    return record
