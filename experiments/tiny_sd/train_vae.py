"""First stage: the autoencoder, on fresh scenes of the world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from experiments.tiny_sd.model import FULL, Widths, build_vae
from experiments.tiny_sd.schedule import Budget, Journal, cosine
from experiments.tiny_sd.world import draw_scenes
from noiseprobe.core.files import written_whole

PEAK_LEARNING_RATE = 2e-3
# Stable Diffusion's (Rombach et al. 2022, appendix), where every term is summed over an image; here
# every term is a mean over its values, which is the same up to a common factor.
KL_WEIGHT = 1e-6
POOL = 1024
SCALING_SCENES = 512


def train_vae(
    out: Path,
    budget: Budget,
    device: torch.device,
    seed: int = 0,
    batch: int = 16,
    widths: Widths = FULL,
) -> AutoencoderKL:
    """Train, or go on training, the VAE; its state is `out`/vae.pt, the result `out`/vae/.

    Scenes are rendered `POOL` at a time and each is seen once; which scenes a step sees is a
    function of the step alone.
    """
    torch.manual_seed(seed)
    vae = build_vae(widths).to(device).train()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-4)
    journal = Journal(out / "vae.pt", {"vae": vae, "optimiser": optimiser}, device)
    journal.resume()
    pool_index, pool = -1, torch.empty(0)
    while (progress := budget.progress(journal.step, journal.seconds)) < 1:
        first = journal.step * batch
        if first // POOL != pool_index:
            pool_index = first // POOL
            pool = pixels(draw_scenes(seed, pool_index * POOL, POOL).render())
        images = pool[first % POOL : first % POOL + batch].to(device)
        for group in optimiser.param_groups:
            group["lr"] = cosine(progress, PEAK_LEARNING_RATE)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, error = vae_loss(vae, images, torch.Generator().manual_seed(journal.step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        journal.tick(f"psnr {-10 * error.log10().item():.2f} dB")
    journal.save()
    vae.eval()
    vae.register_to_config(scaling_factor=measure_scaling(vae, seed))
    with written_whole(out / "vae") as beside:
        vae.save_pretrained(beside)
    return vae


def pixels(scenes: np.ndarray) -> Tensor:
    """Rendered scenes (N, H, W, 3) uint8 as a float tensor (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 127.5 - 1


def vae_loss(
    vae: AutoencoderKL, images: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The training loss with the KL term, and the mean squared error with pixels in [0, 1]."""
    posterior = vae.encode(images).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator).to(images.device)
    drawn = vae.decode(posterior.mean + posterior.std * noise).sample
    kl = posterior.kl().mean() / images[0].numel()
    loss, error = reconstruction_loss(drawn, images)
    return loss + KL_WEIGHT * kl, error


def reconstruction_loss(drawn: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """How far `drawn` is from `images`, and the mean squared error with pixels in [0, 1].

    Absolute and squared error, and the absolute error of the pictures at half size.
    """
    coarse = F.l1_loss(F.avg_pool2d(drawn, 2), F.avg_pool2d(images, 2))
    squared = F.mse_loss(drawn, images)
    return F.l1_loss(drawn, images) + 2 * squared + coarse, squared.detach() / 4


@torch.no_grad()
def measure_scaling(vae: AutoencoderKL, seed: int) -> float:
    """1 / standard deviation of the latents of some scenes, as Stable Diffusion defines it."""
    device = next(vae.parameters()).device
    images = pixels(draw_scenes(seed, 0, SCALING_SCENES).render())
    latents = torch.cat([vae.encode(part.to(device)).latent_dist.mean for part in images.split(32)])
    return 1 / float(latents.std())
