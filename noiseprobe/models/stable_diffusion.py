"""Stable Diffusion 1.x and 2.x: any directory or hub id that StableDiffusionPipeline loads."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import PRECISIONS, load_whole, loading, local_directory

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

PARTS = {
    "tokenizer": CLIPTokenizer,
    "text_encoder": CLIPTextModel,
    "vae": AutoencoderKL,
    "unet": UNet2DConditionModel,
    "scheduler": DDPMScheduler,
}


class StableDiffusion:
    """The live modules of a Stable Diffusion, which stay as they are.

    Device and precision are those that the modules have when something is computed. `load` makes
    frozen modules of its own.

    Args:
        name: the directory or hub id, or what errors call the model.
        parts: by the names of `PARTS`; modules may be wrapped, by DistributedDataParallel or
            torch.compile. Of the scheduler only the configuration is taken: noise is added as in
            training, whatever sampler a pipeline has.

    Raises:
        UserError: the scheduler's prediction type is not known, or the parts are of another family.
    """

    def __init__(self, name: str, parts: Mapping[str, Any]) -> None:
        self.name = name
        self.tokenizer = parts["tokenizer"]
        self.text_encoder = unwrapped(parts["text_encoder"])
        self.vae = unwrapped(parts["vae"])
        self.unet = unwrapped(parts["unet"])
        self.scheduler = DDPMScheduler.from_config(parts["scheduler"].config)
        self._settled: torch.dtype | None = None
        size = int(self.unet.config.sample_size)
        self.latent_shape: tuple[int, ...] = (int(self.unet.config.in_channels), size, size)
        self.resolution = size * 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.scaling_factor = float(self.vae.config.scaling_factor)
        self.num_train_timesteps = int(self.scheduler.config.num_train_timesteps)
        kind = self.scheduler.config.prediction_type
        if kind not in ("epsilon", "v_prediction", "sample"):
            raise UserError(
                f"model {name}: prediction type '{kind}' of its scheduler is not known; "
                "use a model with epsilon, v_prediction or sample"
            )

    @classmethod
    def load(cls, source: str, device: torch.device) -> "StableDiffusion":
        """Load every part of `source`: frozen, in evaluation mode, on `device`, in float32.

        `settle` sets the precision of the UNet alone. The VAE and the text encoder stay in float32:
        the one runs once per photograph, the other carries the trained embedding. Raises
        `UserError` naming the part that cannot be loaded.
        """
        parts = {part: _load_part(source, part) for part in PARTS}
        for part in ("text_encoder", "vae", "unet"):
            parts[part].to(device).requires_grad_(False).eval()
        # A third faster on a CPU for the bundled model (experiments/bench), and on CUDA for all.
        if device.type in ("cpu", "cuda"):
            parts["unet"].to(memory_format=torch.channels_last)
        return cls(source, parts)

    @property
    def device(self) -> torch.device:
        """Where the UNet is now."""
        return device_of(self.unet)

    @property
    def dtype(self) -> torch.dtype:
        """What the UNet computes in: as `settle` said, else what most of its weights are in."""
        if self._settled is not None:
            return self._settled
        counts: Counter[torch.dtype] = Counter()
        for weight in self.unet.parameters():
            counts[weight.dtype] += weight.numel()
        return counts.most_common(1)[0][0]

    def settle(self, precision: str) -> None:
        """Cast what is frozen of the UNet to `precision`, and compute in it from now on."""
        self._settled = PRECISIONS[precision]
        for weight in self.unet.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(self._settled)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The VAE's posterior, one image at a time: memory does not grow with the concept."""
        device, dtype = device_of(self.vae), next(self.vae.parameters()).dtype
        with torch.autocast(device.type, enabled=False):
            posteriors = [
                self.vae.encode(image[None].to(device, dtype)).latent_dist for image in pixels
            ]
        mean = torch.cat([posterior.mean.float() for posterior in posteriors])
        return mean, torch.cat([posterior.std.float() for posterior in posteriors])

    def sample_latents(self, mean: Tensor, std: Tensor, vae_noise: Tensor) -> Tensor:
        """The scaled sample (mean + std · vae_noise) · scaling_factor of the posterior."""
        return (mean + std * vae_noise) * self.scaling_factor

    def encode_captions(self, captions: list[str]) -> Tensor:
        """The text encoder's last hidden state (N, tokens, width), as in the stock pipeline."""
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(device_of(self.text_encoder)))[0]

    def loss(
        self,
        latents: Tensor,
        noise: Tensor,
        timesteps: Tensor,
        conditioning: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error of the prediction, (B,), over channels and pixels (Ho et al. 2020).

        Where `mask` (B, 1, h, w) is 0, pixels are left out of the mean.
        """
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        device, dtype = self.device, self.dtype
        # Weights that are trained stay in float32 and are cast where they are used. Where all are
        # of one type, the autocast of whoever calls, if any, is let be.
        mixed = dtype != torch.float32 and any(
            weight.dtype != dtype for weight in self.unet.parameters()
        )
        with torch.autocast(device.type, dtype) if mixed else nullcontext():
            prediction = self.unet(
                noisy.to(dtype), timesteps, conditioning.to(device, dtype), return_dict=False
            )[0]
        target = self._target(latents, noise, timesteps)
        errors = (prediction.float() - target.float()).square()
        if mask is None:
            return errors.flatten(1).mean(1)
        return (errors * mask).flatten(1).sum(1) / (mask.flatten(1).sum(1) * errors.shape[1])

    def pipeline(self) -> "StableDiffusionPipeline":
        """The stock pipeline around these very modules, with the model's own sampler."""
        from diffusers import StableDiffusionPipeline

        with _no_bars():
            return StableDiffusionPipeline.from_pretrained(
                self.name,
                vae=self.vae,
                text_encoder=self.text_encoder,
                tokenizer=self.tokenizer,
                unet=self.unet,
                safety_checker=None,
                requires_safety_checker=False,
            )

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        match self.scheduler.config.prediction_type:
            case "v_prediction":
                return self.scheduler.get_velocity(latents, noise, timesteps)
            case "sample":
                return latents
            case _:
                return noise


def unwrapped(module: Any) -> Any:
    """The module inside of DistributedDataParallel and torch.compile.

    It has a configuration, and computes without the other processes and without compiling anew.
    """
    for name in ("module", "_orig_mod"):
        if isinstance(inner := getattr(module, name, None), torch.nn.Module):
            return unwrapped(inner)
    return module


def device_of(module: Any) -> torch.device:
    """Where the weights of a module are now."""
    return next(module.parameters()).device


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep diffusers from drawing a bar while it puts parts together that are loaded already."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _load_part(source: str, part: str) -> Any:
    directory = local_directory(source)
    if directory is not None and not (directory / part).is_dir():
        raise UserError(
            f"--model: '{directory}' lacks the folder '{part}/'; "
            "give a directory saved by StableDiffusionPipeline.save_pretrained"
        )
    kind: Any = PARTS[part]
    place = str(directory or source)
    where = directory / part if directory else f"{source} ({part})"
    mend = "check the path and its files, or the connection to the hub"
    with loading(f"--model: cannot load {where}", mend):
        if part in ("tokenizer", "scheduler"):
            return kind.from_pretrained(place, subfolder=part)
        return load_whole(kind, place, subfolder=part)
