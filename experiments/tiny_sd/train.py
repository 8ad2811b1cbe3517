"""Both training stages of the model in a row, and the record of what each training took."""

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

BATCHES = {"vae": 16, "denoiser": 64, "clip": 128, "classifier": 64}
"""Pictures that one step of each training sees; the keys are the names of the saved states."""


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
    vae = trained_vae(out, vae_budget, device, seed, widths)
    unet, text_encoder, tokenizer = train_denoiser(
        out, vae, denoiser_budget, device, seed, BATCHES["denoiser"], scenes, widths
    )
    return build_pipeline(vae, unet, text_encoder, tokenizer)


def trained_vae(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, widths: Widths = FULL
) -> AutoencoderKL:
    """The VAE in `out`, trained now if it is not there yet."""
    if (out / "vae").is_dir():
        return AutoencoderKL.from_pretrained(out / "vae").to(device).eval()
    return train_vae(out, budget, device, seed, BATCHES["vae"], widths)


def training_record(out: Path) -> dict[str, Any]:
    """Steps, pictures seen, minutes and hardware of each training in `out`, from its state."""
    record = {}
    for stage, batch in BATCHES.items():
        if not (out / f"{stage}.pt").is_file():
            continue
        state = torch.load(out / f"{stage}.pt", map_location="cpu", weights_only=True)
        record[stage] = {
            "steps": state["step"],
            "pictures": state["step"] * batch,
            "minutes": round(state["seconds"] / 60, 1),
            "hardware": state["hardware"],
        }
    return record
