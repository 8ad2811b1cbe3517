"""From what was drawn to a loss: photographs and noise become latents, latents become losses."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from noiseprobe.core.progress import Reporter
from noiseprobe.draws.draws import Batch, Draws, Stream
from noiseprobe.models.base import DiffusionModel
from noiseprobe.pictures.photographs import Photograph
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.views import Look

T = TypeVar("T")


class Objective:
    """The training objective of one model on one set of photographs.

    The VAE is frozen, so that the posteriors of all views of all photographs are computed once:
    `mean` and `std` are (views, photographs, C, h, w) float32, `places` (views, photographs, 4).
    `conditioner` encodes captions; by default each time anew.
    """

    def __init__(
        self,
        model: DiffusionModel,
        photographs: Sequence[Photograph],
        look: Look,
        conditioner: Conditioner | None = None,
    ) -> None:
        self.model = model
        self.look = look
        self.conditioner = conditioner or Conditioner(model)
        means, stds, masks, places = [], [], [], []
        self.prefixes: list[list[str]] = []
        for number, photograph in enumerate(photographs):
            views = look(number, photograph)
            mean, std = model.encode_images(torch.stack([view.pixels for view in views]))
            means.append(mean)
            stds.append(std)
            masks += [view.mask for view in views if view.mask is not None]
            places.append(torch.tensor([view.place for view in views]))
            self.prefixes.append([f"{view.prefix} ".lstrip() for view in views])
        self.mean, self.std = torch.stack(means, 1), torch.stack(stds, 1)
        self.places = torch.stack(places, 1)
        count, photos = self.mean.shape[:2]
        self.mask: Tensor | None = None
        if masks:
            stacked = torch.stack(masks).unflatten(0, (photos, count)).transpose(0, 1)
            self.mask = stacked.to(self.mean.device)

    def draws(self, seed: int, stream: Stream, num_captions: int) -> Draws:
        """The draws of one stream, for this model's latents and these photographs."""
        return Draws(
            seed=seed,
            stream=stream,
            num_images=self.mean.shape[1],
            num_captions=num_captions,
            num_timesteps=self.model.path.num_timesteps,
            latent_shape=tuple(self.mean.shape[2:]),
            view_shares=self.look.shares,
            times=self.model.path.times,
        )

    def captions(self, batch: Batch, templates: Sequence[str]) -> list[str]:
        """The caption of each sample: its template, after what its view puts before it."""
        return [
            self.prefixes[image][view] + templates[caption]
            for image, view, caption in zip(batch.images, batch.views, batch.captions, strict=True)
        ]

    def losses(
        self, batch: Batch, captions: Sequence[str], conditioner: Conditioner | None = None
    ) -> Tensor:
        """The loss of each sample under its own caption, (B,) float32.

        `conditioner` takes the place of the objective's own, where it is given.
        """
        conditioning = (conditioner or self.conditioner)(captions)
        device = self.model.device
        chosen = torch.from_numpy(batch.views), torch.from_numpy(batch.images)
        mean, std = self.mean[chosen].to(device), self.std[chosen].to(device)
        vae_noise = torch.from_numpy(batch.vae_noise).to(device)
        latents = self.model.sample_latents(mean, std, vae_noise)
        noise = torch.from_numpy(batch.noise).to(device)
        timesteps = torch.from_numpy(batch.timesteps)
        if timesteps.is_floating_point():
            timesteps = timesteps.float()  # not all devices have float64
        timesteps = timesteps.to(device)
        mask = None if self.mask is None else self.mask[chosen].to(device)
        places = self.places[chosen]
        return self.model.loss(latents, noise, timesteps, conditioning, mask, places)


@dataclass
class MicroBatches:
    """How many samples the denoiser takes at once where none is trained on.

    The loss is one number per sample, so that how a batch is cut changes it by float rounding
    alone. `size` halves where memory is short, which is said once.
    """

    size: int
    reporter: Reporter
    said: bool = False

    @classmethod
    def of(cls, model: DiffusionModel, size: int | None, reporter: Reporter) -> "MicroBatches":
        """As many as asked for, or by the size of the model and the device."""
        if size is None:
            billions = sum(weight.numel() for weight in model.denoiser.parameters()) / 1e9
            size = 64 if billions < 0.1 else 8 if model.device.type == "cpu" or billions > 2 else 16
        return cls(size, reporter)

    def losses(self, batch: Batch, evaluate: Callable[[Batch], Tensor]) -> Tensor:
        """The losses (B,) of a batch, evaluated in parts that fit."""
        done: list[Tensor] = []
        first = 0
        while first < len(batch):
            part = batch[first : first + self.size]
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
        return torch.cat(done)


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
