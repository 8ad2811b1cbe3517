"""The losses of a fixed batch under a pipeline that someone else trains."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image

from noiseprobe import Tracker, fixed_losses
from noiseprobe.core.errors import UserError
from noiseprobe.models.stable_diffusion import StableDiffusion
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start, train_stage

PROMPT = "a photo of a dog"


@pytest.fixture
def pipeline(model_directory: Path) -> StableDiffusionPipeline:
    """As a training script holds it: modules in training mode, with gradients."""
    found = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)
    for part in (found.unet, found.text_encoder):
        part.requires_grad_(True).train()
    return found


def state(pipeline: Any) -> dict[str, Any]:
    """What evaluating must leave alone: modes, gradients, layouts, weights, random states."""
    found: dict[str, Any] = {"random": torch.get_rng_state().tolist()}
    found["numpy"] = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    for part in ("unet", "text_encoder", "vae"):
        module = getattr(pipeline, part)
        found[f"{part} modes"] = [each.training for each in module.modules()]
        for name, weight in module.named_parameters():
            about = (weight.dtype, weight.device, weight.stride(), weight.requires_grad)
            found[f"{part} {name}"] = about, weight.data_ptr(), weight.grad is None
    return found


@pytest.mark.parametrize("method", ["dreambooth", "dreambooth-lora"])
def test_the_mean_is_l_det_of_the_packages_own_training(
    given: dict[str, Any], pipeline: StableDiffusionPipeline, tmp_path: Path, method: str
) -> None:
    settings = {"method": method, "eval_batch": 5, "seed": 3, "rare_word": "nice"}
    settings |= {"train_word": False} if method == "dreambooth-lora" else {}
    config = resolve(given | settings | {"learning_rate": 1e-3})
    run, ready = start(config, tmp_path / "run")
    train_stage(run, config, ready)
    recorded = Run(tmp_path / "run").train_trace().set_index("step")["l_det"]
    losses = fixed_losses(pipeline, given["concept"], "a photo of a nice dog", size=5, seed=3)
    assert losses().mean().item() == pytest.approx(recorded[0], rel=1e-5)
    checkpoint = run.checkpoint(6)
    if method == "dreambooth":
        trained = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
        pipeline.unet.load_state_dict(trained.state_dict())
    else:
        pipeline.load_lora_weights(checkpoint)
    assert losses().mean().item() == pytest.approx(recorded[6], rel=1e-5)
    assert abs(recorded[6] - recorded[0]) > 1e-4


def test_nothing_of_the_live_modules_changes(
    pipeline: StableDiffusionPipeline, photographs: Path
) -> None:
    before = state(pipeline)
    losses = fixed_losses(pipeline, photographs, PROMPT, size=4)
    assert state(pipeline) == before
    found = losses()
    assert state(pipeline) == before
    assert found.shape == (4,)
    assert not found.requires_grad


def test_parts_a_namespace_pictures_and_another_sampler_give_the_same(
    pipeline: StableDiffusionPipeline, photographs: Path
) -> None:
    expected = fixed_losses(pipeline, photographs, PROMPT, size=4)()
    parts = {name: getattr(pipeline, name) for name in StableDiffusion.part_names()}
    paths = sorted(photographs.glob("*.png"))
    pictures = [Image.open(path) for path in paths]
    names = [str(path) for path in paths]
    assert torch.equal(fixed_losses(parts, names, [PROMPT], size=4)(), expected)
    assert torch.equal(fixed_losses(SimpleNamespace(**parts), pictures, PROMPT, 4)(), expected)
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config)
    assert torch.equal(fixed_losses(pipeline, photographs, PROMPT, 4)(), expected)


def test_it_follows_the_unet_and_the_text_encoder_as_they_are_trained(
    pipeline: StableDiffusionPipeline, photographs: Path
) -> None:
    losses = fixed_losses(pipeline, photographs, PROMPT, size=4)
    values = [losses().mean().item()]
    for weights in (pipeline.unet.conv_out.weight, pipeline.text_encoder.get_input_embeddings()):
        with torch.no_grad():
            getattr(weights, "weight", weights).mul_(0.5)
        values.append(losses().mean().item())
    assert len(set(values)) == 3


def test_the_vae_may_be_in_half_precision_and_let_go_of(
    pipeline: StableDiffusionPipeline, photographs: Path
) -> None:
    exact = fixed_losses(pipeline, photographs, PROMPT, size=4)()
    pipeline.vae.to(torch.bfloat16)
    losses = fixed_losses(pipeline, photographs, PROMPT, size=4)
    assert pipeline.vae.dtype == torch.bfloat16
    del pipeline.vae
    torch.testing.assert_close(losses(), exact, rtol=0.05, atol=0.01)


def with_lora(pipeline: StableDiffusionPipeline) -> list[torch.nn.Parameter]:
    from peft import LoraConfig

    pipeline.unet.requires_grad_(False).to(torch.bfloat16)
    pipeline.unet.add_adapter(LoraConfig(target_modules=["to_q", "to_v"], init_lora_weights=False))
    trained = [weight for weight in pipeline.unet.parameters() if weight.requires_grad]
    for weight in trained:
        weight.data = weight.data.float()
    return trained


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "lora"])
@pytest.mark.parametrize("outer", [False, True])
def test_any_precision_of_the_unet_goes_in_and_outside_of_autocast(
    pipeline: StableDiffusionPipeline, photographs: Path, kind: str, outer: bool
) -> None:
    if kind == "lora":
        trained = with_lora(pipeline)
        pipeline.unet.float()
        exact = fixed_losses(pipeline, photographs, PROMPT, size=4)()
        pipeline.unet.to(torch.bfloat16)
        for weight in trained:
            weight.data = weight.data.float()
    else:
        exact = fixed_losses(pipeline, photographs, PROMPT, size=4)()
        pipeline.unet.to(getattr(torch, kind))
    before = state(pipeline)
    with torch.autocast("cpu", torch.bfloat16, enabled=outer):
        found = fixed_losses(pipeline, photographs, PROMPT, size=4)()
    assert state(pipeline) == before
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.01)
    if kind == "float32":
        assert torch.equal(found, exact) != outer  # it computes as whoever calls does


def wrapped_by_accelerate(unet: Any) -> Any:
    AcceleratorState._reset_state(True)
    return Accelerator(cpu=True, mixed_precision="bf16").prepare(unet)


def wrapped_by_compile(unet: Any) -> Any:
    return torch.compile(unet, backend="eager")


def wrapped_by_ddp(unet: Any) -> Any:
    return torch.nn.parallel.DistributedDataParallel(unet)


@pytest.mark.parametrize("wrap", [wrapped_by_accelerate, wrapped_by_compile, wrapped_by_ddp])
def test_wrapped_modules_are_evaluated_as_they_are(
    pipeline: StableDiffusionPipeline,
    photographs: Path,
    tmp_path: Path,
    wrap: Callable[[Any], Any],
) -> None:
    parts = {name: getattr(pipeline, name) for name in StableDiffusion.part_names()}
    exact = fixed_losses(parts, photographs, PROMPT, size=4)()
    distributed = wrap is wrapped_by_ddp
    if distributed:
        place = f"file://{tmp_path / 'meeting'}"
        torch.distributed.init_process_group("gloo", place, rank=0, world_size=1)
    try:
        parts["unet"] = wrap(parts["unet"])
        found = fixed_losses(parts, photographs, PROMPT, size=4)()
    finally:
        if distributed:
            torch.distributed.destroy_process_group()
        PartialState._reset_state()
        AcceleratorState._reset_state(True)
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.01)
    assert torch.equal(found, exact) != (wrap is wrapped_by_accelerate)  # which computes in bf16


def test_another_resolution_and_look_are_another_batch(
    pipeline: StableDiffusionPipeline, photographs: Path
) -> None:
    usual = fixed_losses(pipeline, photographs, PROMPT, size=4)()
    for options in ({"resolution": 32}, {"center_crop": False}, {"flip": 1.0}):
        changed = fixed_losses(pipeline, photographs, PROMPT, size=4, **options)()
        assert not torch.equal(changed, usual), options


def without(part: str) -> Callable[[Any], Any]:
    return lambda parts: {name: each for name, each in parts.items() if name != part}


def of_sdxl(parts: Any) -> Any:
    return parts | {"text_encoder_2": parts["text_encoder"]}


def of_sd3(parts: Any) -> Any:
    return SimpleNamespace(**{**parts, "unet": None, "transformer": parts["unet"]})


def for_inpainting(parts: Any) -> Any:
    parts["unet"].register_to_config(in_channels=9)
    return parts


def without_a_size(parts: dict[str, Any]) -> dict[str, Any]:
    parts["unet"].register_to_config(sample_size=None)
    return parts


def with_added_embeddings(parts: Any) -> Any:
    parts["unet"].register_to_config(addition_embed_type="text_time")
    return parts


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("vae"), "pipeline: dict has no vae; give a StableDiffusionPipeline, or a mapping"),
        (of_sdxl, "dict has no tokenizer_2; give a StableDiffusionXLPipeline, or a mapping"),
        (of_sd3, "no denoiser and text encoders of a known family; known are StableDiffusionP"),
        (for_inpainting, "its unet takes 9 channels and its vae gives 4, as for inpainting"),
        (without_a_size, "--resolution: the unet of model dict does not say for what size it was"),
        (with_added_embeddings, "its unet takes 'text_time' beside the text"),
        (lambda parts: parts | {"unet": "unet"}, "dict has no denoiser and text encoders of a"),
        (lambda parts: parts | {"vae": "vae"}, "its vae is a str, without a config; give the"),
        (lambda parts: "tiny-sd", "pipeline: str has no denoiser and text encoders of a known"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_refused_in_one_line(
    pipeline: StableDiffusionPipeline,
    photographs: Path,
    change: Callable[[Any], Any],
    told: str,
) -> None:
    parts = {name: getattr(pipeline, name) for name in StableDiffusion.part_names()}
    with pytest.raises(UserError) as refused:
        fixed_losses(change(parts), photographs, PROMPT)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"size": 0}, "size"),
        ({"prompt": " "}, "prompt: it is empty"),
        ({"prompt": []}, "prompt: it is empty"),
        ({"photographs": []}, "photographs: the list is empty"),
        ({"photographs": "nowhere"}, "photographs: 'nowhere' is no folder"),
        ({"photographs": ["nowhere.png"]}, "nowhere.png: cannot be read"),
        ({"flip": 2.0}, "flip: 2.0 given"),
        ({"resolution": 63}, "resolution: 63 given; give a multiple of 4, such as 64"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    pipeline: StableDiffusionPipeline, photographs: Path, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        fixed_losses(**{"pipeline": pipeline, "photographs": photographs, "prompt": PROMPT} | wrong)


def test_an_empty_folder_is_refused(pipeline: StableDiffusionPipeline, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="photographs: there are none in"):
        fixed_losses(pipeline, tmp_path, PROMPT)


def test_training_is_bit_for_bit_the_same_with_a_tracker(
    model_directory: Path, photographs: Path
) -> None:
    def trained(tracks: bool) -> torch.Tensor:
        torch.manual_seed(0)
        held = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)
        unet = held.unet.train()
        optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-3)
        tracker = Tracker({"l_det": fixed_losses(held, photographs, PROMPT, 4)}) if tracks else None
        for step in range(4):
            latents = torch.randn(2, 4, 16, 16)
            words = torch.randn(2, 77, unet.config.cross_attention_dim)
            loss = unet(latents, 500, words).sample.square().mean()
            loss.backward()
            if tracker:  # between the gradients and the step that they are for
                tracker.update(step)
            optimiser.step()
            optimiser.zero_grad()
        return torch.cat([weight.detach().flatten() for weight in unet.parameters()])

    assert torch.equal(trained(True), trained(False))


def test_a_tracker_is_imported_without_torch_and_diffusers() -> None:
    code = (
        "import sys, noiseprobe; noiseprobe.Tracker; noiseprobe.PairedLoss; "
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.strip() == "[]"
