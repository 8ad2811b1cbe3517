"""Drawing pictures with a live model, by the stock pipeline."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import DiffusionModel
from noiseprobe.models.placing import placed


class BrokenPicture(UserError):
    """A picture that was drawn has a number that is not finite, which would pass for black."""


class Sampler:
    """Draws pictures with a model as it is now, whatever was trained in it or loaded since.

    The pipeline is the stock one, with the sampler that the model came with. On a CPU its pictures
    are bit for bit those of a stock pipeline that has loaded what was trained.
    """

    def __init__(self, model: DiffusionModel, steps: int = 25, guidance: float = 4.0) -> None:
        self.model = model
        self.steps = steps
        self.guidance = guidance
        self.pipeline = model.stock
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def draw(
        self, captions: Sequence[str], seed: int, batch: int = 8, first: int = 0
    ) -> list[Image.Image]:
        """One picture per caption.

        Picture i starts from noise that depends on `seed` and on its number `first` + i alone,
        drawn on the CPU, so that it is the same whatever is drawn beside it and on whatever device.

        Raises:
            BrokenPicture: a picture is NaN or infinite; it is named.
        """
        aside = [self.model.vae, *(each.module for each in self.model.encoders)]
        with placed(aside, self.model.device):
            return self._drawn(captions, seed, batch, first)

    def _drawn(
        self, captions: Sequence[str], seed: int, batch: int, first: int
    ) -> list[Image.Image]:
        pictures: list[Image.Image] = []
        for start in range(0, len(captions), batch):
            some = list(captions[start : start + batch])
            noise = [
                torch.Generator().manual_seed(seed * 1_000_003 + first + start + index)
                for index in range(len(some))
            ]
            with (
                contiguous(self.model.denoiser),
                each_in_its_own(self.model),
                watched(self.model.vae) as whole,
            ):
                pictures += self.pipeline(
                    num_inference_steps=self.steps,
                    generator=noise,
                    **self.model.drawing_options(some, self.guidance),
                ).images
            for index, fine in enumerate(torch.cat(whole).tolist()):
                if not fine:
                    raise BrokenPicture(
                        f"picture {first + start + index} of seed {seed}, '{some[index]}', is not "
                        "finite"
                    )
        return pictures


@contextmanager
def watched(vae: Any) -> Iterator[list[torch.Tensor]]:
    """Have the VAE say meanwhile, of each picture that it decodes, whether it is finite, (B,)."""
    found: list[torch.Tensor] = []
    decode = vae.decode

    def decoded(*given: Any, **named: Any) -> Any:
        pictures = decode(*given, **named)
        found.append(pictures[0].isfinite().flatten(1).all(1))
        return pictures

    with _replaced(vae, "decode", decoded):
        yield found


@contextmanager
def each_in_its_own(model: DiffusionModel) -> Iterator[None]:
    """Let the parts differ in precision meanwhile, which the stock pipeline expects them not to.

    The denoiser computes under autocast, and it alone: float16 is not enough to decode with the VAE
    of SDXL, nor for a T5.
    """
    if model.dtype == torch.float32:
        yield
        return
    vae, ask, decode = model.vae, model.denoiser.forward, model.vae.decode

    def asked(*given: Any, **named: Any) -> Any:
        with torch.autocast(model.device.type, model.dtype):
            return ask(*given, **named)

    def decoded(latents: Any, *given: Any, **named: Any) -> Any:
        return decode(latents.to(next(vae.parameters()).dtype), *given, **named)

    with _replaced(model.denoiser, "forward", asked), _replaced(vae, "decode", decoded):
        yield


@contextmanager
def _replaced(module: Any, name: str, by: Any) -> Iterator[None]:
    """Give a module another method meanwhile."""
    own = vars(module).get(name)
    setattr(module, name, by)
    try:
        yield
    finally:
        if own is None:
            delattr(module, name)
        else:
            setattr(module, name, own)


@contextmanager
def contiguous(module: Any) -> Iterator[None]:
    """Give the weights of a torch module the memory layout of a stock model meanwhile, if on a CPU.

    Channels-last convolutions are faster there, but round differently.
    """
    weights = [each for each in module.parameters() if each.ndim == 4]
    last = any(not each.is_contiguous() for each in weights)
    if not last or weights[0].device.type != "cpu":
        yield
        return
    module.to(memory_format=torch.contiguous_format)
    try:
        yield
    finally:
        module.to(memory_format=torch.channels_last)
