"""Fixed losses under a live pipeline of each family, of which nothing changes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig

from noiseprobe import fixed_losses
from noiseprobe.models.wrapping import wrap
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start
from noiseprobe.training.driver import train
from tests.conftest import Models
from tests.models.small import SMALL

PROMPT = "a photo of a nice dog"
NAMES = ("sd", *SMALL)
NAMES_WITH_ADAPTERS = [name for name in NAMES if name != "pixart-sigma"]


@pytest.fixture(params=NAMES)
def directory(request: pytest.FixtureRequest, small_models: Models) -> Path:
    return small_models(request.param)


@pytest.fixture
def pipeline(directory: Path) -> Any:
    """As a training script holds it: in training mode, with gradients, a tokenizer as it likes."""
    found = DiffusionPipeline.from_pretrained(directory)
    for name, part in found.components.items():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(name != "vae").train()
    if type(found).__name__ == "SanaPipeline":
        found.tokenizer.padding_side = "left"  # which the pipeline itself would change
    denoiser(found).to(memory_format=torch.channels_last)
    return found


def denoiser(pipeline: Any) -> Any:
    return getattr(pipeline, "unet", None) or pipeline.transformer


def state(pipeline: Any) -> dict[str, Any]:
    """What evaluating must leave alone."""
    found: dict[str, Any] = {"random": torch.get_rng_state().tolist()}
    for part, held in pipeline.components.items():
        if isinstance(held, torch.nn.Module):
            found[f"{part} modules"] = [(id(each), each.training) for each in held.modules()]
            for name, weight in held.named_parameters():
                about = (weight.dtype, weight.device, weight.stride(), weight.requires_grad)
                found[f"{part} {name}"] = about, weight.data_ptr(), weight.grad is None
        elif part.startswith("tokenizer"):
            found[part] = held.padding_side, len(held), held.model_max_length
        elif part == "scheduler":
            found[part] = dict(held.config), held.timesteps.tolist()
    return found


def test_nothing_changes_and_the_mean_is_l_det_of_the_packages_own_training(
    directory: Path, pipeline: Any, given: dict[str, Any], tmp_path: Path
) -> None:
    before = state(pipeline)
    losses = fixed_losses(pipeline, given["concept"], PROMPT, size=3, seed=3, resolution=64)
    assert state(pipeline) == before
    found = losses()
    assert state(pipeline) == before
    assert not found.requires_grad
    own = {"model": str(directory), "method": "dreambooth", "rare_word": "nice", "eval_batch": 3}
    config = resolve(given | own | {"seed": 3, "steps": 1, "resolution": 64})
    run, ready = start(config, tmp_path / "run")
    train(run, ready.objective, ready.method, config)
    recorded = run.train_trace().set_index("step")["l_det"]
    assert found.mean().item() == pytest.approx(recorded[0], rel=1e-5)


@pytest.mark.parametrize("directory", NAMES_WITH_ADAPTERS, indirect=True)
def test_adapters_that_are_trained_stay_on(pipeline: Any, photographs: Path) -> None:
    options: Any = {"size": 3, "resolution": 64}
    base = fixed_losses(pipeline, photographs, PROMPT, **options)()
    model = denoiser(pipeline)
    model.requires_grad_(False).add_adapter(
        LoraConfig(target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    before = state(pipeline)
    losses = fixed_losses(pipeline, photographs, PROMPT, **options)
    adapted = losses()
    assert state(pipeline) == before
    assert model.active_adapters() == ["default"]
    assert not torch.allclose(adapted, base, rtol=1e-5)
    model.disable_adapters()
    torch.testing.assert_close(losses(), base, rtol=1e-5, atol=1e-7)


def test_parts_are_known_by_their_denoiser(pipeline: Any) -> None:
    parts = {name: part for name, part in pipeline.components.items() if part is not None}
    assert type(wrap(parts)) is type(wrap(pipeline))
