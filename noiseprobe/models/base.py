"""What the training driver and the probe engine need of any diffusion model, and no more."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


class DiffusionModel(Protocol):
    """A latent diffusion model behind one interface; all weights but a method's own are frozen.

    `dtype` is the precision in which the denoiser computes.
    """

    name: str
    device: torch.device
    dtype: torch.dtype
    resolution: int
    latent_shape: tuple[int, ...]
    num_train_timesteps: int
    tokenizer: Any
    text_encoder: Any
    unet: Any

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each (B, C, h, w) float32, of the VAE's posterior.

        `pixels` is (B, 3, H, W) in [-1, 1]. Both are unscaled, as the VAE gives them.
        """
        ...

    def sample_latents(self, mean: Tensor, std: Tensor, vae_noise: Tensor) -> Tensor:
        """The latents (mean + std · vae_noise) · scaling_factor, (B, C, h, w) float32."""
        ...

    def encode_captions(self, captions: list[str]) -> Tensor:
        """The conditioning of each caption, one row per caption, as the denoiser takes it."""
        ...

    def loss(
        self,
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        conditioning: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The training objective of each sample, (B,) float32, never reduced over samples.

        `mask` (B, 1, h, w) is 1 where a latent counts, 0 where it does not.
        """
        ...

    def pipeline(self) -> Any:
        """The stock diffusers pipeline around the live modules, for `noiseprobe.Sampler`."""
        ...


def local_directory(source: str) -> Path | None:
    """`source` as a directory if it is one on this machine, else None (then it is a hub id)."""
    path = Path(source).expanduser()
    return path if path.is_dir() else None
