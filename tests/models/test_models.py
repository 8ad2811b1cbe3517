"""Stable Diffusion behind the model interface, held against the stock classes."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from noiseprobe.core.errors import UserError
from noiseprobe.models import load_model
from noiseprobe.models.base import DiffusionModel
from noiseprobe.models.noise_paths import Diffusion
from noiseprobe.models.stable_diffusion import StableDiffusion
from noiseprobe.pictures.sampling import Sampler


def drawn(model: DiffusionModel, count: int = 4) -> tuple[Any, ...]:
    random = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, count, *model.latent_shape, generator=random)
    timesteps = torch.tensor([0, 300, 600, 999])[:count]
    captions = [f"a photo of a {word}" for word in ("dog", "nice dog", "cool dog", "dirty dog")]
    return latents, noise, timesteps, model.encode_captions(captions[:count])


@pytest.fixture
def stock(model_directory: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)


@torch.no_grad()
def test_conditioning_is_that_of_the_stock_pipeline(
    model: StableDiffusion, stock: StableDiffusionPipeline
) -> None:
    captions = ["a photo of a dog", "a close-up photo of the weird dog"]
    ours = model.encode_captions(captions)
    theirs = stock.encode_prompt(captions, "cpu", 1, do_classifier_free_guidance=False)[0]
    assert torch.equal(ours["words"], theirs)


@torch.no_grad()
def test_latents_are_the_scaled_posterior_sample(
    model: StableDiffusion, stock: StableDiffusionPipeline
) -> None:
    pixels = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = model.encode_images(pixels)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5))
    ours = model.sample_latents(mean, std, noise)
    theirs = stock.vae.encode(pixels).latent_dist.sample(torch.Generator().manual_seed(5))
    torch.testing.assert_close(ours, theirs * stock.vae.config.scaling_factor, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_the_published_objective_for_each_sample(
    model: StableDiffusion, stock: StableDiffusionPipeline, kind: str
) -> None:
    betas = DDPMScheduler.from_config(stock.scheduler.config, prediction_type=kind)
    model.path = Diffusion(betas)
    latents, noise, timesteps, conditioning = drawn(model)
    losses = model.loss(latents, noise, timesteps, conditioning)
    kept = betas.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    target = {
        "epsilon": noise,
        "v_prediction": kept.sqrt() * noise - (1 - kept).sqrt() * latents,
        "sample": latents,
    }[kind]
    assert losses.dtype == torch.float32
    for row in range(4):
        one = slice(row, row + 1)
        predicted = stock.unet(noisy[one], timesteps[one], conditioning["words"][one]).sample
        assert losses[row].item() == pytest.approx(F.mse_loss(predicted, target[one]).item(), 1e-4)


@torch.no_grad()
def test_lower_precision_stays_close_and_returns_float32(model_directory: Path) -> None:
    full = load_model(str(model_directory), "cpu")
    half = load_model(str(model_directory), "cpu", "bf16")
    exact = full.loss(*drawn(full))
    rounded = half.loss(*drawn(half))
    assert half.dtype == torch.bfloat16
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(exact, rounded, rtol=0.05, atol=0.01)


def test_everything_is_frozen_and_the_geometry_is_read(model: StableDiffusion) -> None:
    modules = (model.denoiser, model.vae, model.encoders[0].module)
    assert not any(p.requires_grad for module in modules for p in module.parameters())
    assert not any(module.training for module in modules)
    assert model.latent_shape == (4, 16, 16)
    assert model.resolution == 64
    assert model.path.num_timesteps == 1000


def broken(model_directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_directory, tmp_path / "broken")


@pytest.mark.parametrize("part", ["vae", "unet", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(model_directory: Path, tmp_path: Path, part: str) -> None:
    directory = broken(model_directory, tmp_path)
    shutil.rmtree(directory / part)
    with pytest.raises(UserError, match=f"lacks the folder '{part}/'"):
        load_model(str(directory), "cpu")


def test_missing_weights_are_named(model_directory: Path, tmp_path: Path) -> None:
    directory = broken(model_directory, tmp_path)
    for weights in (directory / "unet").glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(UserError, match=r"cannot load .*unet"):
        load_model(str(directory), "cpu")


def rewritten(file: Path, wrong: str) -> str:
    """Spoil weights of a file, six of them or all of it; the first one's name."""
    weights = load_file(file)
    spoiled = sorted(weights)[:6]
    for name in spoiled:
        if wrong == "missing":
            del weights[name]
        else:
            weights[name] = torch.zeros([size + 1 for size in weights[name].shape])
    save_file(weights, file, metadata={"format": "pt"})
    if wrong == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    return "" if wrong == "cut" else spoiled[0]


@pytest.mark.parametrize("wrong", ["missing", "mismatched", "cut"])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_would_be_random_are_refused_in_one_line(
    model_directory: Path, tmp_path: Path, part: str, wrong: str
) -> None:
    directory = broken(model_directory, tmp_path)
    key = rewritten(next((directory / part).glob("*.safetensors")), wrong)
    with pytest.raises(UserError, match=f"--model: cannot load .*/{part} .*{key}") as error:
        load_model(str(directory), "cpu")
    assert "\n" not in str(error.value)


def index_of(directory: Path, **changes: Any) -> None:
    path = directory / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_family_a_folder_without_index_and_no_model_are_refused(
    model_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = broken(model_directory, tmp_path)
    index_of(directory, _class_name="WuerstchenPipeline")
    with pytest.raises(UserError, match="is a WuerstchenPipeline, which is not known; known are"):
        load_model(str(directory), "cpu")
    with pytest.raises(UserError, match=r"no model_index\.json"):
        load_model(str(tmp_path), "cpu")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="no directory here and cannot be had"):
        load_model("nobody/nothing", "cpu")


@pytest.mark.parametrize(
    ("device", "precision", "named"),
    [("cuda:99", "fp32", "--device"), ("toaster", "fp32", "--device"), ("cpu", "fp8", "--prec")],
)
def test_a_device_or_precision_that_is_not_there_is_refused(
    model_directory: Path, device: str, precision: str, named: str
) -> None:
    with pytest.raises(UserError, match=named):
        load_model(str(model_directory), device, precision)


@torch.no_grad()
def test_skipped_layers_of_the_text_encoder_are_left_out() -> None:
    model = load_model("tiny-sd", "cpu", clip_skip=1)
    captions = ["a photo of a dog", "a cool dog"]
    ours = model.encode_captions(captions)["words"]
    encoder = copy.deepcopy(model.encoders[0].module)
    del encoder.encoder.layers[-1:]
    tokens = model.encoders[0].tokenizer(
        captions, padding="max_length", truncation=True, return_tensors="pt"
    )
    assert torch.equal(ours, encoder(tokens.input_ids)[0])
    picture, usual = (
        Sampler(each, steps=2).draw(captions[:1], 0)[0]
        for each in (model, load_model("tiny-sd", "cpu"))
    )
    assert picture.tobytes() != usual.tobytes()


def test_a_text_encoder_keeps_a_layer(model_directory: Path) -> None:
    with pytest.raises(UserError, match="--clip-skip: 9 given, but the text encoder has"):
        load_model(str(model_directory), "cpu", clip_skip=9)
