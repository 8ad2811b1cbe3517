"""Drawing with a live model: what a picture depends on, and that it is the stock pipeline's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from noiseprobe.models import load_model
from noiseprobe.models.base import PRECISIONS, DiffusionModel
from noiseprobe.pictures.sampling import Sampler

CAPTIONS = ["a photo of a dog", "a photo of the nice dog", "a rendering of a dog"]


@pytest.fixture
def model(model_directory: Path) -> DiffusionModel:
    return load_model(str(model_directory), "cpu")


def test_a_picture_depends_on_its_seed_and_place_alone(model: DiffusionModel) -> None:
    sampler = Sampler(model, steps=2)
    together = sampler.draw(CAPTIONS, 3)
    apart = sampler.draw(CAPTIONS, 3, batch=1)
    for one, other in zip(together, apart, strict=True):
        # Sums over a batch of another size round differently: one level of 255 at most.
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
    assert sampler.draw(CAPTIONS, 4)[0] != together[0]
    torch.manual_seed(99)
    assert sampler.draw(CAPTIONS, 3) == together


def test_it_draws_what_the_stock_pipeline_draws(
    model: DiffusionModel, model_directory: Path
) -> None:
    ours = Sampler(model, steps=3, guidance=5.0).draw(CAPTIONS[:1], 0)[0]
    pipeline = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        CAPTIONS[0],
        num_inference_steps=3,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    assert ours == theirs


def test_drawing_leaves_training_as_it_was(model: DiffusionModel) -> None:
    torch.manual_seed(0)
    shape = (2, *model.latent_shape)
    batch = torch.randn(shape), torch.randn(shape), torch.tensor([20, 700])
    words = model.encode_captions(CAPTIONS[:2])
    before = model.loss(*batch, words)
    Sampler(model, steps=2).draw(CAPTIONS[:1], 0)
    assert torch.equal(model.loss(*batch, words), before)


def test_a_model_in_half_precision_draws(model_directory: Path) -> None:
    model = load_model(str(model_directory), "cpu", "bf16")
    (picture,) = Sampler(model, steps=2).draw(CAPTIONS[:1], 0)
    assert picture.size == (model.resolution, model.resolution)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-dev", "sana", "pixart-sigma"])
def test_in_half_precision_the_denoiser_draws_and_each_other_part_keeps_its_own(
    small_models: Callable[[str], Path], name: str
) -> None:
    # The sums of Sana's linear attention are NaN in float16.
    half = "bf16" if name == "sana" else "fp16"
    model = load_model(str(small_models(name)), "cpu", half)
    seen: dict[str, set[torch.dtype]] = {"denoiser": set(), "decoder": set()}
    for of, part in (("denoiser", model.denoiser), ("decoder", model.vae.decoder)):
        for layer in part.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.register_forward_hook(lambda *told, of=of: seen[of].add(told[2].dtype))
    Sampler(model, steps=1).draw(CAPTIONS[:1], 0)
    assert seen == {"denoiser": {PRECISIONS[half]}, "decoder": {torch.float32}}
    assert "forward" not in vars(model.denoiser)
    assert "decode" not in vars(model.vae)
