"""What the training driver and the probe engine need of any diffusion model, and no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from noiseprobe.core.errors import UserError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DiffusionModel(Protocol):
    """A latent diffusion model behind one interface, around live modules that it leaves alone.

    `load_model` gives one with all weights frozen; a method thaws its own.
    """

    name: str
    resolution: int
    latent_shape: tuple[int, ...]
    num_train_timesteps: int
    tokenizer: Any
    text_encoder: Any
    unet: Any

    @property
    def device(self) -> torch.device:
        """Where the denoiser is now."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision in which the denoiser computes."""

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each (B, C, h, w) float32, of the VAE's posterior.

        `pixels` is (B, 3, H, W) in [-1, 1]. Both are unscaled, as the VAE gives them.
        """

    def sample_latents(self, mean: Tensor, std: Tensor, vae_noise: Tensor) -> Tensor:
        """The latents (mean + std · vae_noise) · scaling_factor, (B, C, h, w) float32."""

    def encode_captions(self, captions: list[str]) -> Tensor:
        """The conditioning of each caption, one row per caption, as the denoiser takes it."""

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

    def settle(self, precision: str) -> None:
        """Cast what is frozen of the denoiser to `precision`, and compute in it from now on.

        What is trained stays in float32, so that no step is lost to rounding.
        """

    def pipeline(self) -> Any:
        """The stock diffusers pipeline around the live modules, for `noiseprobe.Sampler`."""


def load_whole(kind: Any, source: str, **options: Any) -> Any:
    """The model that `kind.from_pretrained` loads, of diffusers or transformers, in float32.

    Raises `ValueError` where weights are missing or of another shape, for both libraries would put
    random ones in their place.
    """
    model, told = kind.from_pretrained(
        source,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} weights, such as {missing[0]}")
    if wrong := sorted(told["mismatched_keys"]):
        key, found, expected = wrong[0]
        raise ValueError(f"{key} is {tuple(found)}, not {tuple(expected)} as its config.json says")
    return model


@contextmanager
def loading(told: str, mend: str) -> Iterator[None]:
    """Turn whatever keeps a model from being loaded into one `UserError` line, with the reason."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0].split(". ")[0]
        raise UserError(f"{told} ({reason}); {mend}") from error


def local_directory(source: str) -> Path | None:
    """`source` as a directory if it is one on this machine, else None (then it is a hub id)."""
    path = Path(source).expanduser()
    return path if path.is_dir() else None
