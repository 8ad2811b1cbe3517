"""From what was drawn to a loss: photographs and noise become latents, latents become losses."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from noiseprobe.concept import Concept, load_pixels
from noiseprobe.factors import Batch, Draws, Stream
from noiseprobe.models.base import DiffusionModel

T = TypeVar("T")


class Objective:
    """The training objective of one model on one concept's photographs.

    The VAE is frozen, so that the posteriors of all photographs, as they are and flipped, are
    computed once: `mean` and `std` are (2, photographs, C, h, w) float32.
    """

    def __init__(self, model: DiffusionModel, concept: Concept, center_crop: bool) -> None:
        self.model = model
        paths = concept.photographs
        pixels = torch.stack([load_pixels(path, model.resolution, center_crop) for path in paths])
        plain, flipped = model.encode_images(pixels), model.encode_images(pixels.flip(-1))
        self.mean = torch.stack([plain[0], flipped[0]])
        self.std = torch.stack([plain[1], flipped[1]])

    def draws(self, seed: int, stream: Stream, num_captions: int, flip: float) -> Draws:
        """The draws of one stream, for this model's latents and this concept's photographs."""
        return Draws(
            seed=seed,
            stream=stream,
            num_images=self.mean.shape[1],
            num_captions=num_captions,
            num_timesteps=self.model.num_train_timesteps,
            latent_shape=tuple(self.mean.shape[2:]),
            flip_probability=flip,
        )

    def losses(self, batch: Batch, conditioning: Tensor) -> Tensor:
        """The loss of each sample, (B,) float32; `conditioning` has one row per sample."""
        device = self.mean.device
        chosen = torch.from_numpy(batch.flips).long(), torch.from_numpy(batch.images)
        vae_noise = torch.from_numpy(batch.vae_noise).to(device)
        latents = self.model.sample_latents(self.mean[chosen], self.std[chosen], vae_noise)
        noise = torch.from_numpy(batch.noise).to(device)
        timesteps = torch.from_numpy(batch.timesteps).to(device)
        return self.model.loss(latents, noise, timesteps, conditioning)


def ahead(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The items, each prepared on another thread while the one before it is used."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    abandoned = threading.Event()

    def put(item: T | None, error: BaseException | None = None) -> None:
        while not abandoned.is_set():
            try:
                return ready.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def prepare() -> None:
        try:
            for item in items:
                put(item)
                if abandoned.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # handed to the thread that asked
            put(None, error)

    thread = threading.Thread(target=prepare, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        abandoned.set()
        thread.join()
