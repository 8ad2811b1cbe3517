"""Stable Diffusion 1.x and 2.x: any directory or hub id that StableDiffusionPipeline loads."""

from collections.abc import Iterator
from contextlib import contextmanager
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
    """The parts of a Stable Diffusion, frozen, in evaluation mode, on one device, in float32.

    `settle` sets the precision of the UNet alone. The VAE and the text encoder stay in float32: the
    one runs once per photograph, the other carries the trained embedding.
    """

    def __init__(self, name: str, parts: dict[str, Any], device: torch.device) -> None:
        self.name = name
        self.device = device
        self.tokenizer = parts["tokenizer"]
        self.text_encoder = parts["text_encoder"].to(device)
        self.vae = parts["vae"].to(device)
        self.unet = parts["unet"].to(device)
        self.dtype = self.unet.dtype
        # A third faster on a CPU for the bundled model (experiments/bench), and on CUDA for all.
        if device.type in ("cpu", "cuda"):
            self.unet.to(memory_format=torch.channels_last)
        self.scheduler = parts["scheduler"]
        for module in (self.text_encoder, self.vae, self.unet):
            module.requires_grad_(False).eval()
        size = int(self.unet.config.sample_size)
        self.latent_shape: tuple[int, ...] = (int(self.unet.config.in_channels), size, size)
        self.resolution = size * 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.num_train_timesteps = int(self.scheduler.config.num_train_timesteps)
        kind = self.scheduler.config.prediction_type
        if kind not in ("epsilon", "v_prediction", "sample"):
            raise UserError(
                f"--model: {name}: prediction type '{kind}' of its scheduler is not known; "
                "use a model with epsilon, v_prediction or sample"
            )

    @classmethod
    def load(cls, source: str, device: torch.device) -> "StableDiffusion":
        """Load every part of `source`; raises `UserError` naming the part that cannot be loaded."""
        return cls(source, {part: _load_part(source, part) for part in PARTS}, device)

    def settle(self, precision: str) -> None:
        """Cast what is frozen of the UNet to `precision`, and compute in it from now on."""
        self.dtype = PRECISIONS[precision]
        for weight in self.unet.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(self.dtype)

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The VAE's posterior, one image at a time: memory does not grow with the concept."""
        posteriors = [
            self.vae.encode(image[None].to(self.device, torch.float32)).latent_dist
            for image in pixels
        ]
        mean = torch.cat([posterior.mean for posterior in posteriors])
        return mean, torch.cat([posterior.std for posterior in posteriors])

    def sample_latents(self, mean: Tensor, std: Tensor, vae_noise: Tensor) -> Tensor:
        """The scaled sample (mean + std · vae_noise) · scaling_factor of the posterior."""
        return (mean + std * vae_noise) * float(self.vae.config.scaling_factor)

    def encode_captions(self, captions: list[str]) -> Tensor:
        """The text encoder's last hidden state (N, tokens, width), as in the stock pipeline."""
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self.device))[0]

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
        # Weights that are trained stay in float32 and are cast where they are used.
        mixed = any(weight.dtype != self.dtype for weight in self.unet.parameters())
        with torch.autocast(self.device.type, self.dtype, enabled=mixed):
            prediction = self.unet(
                noisy.to(self.dtype), timesteps, conditioning.to(self.dtype), return_dict=False
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
