"""What the published code of DVAR does, for what ours is held against: its loops, written anew.

From the description of the method (arXiv 2302.04841); no code of theirs is here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseprobe.draws.draws import Batch, Draws
from noiseprobe.draws.factors import Setting
from noiseprobe.models.base import DiffusionModel

BATCH = 8
"""Of the published evaluations."""


class PublishedDVAR:
    """DVAR that keeps all losses in a list, and takes both variances of it anew at each step.

    So a step takes as long as there are losses.
    """

    def __init__(self, window: int = 310, threshold: float = 0.15) -> None:
        self.window = window
        self.threshold = threshold
        self.losses: list[float] = []

    def update(self, loss: float) -> bool:
        """Take the next loss; whether to stop."""
        self.losses.append(loss)
        if len(self.losses) < self.window:
            return False
        ratio = np.var(self.losses[-self.window :]) / np.var(self.losses)
        return bool(ratio < self.threshold)


def batches_of(draws: Draws, settings: Sequence[Setting], samples: int) -> list[list[Batch]]:
    """The draws of one evaluation of each setting: in batches of `BATCH`, of `samples` in all."""
    return [
        [
            draws.batch(range(first, min(first + BATCH, samples)), int(bool(own.redrawn)), own)
            for first in range(0, samples, BATCH)
        ]
        for own in settings
    ]


@torch.no_grad()
def published_probe(
    model: DiffusionModel, pixels: Tensor, captions: Sequence[str], drawn: Sequence[Sequence[Batch]]
) -> list[NDArray[np.float64]]:
    """The losses (samples,) of each setting, evaluated one setting after another.

    Every batch goes through the VAE, the text encoder and the denoiser, under autocast on CUDA, and
    its losses are fetched.

    Args:
        model: of which all parts are on its device.
        pixels: the photographs as they are seen, (views, photographs, 3, H, W), on that device.
        captions: the templates.
        drawn: by setting, what `batches_of` gives.
    """
    return [
        np.concatenate([_losses(model, pixels, captions, batch) for batch in batches])
        for batches in drawn
    ]


def _losses(
    model: DiffusionModel, pixels: Tensor, captions: Sequence[str], batch: Batch
) -> NDArray[np.float64]:
    device, dtype = model.device, next(model.denoiser.parameters()).dtype
    seen = pixels[torch.from_numpy(batch.views), torch.from_numpy(batch.images)]
    vae_noise, noise = (
        torch.from_numpy(each).to(device, dtype) for each in (batch.vae_noise, batch.noise)
    )
    times = torch.from_numpy(batch.timesteps).to(device)
    half = device.type == "cuda" and dtype != torch.float32
    with torch.autocast(device.type, dtype, enabled=half):
        posterior = model.vae.encode(seen.to(next(model.vae.parameters()).dtype)).latent_dist
        latents = model.sample_latents(posterior.mean, posterior.std, vae_noise).to(dtype)
        noisy = model.path.noisy(latents, noise, times)
        words = model.encode_captions([captions[number] for number in batch.captions])
        told = {name: each.to(dtype) for name, each in words.items()}
        whole = torch.tensor([model.resolution, model.resolution, 0, 0], device=device)
        places = whole.expand(len(batch), 4)
        predicted = model.predict(noisy, times, told, places)
    exact = torch.promote_types(predicted.dtype, torch.float32)
    target = model.path.target(latents, noise, times)
    errors = (predicted.to(exact) - target.to(exact)).square().flatten(1).mean(1)
    found: NDArray[np.float64] = errors.cpu().double().numpy()
    return found
