"""The training stages of the model in a row, and the record of what each training took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from experiments.tiny_sd.export import build_pipeline
from experiments.tiny_sd.model import FULL, Widths
from experiments.tiny_sd.schedule import Budget
from experiments.tiny_sd.train_decoder import train_decoder
from experiments.tiny_sd.train_denoiser import train_denoiser
from experiments.tiny_sd.train_vae import train_vae

BATCHES = {"vae": 16, "denoiser": 64, "decoder": 16, "clip": 128, "classifier": 64}
"""Pictures that one step of each training sees; the keys are the names of the saved states."""


@dataclass(frozen=True)
class Recipe:
    """The model in the making; what `out` holds is loaded, what it lacks is trained.

    `budgets` has one for each of "vae", "denoiser" and "decoder".
    """

    out: Path
    budgets: Mapping[str, Budget]
    device: torch.device
    seed: int = 0
    scenes: int = 48_000
    widths: Widths = FULL

    def vae(self) -> AutoencoderKL:
        """The VAE as first trained."""
        if (self.out / "vae").is_dir():
            return AutoencoderKL.from_pretrained(self.out / "vae").to(self.device).eval()
        return train_vae(
            self.out, self.budgets["vae"], self.device, self.seed, BATCHES["vae"], self.widths
        )

    def denoiser(self) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
        """UNet, text encoder and tokenizer."""
        return train_denoiser(
            self.out,
            self.vae(),
            self.budgets["denoiser"],
            self.device,
            self.seed,
            BATCHES["denoiser"],
            self.scenes,
            self.widths,
        )

    def decoder(self) -> AutoencoderKL:
        """The VAE with its decoder trained on."""
        return train_decoder(
            self.out, self.vae(), self.budgets["decoder"], self.device, BATCHES["decoder"]
        )

    def pipeline(self) -> StableDiffusionPipeline:
        """All of it."""
        return build_pipeline(self.decoder(), *self.denoiser())


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
