"""The losses of one fixed batch under a model that someone else is training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.models.wrapping import wrap
from noiseprobe.pictures.photographs import Photograph, photographs_in
from noiseprobe.stopping.base import checked_whole
from noiseprobe.training.fixed_losses import FixedLosses
from noiseprobe.training.objective import MicroBatches, Objective
from noiseprobe.training.tracker import undisturbed
from noiseprobe.training.views import Flips


def fixed_losses(
    pipeline: Any,
    photographs: Path | str | Sequence[Path | str | Image.Image],
    prompt: str | Sequence[str],
    size: int = 16,
    seed: int = 0,
    *,
    resolution: int | None = None,
    center_crop: bool = True,
    flip: float = 0.5,
) -> Callable[[], Tensor]:
    """A callable for `noiseprobe.Tracker`: the losses of one fixed batch under the model as it is.

    The batch is stratified (`noiseprobe.draws.fixed_batch`): each of `size` equal parts of the
    timesteps has one sample; photographs and prompts are balanced. Of the same photographs,
    prompts, seed and size, the mean is the L_det of `noiseprobe train`.

    Photographs are encoded here, once; prompts at each call, for their encoder may be trained.
    Modules stay on their devices and in their precision, and may be moved, cast, wrapped by
    accelerate or given adapters later. They are evaluated without gradients, in evaluation mode,
    and under the autocast of whoever calls; nothing random, no mode and no gradient is changed.

    Args:
        pipeline: a pipeline of a known family (docs/models.md); or its parts, a mapping or an
            object that has them under the pipeline's names, as `tokenizer`, `text_encoder`, `vae`,
            `unet` and `scheduler`. Of the scheduler only the configuration is used.
        photographs: a folder, or paths or pictures.
        prompt: what photographs are trained with, or several templates, one of which is drawn.
        size: samples in the batch, at least 1.
        seed: of all draws.
        resolution: side of the square that photographs become, in pixels; by default the model's.
        center_crop: whether photographs are cropped to the square, or squeezed.
        flip: the share of samples that see their photograph mirrored, from 0 to 1.

    Returns:
        A callable without arguments, which gives the losses (B,) of the `size` samples, float64 on
        the CPU: mean squared errors over channels and pixels of the latents.

    Raises:
        UserError: a part is missing or of another family; there is no photograph or one that cannot
            be read; there is no prompt; a number is outside its range.

    Examples:
        >>> from diffusers import StableDiffusionPipeline
        >>> from noiseprobe.models import model_location
        >>> from noiseprobe.training.concept import BUNDLED_CONCEPTS
        >>> pipeline = StableDiffusionPipeline.from_pretrained(model_location("tiny-sd"))
        >>> folder = BUNDLED_CONCEPTS / "banded-cup"
        >>> losses = fixed_losses(pipeline, folder, "a photo of a cup", size=4)
        >>> losses().shape
        torch.Size([4])
    """
    checked_whole("size", size, 1, "samples")
    if not 0 <= flip <= 1:
        raise UserError(f"flip: {flip} given; it is a share, from 0 to 1")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or not all(isinstance(each, str) and each.strip() for each in prompts):
        raise UserError("prompt: it is empty; give the text that photographs are trained with")
    seen = _photographs(photographs)
    model = wrap(pipeline, resolution=resolution)
    with undisturbed((model.vae,)):
        look = Flips(model.resolution, center_crop, flip)
        objective = Objective(model, seen, look)
    model.vae = None  # which whoever trains may let go of as well
    del model.parts["vae"]
    draws = objective.draws(seed, "probe", len(prompts))
    batch = fixed_batch(draws, size, "stratified")
    losses = FixedLosses(objective, prompts, batch, MicroBatches.of(model, None, Silent()))

    def losses_now() -> Tensor:
        with undisturbed((*(each.module for each in model.encoders), model.denoiser)):
            return losses()

    return losses_now


def _photographs(given: Path | str | Sequence[Path | str | Image.Image]) -> list[Photograph]:
    if isinstance(given, Path | str):
        folder = Path(given)
        if not folder.is_dir():
            raise UserError(
                f"photographs: '{folder}' is no folder; give one, or a list of paths or pictures"
            )
        found = list[Photograph](photographs_in(folder))
        if not found:
            raise UserError(f"photographs: there are none in '{folder}'; put one or more there")
        return found
    listed = [Path(each) if isinstance(each, str) else each for each in given]
    if not listed:
        raise UserError("photographs: the list is empty; give one or more")
    return listed
