"""Second stage: UNet and text encoder, trained together on the cached latents of scenes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from experiments.tiny_sd.model import (
    FULL,
    Widths,
    build_scheduler,
    build_text_encoder,
    build_unet,
)
from experiments.tiny_sd.schedule import Average, Budget, Journal, cosine
from experiments.tiny_sd.tokenizer import saved_tokenizer, tokenise
from experiments.tiny_sd.train_vae import pixels
from experiments.tiny_sd.world import draw_scenes
from noiseprobe.core.files import written_whole

PEAK_LEARNING_RATE = 1e-3
CAPTION_DROPOUT = 0.1  # for classifier-free guidance (Ho & Salimans 2022)
MIN_SNR_GAMMA = 5.0  # Hang et al. 2023, eq. 3, for epsilon prediction


@dataclass(frozen=True)
class Cache:
    """Posteriors (N, C, h, w), scaled, float16, and token ids (N, 32) of N scenes."""

    mean: Tensor
    std: Tensor
    tokens: Tensor


def train_denoiser(
    out: Path,
    vae: AutoencoderKL,
    budget: Budget,
    device: torch.device,
    seed: int = 0,
    batch: int = 64,
    scenes: int = 48_000,
    widths: Widths = FULL,
) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    """Train, or go on training; the state is `out`/denoiser.pt.

    What a step sees (scenes, timesteps, noise, dropped captions) is a function of the step alone.
    Returns the modules with their averaged weights.
    """
    tokenizer = saved_tokenizer(out / "tokenizer")
    cache = cached_latents(out / "latents.pt", vae, tokenizer, seed, scenes)
    torch.manual_seed(seed)
    unet = build_unet(widths).to(device).train()
    text_encoder = build_text_encoder(len(tokenizer), widths).to(device).train()
    modules: list[torch.nn.Module] = [unet, text_encoder]
    parameters = [p for module in modules for p in module.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01
    )
    average = Average(modules).to(device)
    journal = Journal(
        out / "denoiser.pt",
        {"unet": unet, "text": text_encoder, "average": average, "optimiser": optimiser},
        device,
    )
    journal.resume()
    signal = build_scheduler().alphas_cumprod.to(device)
    nothing = tokenise(tokenizer, [""])
    smooth = float("nan")
    while (progress := budget.progress(journal.step, journal.seconds)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = cosine(progress, PEAK_LEARNING_RATE)
        random = torch.Generator().manual_seed(seed * 1_000_003 + journal.step)
        chosen = torch.randint(len(cache.mean), (batch,), generator=random)
        noise, vae_noise = torch.randn(2, *cache.mean[chosen].shape, generator=random)
        timesteps = torch.randint(len(signal), (batch,), generator=random)
        dropped = torch.rand(batch, generator=random) < CAPTION_DROPOUT
        latents = cache.mean[chosen].float() + cache.std[chosen].float() * vae_noise
        tokens = torch.where(dropped[:, None], nothing, cache.tokens[chosen].long())
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = denoising_loss(
                unet,
                text_encoder,
                latents.to(device),
                noise.to(device),
                timesteps.to(device),
                tokens.to(device),
                signal,
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        average.update(journal.step)
        smooth = loss.item() if smooth != smooth else 0.98 * smooth + 0.02 * loss.item()
        journal.tick(f"weighted loss {smooth:.4f}")
    journal.save()
    average.write_back()
    return unet.eval(), text_encoder.eval(), tokenizer


def denoising_loss(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    tokens: Tensor,
    signal: Tensor,
) -> Tensor:
    """Squared error of the predicted noise with min-SNR weights, averaged over the batch."""
    kept = signal[timesteps]
    level = kept[:, None, None, None]
    conditioning = text_encoder(tokens)[0]
    noisy = level.sqrt() * latents + (1 - level).sqrt() * noise
    prediction = unet(noisy, timesteps, conditioning, return_dict=False)[0]
    snr = kept / (1 - kept)
    errors = (prediction.float() - noise).square().flatten(1).mean(1)
    return (snr.clamp(max=MIN_SNR_GAMMA) / snr * errors).mean()


@torch.no_grad()
def cached_latents(
    path: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, seed: int, count: int
) -> Cache:
    """The posteriors and captions of `count` scenes, encoded once and kept in `path`."""
    if path.is_file():
        return Cache(**torch.load(path, weights_only=True))
    device = next(vae.parameters()).device
    means, stds, tokens = [], [], []
    for start in range(0, count, 1000):
        # Scenes apart from those that the VAE saw first, whose latents may be a little too good.
        part = draw_scenes(seed + 1, start, min(1000, count - start))
        for images in pixels(part.render()).split(50):
            posterior = vae.encode(images.to(device)).latent_dist
            means.append((posterior.mean * vae.config.scaling_factor).half().cpu())
            stds.append((posterior.std * vae.config.scaling_factor).half().cpu())
        tokens.append(tokenise(tokenizer, list(part.captions)).short())
        if start % 8000 == 0:
            print(f"encoded {start} of {count} scenes", file=sys.stderr)
    cache = {"mean": torch.cat(means), "std": torch.cat(stds), "tokens": torch.cat(tokens)}
    with written_whole(path) as beside:
        torch.save(cache, beside)
    return Cache(**cache)
