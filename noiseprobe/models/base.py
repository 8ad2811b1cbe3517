"""A model family: what the driver and the engine need of any diffusion model, and no more.

A family wraps live modules and leaves them as they are: it never freezes, casts, moves or lays them
out anew. Loading (`noiseprobe.models.loading`) makes frozen modules of its own.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import diffusers
import torch
from diffusers.utils import logging
from torch import Tensor
from transformers import CLIPTokenizer

from noiseprobe.core.errors import UserError
from noiseprobe.models.noise_paths import NoisePath, path_of
from noiseprobe.models.upcasting import in_enough_bits

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Fast = Callable[[int], AbstractContextManager[object]]
"""By the samples of a pass, the context in which it is computed (`noiseprobe.models.compiling`)."""

Conditioning = dict[str, Tensor]
"""What a denoiser is told beside latents and time: tensors by name, whose first dimension is B."""

USUAL_LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class Encoder:
    """A text encoder and its tokenizer, by what the pipeline calls the encoder."""

    name: str
    tokenizer: Any
    module: Any


class DiffusionModel(ABC):
    """A latent diffusion model behind one interface, around live modules that it leaves alone.

    A family names its pipeline class and its parts, and says how captions are encoded and how its
    denoiser is asked; the rest is common to all.

    Class attributes:
        pipeline_name: the pipeline class of diffusers.
        denoiser_name: what the pipeline calls the denoiser.
        encoder_names: what it calls each text encoder and its tokenizer.
        worded: the text encoders that carry a learned word; empty where diffusers loads none.
        lora_targets: the layers of the denoiser that adapters usually stand beside.
        optional: parts that may be missing.
        weighting, density: of the path, as the family's training script has them.
        skips_layers: whether its pipeline takes `clip_skip`.

    Args:
        name: the directory or hub id, or what errors call the model.
        parts: the live modules by the pipeline's names, which may be wrapped by
            DistributedDataParallel or torch.compile. Of the scheduler the configuration is taken.
        resolution: the side of pictures in pixels; by default what the denoiser was made for.
        clip_skip: how many of the last layers of a CLIP are left out, where the family can.
        path: options of `noiseprobe.models.noise_paths.path_of`.

    Raises:
        UserError: the parts are of another family, or an option does not fit.
    """

    pipeline_name: ClassVar[str]
    denoiser_name: ClassVar[str] = "transformer"
    encoder_names: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer"}
    worded: ClassVar[tuple[str, ...]] = ()
    lora_targets: ClassVar[tuple[str, ...]] = USUAL_LORA_TARGETS
    optional: ClassVar[tuple[str, ...]] = ()
    weighting: ClassVar[str] = "none"
    density: ClassVar[str] = "uniform"
    skips_layers: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Any],
        *,
        resolution: int | None = None,
        clip_skip: int | None = None,
        **path: Any,
    ) -> None:
        self.name = name
        self.parts = {part: unwrapped(module) for part, module in parts.items()}
        self.vae: Any = self.parts["vae"]
        self.denoiser: Any = self.parts[self.denoiser_name]
        self._settled: torch.dtype | None = None
        self._mixed: bool | None = None
        self.fast: Fast | None = None
        self.clip_skip = clip_skip
        if clip_skip is not None:
            self._check_skipped(clip_skip)
        self.check()
        self.cell, self._scaling = self.vae_cell(), scaling_of(self.vae.config)
        self._scaled: dict[torch.device, tuple[Tensor | None, Tensor]] = {}
        self.resolution = self.usual_resolution() if resolution is None else resolution
        grain = self.cell * self.patch
        if self.resolution < grain or self.resolution % grain:
            near = max(round(self.resolution / grain), 1) * grain
            raise UserError(
                f"--resolution: {self.resolution} given; give a multiple of {grain}, such as {near}"
            )
        side = self.resolution // self.cell
        self.latent_shape: tuple[int, ...] = (self.channels, side, side)
        self.path: NoisePath = path_of(
            scheduler_config(self.parts["scheduler"]),
            f"model {name}",
            (side // self.patch) ** 2,
            usual={"weighting": self.weighting, "density": self.density},
            **path,
        )

    # What a family says.

    @abstractmethod
    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """The conditioning of each caption, one row per caption, as the denoiser takes it."""

    @abstractmethod
    def predict(
        self, noisy: Tensor, times: Tensor, conditioning: Conditioning, places: Tensor
    ) -> Tensor:
        """What the denoiser predicts of noisy latents (B, C, h, w), in the same shape.

        `places` (B, 4) are height and width of the photograph as it was, and top and left of the
        part of it that is seen, in pixels after scaling.
        """

    def check(self) -> None:
        """Raise `UserError` if the parts are not of this family, or do not fit each other."""
        if self.taken != self.channels:
            raise UserError(
                f"model {self.name}: its {self.denoiser_name} takes {self.taken} channels and its "
                f"vae gives {self.channels}, as for inpainting or of another family; give a model "
                "that draws from text alone, with a vae of its family"
            )

    @property
    def taken(self) -> int:
        """Channels of the latents that the denoiser takes."""
        return int(self.denoiser.config.in_channels)

    def usual_resolution(self) -> int:
        """The side of the pictures that the denoiser was made for, in pixels."""
        size = getattr(self.denoiser.config, "sample_size", None)
        if not isinstance(size, int):
            raise UserError(
                f"--resolution: the {self.denoiser_name} of model {self.name} does not say for "
                f"what size it was made, but {size}; give it in pixels, such as 512"
            )
        return size * self.vae_cell()

    def vae_cell(self) -> int:
        """The side of what a latent stands for, in pixels."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def patch(self) -> int:
        """The side of what is one token to the denoiser, in latents."""
        return int(getattr(self.denoiser.config, "patch_size", None) or 1)

    @property
    def channels(self) -> int:
        """Of the latents."""
        return int(self.vae.config.latent_channels)

    # What is common to all.

    @classmethod
    def part_names(cls) -> list[str]:
        """What the pipeline calls the parts that are used."""
        encoders = [name for pair in cls.encoder_names.items() for name in pair]
        return [*encoders, "vae", cls.denoiser_name, "scheduler"]

    @property
    def text_device(self) -> torch.device:
        """Where the text encoders are now."""
        return device_of(self.encoders[0].module)

    @property
    def encoders(self) -> list[Encoder]:
        """The text encoders that the model has."""
        return [
            Encoder(name, self.parts.get(tokenizer), self.parts[name])
            for name, tokenizer in self.encoder_names.items()
            if self.parts.get(name) is not None
        ]

    @classmethod
    def require_skips(cls) -> None:
        """Raise `UserError` unless the pipeline takes `clip_skip`."""
        if not cls.skips_layers:
            raise UserError(f"--clip-skip: {cls.pipeline_name} skips no layers; leave it out")

    def _check_skipped(self, layers: int) -> None:
        self.require_skips()
        least = min(each.module.config.num_hidden_layers for each in self.clips())
        if layers >= least:
            raise UserError(
                f"--clip-skip: {layers} given, but the text encoder has {least} layers; skip fewer"
            )

    def clips(self) -> list[Encoder]:
        """Those of them that are CLIPs, which alone are trained; raises `UserError` if none is."""
        found = [each for each in self.encoders if isinstance(each.tokenizer, CLIPTokenizer)]
        if not found:
            raise UserError(f"--train-text-encoder: {self.pipeline_name} has no CLIP; leave it out")
        return found

    @classmethod
    def takes_adapters(cls) -> bool:
        """Whether diffusers loads LoRA into its pipeline."""
        return hasattr(getattr(diffusers, cls.pipeline_name), "save_lora_weights")

    @property
    def device(self) -> torch.device:
        """Where the denoiser is now."""
        return device_of(self.denoiser)

    @property
    def dtype(self) -> torch.dtype:
        """What the denoiser computes in: as `settle` said, else what most of its weights are in.

        Weights in 4 or 8 bits are not computed in, and do not count.
        """
        return self._settled or self._types()[0]

    def _types(self) -> tuple[torch.dtype, bool]:
        """What the denoiser computes in, and whether some of its weights are of another type.

        Modules that are settled are asked once, for that takes milliseconds; others may have been
        cast since.
        """
        if (settled := self._settled) is not None:
            if self._mixed is None:
                self._mixed = any(each.dtype != settled for each in self.denoiser.parameters())
            return settled, self._mixed
        counts: Counter[torch.dtype] = Counter()
        for weight in self.denoiser.parameters():
            counts[weight.dtype] += weight.numel()
        known = [(count, dtype) for dtype, count in counts.items() if dtype in PRECISIONS.values()]
        return max(known, key=lambda each: each[0])[1], len(counts) > 1

    def changed(self) -> None:
        """To be called where weights or words of settled modules were added, taken out or cast."""
        self._mixed = None

    def settle(self, precision: str) -> None:
        """Cast what is frozen of the denoiser to `precision`, and compute in it from now on.

        What is trained stays in float32, so that no step is lost to rounding. Text encoders follow,
        but for those in which something is trained: these stay as they are.
        """
        self._settled = PRECISIONS[precision]
        frozen = [each.module for each in self.encoders if not trains(each.module)]
        for module in (self.denoiser, *frozen):
            for name, weight in module.named_parameters():
                if not weight.requires_grad and weight.dtype in PRECISIONS.values():
                    weight.data = weight.data.to(type_of(module, name, self._settled))
        self.changed()

    @torch.no_grad()
    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each (B, C, h, w) float32, of the VAE's posterior.

        `pixels` is (B, 3, H, W) in [-1, 1]. Both are unscaled, as the VAE gives them; the deviation
        is 0 where the autoencoder draws nothing. One image at a time: memory does not grow. A VAE
        that float16 is not enough for computes in float32 meanwhile (`in_enough_bits`).
        """
        device = device_of(self.vae)
        with torch.autocast(device.type, enabled=False), in_enough_bits(self.vae):
            dtype = next(self.vae.parameters()).dtype
            found = [self.posterior(image[None].to(device, dtype)) for image in pixels]
        means, stds = zip(*found, strict=True)
        return torch.cat(means).float(), torch.cat(stds).float()

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of what the autoencoder makes of one picture."""
        encoded = self.vae.encode(pixels)
        if (drawn := getattr(encoded, "latent_dist", None)) is not None:
            return drawn.mean, drawn.std
        return encoded.latent, torch.zeros_like(encoded.latent)

    def sample_latents(self, mean: Tensor, std: Tensor, vae_noise: Tensor) -> Tensor:
        """The latents (mean + std · vae_noise - shift) · scale, (B, C, h, w) float32."""
        latents = mean + std * vae_noise
        if (device := latents.device) not in self._scaled:
            shift, scale = self._scaling
            self._scaled[device] = None if shift is None else shift.to(device), scale.to(device)
        shift, scale = self._scaled[device]
        return (latents if shift is None else latents - shift) * scale

    def loss(
        self,
        latents: Tensor,
        noise: Tensor,
        times: Tensor,
        conditioning: Conditioning,
        mask: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """The training objective of each sample, (B,) float32, never reduced over samples.

        The squared error of the prediction, mean over channels and pixels, with the path's weight.

        Args:
            latents: (B, C, h, w), as `sample_latents` gives them.
            noise: of the same shape.
            times: (B,), of the path.
            conditioning: one row per sample.
            mask: (B, 1, h, w) is 1 where a latent counts, 0 where it does not.
            places: (B, 4), see `predict`; None: photographs of just this size.
        """
        noisy = self.path.noisy(latents, noise, times)
        device, (dtype, mixed) = self.device, self._types()
        if places is None:
            whole = torch.tensor([self.resolution, self.resolution, 0, 0])
            places = whole.expand(len(latents), 4)
        told = {
            name: each.to(device, dtype if each.is_floating_point() else None)
            for name, each in conditioning.items()
        }
        # Weights that are trained stay in float32 and are cast where they are used. Where all are
        # of one type, the autocast of whoever calls, if any, is let be.
        mixed = mixed and dtype != torch.float32
        with (
            torch.autocast(device.type, dtype) if mixed else nullcontext(),
            self.fast(len(noisy)) if self.fast else nullcontext(),
        ):
            prediction = self.predict(noisy.to(dtype), times, told, uploaded(places, device))
        if prediction.shape[1] == 2 * latents.shape[1]:
            prediction = prediction.chunk(2, dim=1)[0]  # the other half is a learned variance
        target = self.path.target(latents, noise, times)
        errors = (prediction.float() - target.float()).square()
        if mask is None:
            losses = errors.flatten(1).mean(1)
        else:
            counted = mask.flatten(1).sum(1) * errors.shape[1]
            losses = (errors * mask).flatten(1).sum(1) / counted
        weights = self.path.weights(times)
        return losses if weights is None else losses * weights

    @cached_property
    def stock(self) -> Any:
        """The stock pipeline around these very modules, with the model's own sampler."""
        kind = getattr(diffusers, self.pipeline_name)
        parts = dict(self.parts)
        scheduler = parts["scheduler"]
        parts["scheduler"] = type(scheduler).from_config(scheduler.config)
        missing = {name: None for name in (*self.part_names(), *self.optional) if name not in parts}
        with _no_bars():
            return kind(**parts, **missing, **self.pipeline_options())

    def pipeline_options(self) -> dict[str, Any]:
        """What the pipeline's constructor takes beside its parts."""
        return {}

    def drawing_options(self, captions: Sequence[str], guidance: float) -> dict[str, Any]:
        """What the pipeline takes when it draws pictures, beside steps and generators."""
        skip = {} if self.clip_skip is None else {"clip_skip": self.clip_skip}
        sides = {"height": self.resolution, "width": self.resolution}
        return {"prompt": list(captions), "guidance_scale": guidance} | sides | skip


def scaling_of(config: Any) -> tuple[Tensor | None, Tensor]:
    """What is subtracted of a VAE's latents, and by what they are then multiplied.

    Numbers for all channels, or (1, C, 1, 1); None where nothing is subtracted.
    """
    scale = torch.tensor(float(config.scaling_factor))
    means, stds = (getattr(config, f"latents_{name}", None) for name in ("mean", "std"))
    if means is not None and stds is not None:
        by_channel = (torch.tensor(each, dtype=torch.float32) for each in (means, stds))
        mean, std = (each.view(1, -1, 1, 1) for each in by_channel)
        return mean, scale / std
    shift = getattr(config, "shift_factor", None)
    return None if shift is None else torch.tensor(float(shift)), scale


def scheduler_config(scheduler: Any) -> dict[str, Any]:
    """A scheduler's configuration with its class, which those that were not loaded leave out."""
    return dict(scheduler.config) | {"_class_name": type(scheduler).__name__}


def unwrapped(module: Any) -> Any:
    """The module inside of DistributedDataParallel and torch.compile.

    It has a configuration, and computes without the other processes and without compiling anew.
    """
    for name in ("module", "_orig_mod"):
        if isinstance(inner := getattr(module, name, None), torch.nn.Module):
            return unwrapped(inner)
    return module


def trains(module: Any) -> bool:
    """Whether any weight of a module is trained."""
    return any(weight.requires_grad for weight in module.parameters())


def type_of(module: Any, name: str, dtype: torch.dtype) -> torch.dtype:
    """What a weight is in where its module is in `dtype`.

    In float16, transformers keeps some in float32: of a T5 the last layers of its feed-forwards,
    whose sums exceed what float16 holds.
    """
    kept = getattr(module, "_keep_in_fp32_modules", None) or ()
    exact = dtype == torch.float16 and not set(name.split(".")).isdisjoint(kept)
    return torch.float32 if exact else dtype


def uploaded(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; to a GPU from pinned memory, so that nobody waits for it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


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
