"""Third stage: the VAE's decoder goes on training, with the encoder frozen.

Latents stay as they are, so that a denoiser that was trained on them remains valid, as for the
decoders that Stable Diffusion was given after its release (ft-MSE, Stability AI 2022). Half of the
pictures are things of two or three hues that no scene shows: what the concepts are made of.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from experiments.tiny_sd.clip import thing_pairs
from experiments.tiny_sd.schedule import Budget, Journal, cosine
from experiments.tiny_sd.train_vae import pixels, reconstruction_loss
from experiments.tiny_sd.world import draw_scenes

PEAK_LEARNING_RATE = 1e-3
SEED = 9001  # scenes and things apart from those of every other training
POOL = 512


def train_decoder(
    out: Path,
    vae: AutoencoderKL,
    budget: Budget,
    device: torch.device,
    batch: int = 16,
    seed: int = SEED,
) -> AutoencoderKL:
    """Train, or go on training, the decoder of `vae` in place; its state is `out`/decoder.pt."""
    torch.manual_seed(seed)
    vae.to(device).train().requires_grad_(False)
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=PEAK_LEARNING_RATE, weight_decay=1e-4)
    journal = Journal(out / "decoder.pt", {"vae": vae, "optimiser": optimiser}, device)
    journal.resume()
    pool_index, pool = -1, torch.empty(0)
    while (progress := budget.progress(journal.step, journal.seconds)) < 1:
        first = journal.step * batch
        if first // POOL != pool_index:
            pool_index = first // POOL
            pool = scenes_and_things(seed, pool_index)
        images = pool[first % POOL : first % POOL + batch].to(device)
        for group in optimiser.param_groups:
            group["lr"] = cosine(progress, PEAK_LEARNING_RATE)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            with torch.no_grad():
                latents = vae.encode(images).latent_dist.mean
            drawn = vae.decode(latents).sample
            loss, error = reconstruction_loss(drawn, images)
            loss = loss + F.l1_loss(slopes(drawn), slopes(images))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        journal.tick(f"psnr {-10 * error.log10().item():.2f} dB")
    journal.save()
    return vae.requires_grad_(True).eval()


def scenes_and_things(seed: int, index: int) -> Tensor:
    """Shuffled pool number `index`: (POOL, 3, 64, 64), half scenes, half two views of things."""
    scenes = pixels(draw_scenes(seed, index * POOL // 2, POOL // 2).render())
    things, _ = thing_pairs(seed, index * POOL // 4, POOL // 4)
    order = torch.randperm(POOL, generator=torch.Generator().manual_seed(index))
    return torch.cat([scenes, things.flatten(0, 1)])[order]


def slopes(images: Tensor) -> Tensor:
    """Differences (N, D) between neighbouring pixels of `images` (N, C, H, W), across and down."""
    across, down = images.diff(dim=-1), images.diff(dim=-2)
    return torch.cat([across.flatten(1), down.flatten(1)], dim=1)
