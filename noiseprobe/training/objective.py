"""From what was drawn to a loss: photographs and noise become latents, latents become losses."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Reporter
from noiseprobe.draws.draws import Batch, Draws, Stream
from noiseprobe.models.base import Conditioning, DiffusionModel, device_of, uploaded
from noiseprobe.pictures.photographs import Photograph
from noiseprobe.training.cache import Cache, Kept, fingerprint, key_of
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.team import ALONE, Team
from noiseprobe.training.views import Look

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """What of B samples goes into the loss, beside their captions; on the model's device.

    `latents` and `noise` are (B, C, h, w), `times` (B,), `places` (B, 4), `mask` (B, 1, h, w) or
    None.
    """

    latents: Tensor
    noise: Tensor
    times: Tensor
    places: Tensor
    mask: Tensor | None


class Objective:
    """The training objective of one model on one set of photographs.

    The VAE is frozen, so that the posteriors of all views of all photographs are computed once:
    `mean` and `std` are (views, photographs, C, h, w) float32, `places` (views, photographs, 4).

    Args:
        model: of which the VAE is asked here, where it is.
        photographs: what is seen.
        look: how.
        conditioner: encodes captions; by default each time anew.
        cache: keeps what was encoded, under `name`; photographs are then paths.
        name: what this is in the cache.
        written: the caption of each photograph, where each has its own.
    """

    def __init__(
        self,
        model: DiffusionModel,
        photographs: Sequence[Photograph],
        look: Look,
        conditioner: Conditioner | None = None,
        cache: Cache | None = None,
        name: str = "photographs",
        written: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.written = written
        self.names = [name_of(each, number) for number, each in enumerate(photographs)]
        self.look = look
        self.conditioner = conditioner or Conditioner(model)
        key = posterior_key(model, photographs, look) if cache else ""
        kept = cache.taken(name, key) if cache else None
        if kept is None:
            kept = seen(model, photographs, look)
            if cache:
                cache.keep(name, key, kept)
        device = device_of(model.vae)
        self.mean, self.std = kept.tensors["mean"].to(device), kept.tensors["std"].to(device)
        self.places = kept.tensors["places"].to(device)
        self.prefixes: list[list[str]] = kept.told
        mask = kept.tensors.get("mask")
        self.mask: Tensor | None = None if mask is None else mask.to(device)

    def draws(self, seed: int, stream: Stream, num_captions: int) -> Draws:
        """The draws of one stream, for this model's latents and these photographs.

        Where each photograph has its own caption, none is drawn.
        """
        return Draws(
            seed=seed,
            stream=stream,
            num_images=self.mean.shape[1],
            num_captions=1 if self.written else num_captions,
            num_timesteps=self.model.path.num_timesteps,
            latent_shape=tuple(self.mean.shape[2:]),
            view_shares=self.look.shares,
            times=self.model.path.times,
            grid=self.model.path.grid,
        )

    def captions(self, batch: Batch, templates: Sequence[str]) -> list[str]:
        """The caption of each sample: its template, after what its view puts before it.

        Or the photograph's own, where each has one.
        """
        own = self.written
        return [
            self.prefixes[image][view] + (own[image] if own else templates[caption])
            for image, view, caption in zip(batch.images, batch.views, batch.captions, strict=True)
        ]

    def losses(
        self, batch: Batch, captions: Sequence[str], conditioner: Conditioner | None = None
    ) -> Tensor:
        """The loss of each sample under its own caption, (B,) float32.

        `conditioner` takes the place of the objective's own, where it is given.
        """
        conditioning = (conditioner or self.conditioner)(captions)
        return _loss(self.model, self.inputs(batch), conditioning)

    def inputs(self, batch: Batch) -> Inputs:
        """What was drawn, as the loss takes it."""
        device, there = self.model.device, self.mean.device
        drawn = torch.from_numpy(batch.views), torch.from_numpy(batch.images)
        chosen = tuple(uploaded(each, there) for each in drawn)
        mean, std = self.mean[chosen].to(device), self.std[chosen].to(device)
        vae_noise = uploaded(torch.from_numpy(batch.vae_noise), device)
        timesteps = torch.from_numpy(batch.timesteps)
        if timesteps.is_floating_point():
            timesteps = timesteps.float()  # not all devices have float64
        return Inputs(
            latents=self.model.sample_latents(mean, std, vae_noise),
            noise=uploaded(torch.from_numpy(batch.noise), device),
            times=uploaded(timesteps, device),
            places=self.places[chosen],
            mask=None if self.mask is None else self.mask[chosen].to(device),
        )

    def every_caption(self, templates: Sequence[str]) -> list[str]:
        """Each caption that `captions` can give."""
        prefixes = dict.fromkeys(prefix for own in self.prefixes for prefix in own)
        return [prefix + template for prefix in prefixes for template in self.written or templates]


def losses_together(parts: Sequence[tuple[Objective, Batch, Sequence[str]]]) -> Tensor:
    """The losses of several objectives of one model in one pass, in the order of their samples.

    Captions are encoded by the conditioner of the first.
    """
    first = parts[0][0]
    conditioning = first.conditioner([caption for *_, own in parts for caption in own])
    return _loss(
        first.model, _joined([each.inputs(batch) for each, batch, _ in parts]), conditioning
    )


def _joined(inputs: Sequence[Inputs]) -> Inputs:
    """One after the other; where some have a mask, the loss counts everywhere of the others."""
    masks = [each.mask for each in inputs]
    if any(mask is not None for mask in masks):
        masks = [
            torch.ones_like(each.latents[:, :1]) if each.mask is None else each.mask
            for each in inputs
        ]
    together = {
        name: torch.cat([getattr(each, name) for each in inputs])
        for name in ("latents", "noise", "times", "places")
    }
    mask = torch.cat([mask for mask in masks if mask is not None]) if masks[0] is not None else None
    return Inputs(**together, mask=mask)


def _loss(model: DiffusionModel, inputs: Inputs, conditioning: Conditioning) -> Tensor:
    return model.loss(
        inputs.latents, inputs.noise, inputs.times, conditioning, inputs.mask, inputs.places
    )


def seen(model: DiffusionModel, photographs: Sequence[Photograph], look: Look) -> Kept:
    """All views of the photographs: `mean`, `std`, `places` and, where there is one, `mask`.

    What is told are the prefixes of captions, by photograph and view.
    """
    means, stds, masks, places = [], [], [], []
    prefixes: list[list[str]] = []
    for number, photograph in enumerate(photographs):
        views = look(number, photograph)
        mean, std = model.encode_images(torch.stack([view.pixels for view in views]))
        if not (mean.isfinite().all() and std.isfinite().all()):
            dtype = str(next(model.vae.parameters()).dtype).removeprefix("torch.")
            raise UserError(
                f"--vae: what it makes of {name_of(photograph, number)} is not finite (it is in "
                f"{dtype}); give another autoencoder, or leave the photograph out"
            )
        means.append(mean)
        stds.append(std)
        masks += [view.mask for view in views if view.mask is not None]
        places.append(torch.tensor([view.place for view in views]))
        prefixes.append([f"{view.prefix} ".lstrip() for view in views])
    tensors = {
        "mean": torch.stack(means, 1),
        "std": torch.stack(stds, 1),
        "places": torch.stack(places, 1),
    }
    if masks:
        count = len(prefixes[0])
        stacked = torch.stack(masks).unflatten(0, (len(photographs), count))
        tensors["mask"] = stacked.transpose(0, 1)
    return Kept(tensors, prefixes)


def name_of(photograph: Photograph, number: int) -> str:
    """What a person calls a photograph: its file, or its number where it is a picture."""
    return f"'{photograph.name}'" if isinstance(photograph, Path) else f"picture {number}"


def posterior_key(model: DiffusionModel, photographs: Sequence[Photograph], look: Look) -> str:
    """What `seen` depends on, in short. The photographs are paths."""
    files = [each.read_bytes() for each in photographs if isinstance(each, Path)]
    vae = model.vae
    return key_of(type(vae).__name__, repr(vae.config), fingerprint(vae), repr(look), *files)


@dataclass
class MicroBatches:
    """How many samples the denoiser takes at once where none is trained on.

    The loss is one number per sample, so that how a batch is cut changes it by float rounding
    alone. `size` halves where memory is short, which is said once.
    """

    size: int
    reporter: Reporter
    said: bool = False
    team: Team = ALONE

    @classmethod
    def of(cls, model: DiffusionModel, size: int | None, reporter: Reporter) -> "MicroBatches":
        """As many as asked for, or by the size of the model and the device."""
        if size is None:
            billions = sum(weight.numel() for weight in model.denoiser.parameters()) / 1e9
            size = 64 if billions < 0.1 else 8 if model.device.type == "cpu" or billions > 2 else 16
        return cls(size, reporter)

    def losses(self, batch: Batch, evaluate: Callable[[Batch], Tensor]) -> Tensor:
        """The losses (B,) of a batch, evaluated in parts that fit, by all of the team."""
        done: list[Tensor] = []
        own, first = batch[self.team.share(len(batch))], 0
        while first < len(own):
            part = own[first : first + self.size]
            try:
                done.append(evaluate(part))
                first += len(part)
            except RuntimeError as error:
                if not _out_of_memory(error) or len(part) == 1:
                    raise
                self.size = len(part) // 2
                if not self.said:
                    self.reporter.note(
                        f"memory is short: {self.size} samples at once, not {len(part)}; "
                        f"--micro-batch {self.size} says so from the start"
                    )
                self.said = True
        return self.team.gathered(torch.cat(done) if done else torch.zeros(0), len(batch))


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether there was too little memory, on a GPU, on Apple's, or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        "out of memory" in str(error) or "can't allocate memory" in str(error)
    )


def ahead(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The items, up to `depth` of them prepared on another thread while those before are used."""
    with ThreadPoolExecutor(1) as thread:
        rest = iter(items)
        coming = deque(thread.submit(_taken, rest) for _ in range(depth + 1))
        while taken := coming.popleft().result():
            coming.append(thread.submit(_taken, rest))
            yield from taken


def _taken(rest: Iterator[T]) -> list[T]:
    return list(islice(rest, 1))
