"""Every family's losses, held against the stock pipeline's own calls.

What is expected is computed here from the pipeline's `encode_prompt`, autoencoder, scheduler and
denoiser, by the formula of diffusers' training script of the family.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    StableDiffusionPipeline,
)
from diffusers.training_utils import compute_loss_weighting_for_sd3, compute_snr
from PIL import Image
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.draws.draws import Batch
from noiseprobe.models import load_model
from noiseprobe.models.base import scaling_of
from noiseprobe.models.noise_paths import Flow
from noiseprobe.models.wrapping import wrap
from noiseprobe.training.objective import Objective
from noiseprobe.training.views import Flips
from tests.conftest import Models
from tests.models.small import SMALL

NAMES = ("sd", *SMALL)
SIDE = 64
CAPTIONS = ["a photo of a dog", "a rendering of a cool dog", "a dark photo of the dog"]
SIZES = torch.tensor([[80, 96, 0, 6], [64, 64, 0, 0], [120, 70, 23, 0]])
GAMMA = 2.0

PREDICTIONS: dict[str, Callable[[], Any]] = {
    "epsilon": lambda: DDPMScheduler(prediction_type="epsilon", beta_schedule="scaled_linear"),
    "v_prediction": lambda: DDPMScheduler(prediction_type="v_prediction"),
    "sample": lambda: DDPMScheduler(prediction_type="sample"),
    "flow": lambda: FlowMatchEulerDiscreteScheduler(shift=2.0),
}
WEIGHTINGS = [
    *(
        (kind, each)
        for kind in ("epsilon", "v_prediction", "sample")
        for each in ("none", "min-snr")
    ),
    *(("flow", each) for each in ("none", "sigma-sqrt", "cosmap", "preconditioned")),
]


@pytest.fixture(scope="module")
def stock(small_models: Models) -> Callable[[str], Any]:
    """The stock pipeline of each family, loaded once."""
    loaded: dict[str, Any] = {}

    def pipeline(name: str) -> Any:
        if name not in loaded:
            loaded[name] = DiffusionPipeline.from_pretrained(small_models(name))
        return loaded[name]

    return pipeline


def drawn(pipeline: Any) -> dict[str, Tensor]:
    """Photographs, and the noises of a batch of three."""
    random = torch.Generator().manual_seed(1)
    pixels = torch.rand(3, 3, SIDE, SIDE, generator=random) * 2 - 1
    with torch.no_grad():
        shape = encoded(pipeline, pixels, None).shape
    vae_noise, noise = torch.randn(2, *shape, generator=random)
    return {"pixels": pixels, "vae_noise": vae_noise, "noise": noise}


def encoded(pipeline: Any, pixels: Tensor, vae_noise: Tensor | None) -> Tensor:
    """The scaled latents, as the scripts make them."""
    found = pipeline.vae.encode(pixels)
    config = pipeline.vae.config
    if not hasattr(found, "latent_dist"):
        return found.latent * config.scaling_factor
    mean, std = found.latent_dist.mean, found.latent_dist.std
    latents = mean if vae_noise is None else mean + std * vae_noise
    return (latents - (config.get("shift_factor") or 0.0)) * config.scaling_factor


def predicted(pipeline: Any, name: str, noisy: Tensor, times: Tensor) -> Tensor:
    """What the family's denoiser says, called as in its script."""
    many, one = (
        {"device": "cpu", "num_images_per_prompt": 1},
        {"do_classifier_free_guidance": False},
    )
    if name == "sd":
        words, _ = pipeline.encode_prompt(CAPTIONS, **many, **one)
        return pipeline.unet(noisy, times, words).sample
    if name == "sdxl":
        words, _, pooled, _ = pipeline.encode_prompt(CAPTIONS, **many, **one)
        ids = torch.cat([SIZES, torch.full((3, 2), SIDE)], 1).float()
        beside = {"text_embeds": pooled, "time_ids": ids}
        return pipeline.unet(noisy, times, words, added_cond_kwargs=beside).sample
    if name == "sd3":
        words, _, pooled, _ = pipeline.encode_prompt(
            CAPTIONS, CAPTIONS, CAPTIONS, max_sequence_length=77, **many, **one
        )
        return pipeline.transformer(noisy, words, pooled, times).sample
    if name.startswith("flux"):
        guided = name == "flux-dev"
        words, pooled, text_ids = pipeline.encode_prompt(
            CAPTIONS, CAPTIONS, max_sequence_length=512 if guided else 256, **many
        )
        _, channels, height, width = noisy.shape
        tokens = pipeline.transformer(
            FluxPipeline._pack_latents(noisy, 3, channels, height, width),
            encoder_hidden_states=words,
            pooled_projections=pooled,
            timestep=times / 1000,
            img_ids=FluxPipeline._prepare_latent_image_ids(
                3, height // 2, width // 2, "cpu", torch.float32
            ),
            txt_ids=text_ids,
            guidance=torch.tensor([3.5]).expand(3) if guided else None,
        ).sample
        return FluxPipeline._unpack_latents(tokens, SIDE, SIDE, pipeline.vae_scale_factor)
    words, mask, _, _ = pipeline.encode_prompt(CAPTIONS, **many, **one)
    more = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}
    found = pipeline.transformer(
        noisy,
        encoder_hidden_states=words,
        encoder_attention_mask=mask,
        timestep=times,
        **(more if name == "pixart-sigma" else {}),
    ).sample
    return found.chunk(2, dim=1)[0] if name == "pixart-sigma" else found


def expected(
    pipeline: Any, name: str, batch: dict[str, Tensor], times: Tensor, weighting: str
) -> Tensor:
    """The loss of each sample, by the scripts."""
    latents, noise = encoded(pipeline, batch["pixels"], batch["vae_noise"]), batch["noise"]
    scheduler = pipeline.scheduler
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        sigmas = (times / 1000).view(-1, 1, 1, 1)
        noisy = (1.0 - sigmas) * latents + sigmas * noise
        found, target = predicted(pipeline, name, noisy, times), noise - latents
        if weighting == "preconditioned":
            found, target = found * -sigmas + noisy, latents
        scheme = weighting.replace("-", "_")
        weights = compute_loss_weighting_for_sd3(scheme, sigmas)
        return (weights * (found - target) ** 2).reshape(3, -1).mean(1)
    noisy = scheduler.add_noise(latents, noise, times)
    kind = scheduler.config.prediction_type
    target = {
        "epsilon": lambda: noise,
        "v_prediction": lambda: scheduler.get_velocity(latents, noise, times),
        "sample": lambda: latents,
    }[kind]()
    losses = (predicted(pipeline, name, noisy, times) - target).square().mean((1, 2, 3))
    if weighting == "none":
        return losses
    snr = compute_snr(scheduler, times)
    weights = torch.stack([snr, GAMMA * torch.ones_like(times)], dim=1).min(dim=1)[0]
    by = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[kind]
    return losses * weights / by


@torch.no_grad()
@pytest.mark.parametrize(("prediction", "weighting"), WEIGHTINGS)
@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_the_stock_pipelines_own_calls(
    stock: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    prediction: str,
    weighting: str,
) -> None:
    pipeline = stock(name)
    monkeypatch.setattr(pipeline, "scheduler", PREDICTIONS[prediction]())
    batch = drawn(pipeline)
    options = {"snr_gamma": GAMMA} if weighting == "min-snr" else {}
    model = wrap(pipeline, resolution=SIDE, weighting=weighting, **options)
    times = torch.from_numpy(model.path.times(torch.tensor([0.1, 0.55, 0.98]).double().numpy()))
    if times.is_floating_point():
        times = times.float()
    latents = model.sample_latents(*model.encode_images(batch["pixels"]), batch["vae_noise"])
    found = model.loss(
        latents, batch["noise"], times, model.encode_captions(CAPTIONS), places=SIZES
    )
    assert found.dtype == torch.float32
    stated = expected(pipeline, name, batch, times, weighting)
    torch.testing.assert_close(found, stated, rtol=1e-5, atol=0)
    assert len(set(found.tolist())) == 3


@pytest.mark.parametrize(
    ("name", "weighting", "density"),
    [
        *((name, "none", "uniform") for name in NAMES if name != "sd3"),
        ("sd3", "preconditioned", "logit-normal"),
    ],
)
def test_usual_weights_and_times_are_those_of_the_familys_script(
    stock: Callable[[str], Any], name: str, weighting: str, density: str
) -> None:
    path = wrap(stock(name), resolution=SIDE).path
    assert (path.weighting, path.density) == (weighting, density)
    assert path.num_timesteps == stock(name).scheduler.config.num_train_timesteps


def reloaded(model_directory: Path, tmp_path: Path, scheduler: Any) -> Path:
    """The small Stable Diffusion with another scheduler, saved."""
    pipeline = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)
    pipeline.scheduler = scheduler
    pipeline.save_pretrained(tmp_path / "changed")
    return tmp_path / "changed"


def test_flow_matching_on_a_unet_is_read_as_a_flow(model_directory: Path, tmp_path: Path) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    model = load_model(str(reloaded(model_directory, tmp_path, scheduler)), "cpu")
    assert isinstance(model.path, Flow)
    assert model.path.shift == 2.0


def test_a_scheduler_without_a_path_is_refused_in_one_line(
    model_directory: Path, tmp_path: Path
) -> None:
    from diffusers import EDMEulerScheduler

    directory = reloaded(model_directory, tmp_path, EDMEulerScheduler())
    with pytest.raises(UserError, match="scheduler EDMEulerScheduler no noise path is known"):
        load_model(str(directory), "cpu")


def test_latents_are_scaled_by_channel_where_the_autoencoder_says_so(
    stock: Callable[[str], Any],
) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    config = dict(stock("sd").vae.config)
    config |= {"latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 4.0, 8.0]}
    shift, scale = scaling_of(type("Config", (), config))
    assert shift is not None
    mean, std = (torch.tensor(config[f"latents_{of}"]).view(1, 4, 1, 1) for of in ("mean", "std"))
    torch.testing.assert_close(
        (latents - shift) * scale, (latents - mean) * config["scaling_factor"] / std
    )


@torch.no_grad()
def test_an_autoencoder_that_draws_nothing_has_no_deviation(stock: Callable[[str], Any]) -> None:
    pixels = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = wrap(stock("sana")).encode_images(pixels)
    alone = [stock("sana").vae.encode(each[None]).latent for each in pixels]
    torch.testing.assert_close(mean, torch.cat(alone))
    assert not std.any()


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_half_precision_stays_close(small_models: Models, name: str) -> None:
    def losses(precision: str) -> Tensor:
        model = load_model(str(small_models(name)), "cpu", precision, resolution=SIDE)
        random = torch.Generator().manual_seed(2)
        latents, noise = torch.randn(2, 3, *model.latent_shape, generator=random)
        times = torch.from_numpy(model.path.times(torch.tensor([0.2, 0.5, 0.9]).double().numpy()))
        return model.loss(latents, noise, times, model.encode_captions(CAPTIONS))

    rounded = losses("bf16")
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(losses("fp32"), rounded, rtol=0.05, atol=0.01)


def script_place(size: tuple[int, ...], crop: bool) -> list[int]:
    """Size and crop as SDXL's scripts have them: those of DreamBooth crop, inversion squeezes."""
    width, height = size
    if not crop:
        return [height, width, 0, 0]
    shorter, longer = sorted((width, height))
    long = int(SIDE * longer / shorter)  # torchvision's resizing of the shorter side
    tall, wide = (SIDE, long) if width >= height else (long, SIDE)
    return [height, width, *(max(0, round((side - SIDE) / 2.0)) for side in (tall, wide))]


@torch.no_grad()
@pytest.mark.parametrize("crop", [True, False])
def test_sdxl_is_told_the_sizes_and_crops_of_photographs(
    stock: Callable[[str], Any], tmp_path: Path, crop: bool
) -> None:
    sizes = [(96, 80), (70, 131), (64, 64), (201, 67)]
    photographs = []
    for number, size in enumerate(sizes):
        path = tmp_path / f"{number}.jpg"
        exif = Image.Exif()
        if number == 1:
            exif[0x0112] = 6  # lies on its side
        Image.new("RGB", size, (90, 40 * number, 10)).save(path, exif=exif)
        photographs.append(path)
    model = wrap(stock("sdxl"))
    objective = Objective(model, photographs, Flips(SIDE, crop))
    batch = objective.draws(0, "train", 1).batch(range(8), 1)
    told: list[Tensor] = []

    def listen(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        told.append(kwargs["added_cond_kwargs"]["time_ids"])

    hook = model.denoiser.register_forward_pre_hook(listen, with_kwargs=True)
    objective.losses(batch, CAPTIONS[:1] * 8)
    hook.remove()
    shown = [size[::-1] if number == 1 else size for number, size in enumerate(sizes)]
    expected_ids = [[*script_place(shown[image], crop), SIDE, SIDE] for image in batch.images]
    assert isinstance(batch, Batch)
    assert len(set(batch.images.tolist())) > 2
    assert told[0].tolist() == expected_ids
