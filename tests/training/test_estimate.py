"""Memory that is estimated without weights, held against what a training allocates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from noiseprobe.cli.estimating import size_of_card
from noiseprobe.core.errors import UserError
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.estimate import Allocations, estimate, size_of
from noiseprobe.training.optimising import optimiser
from noiseprobe.training.preparing import Personalization, prepare
from tests.models.small import flux, stable_diffusion_3, stable_diffusion_xl

MADE: dict[str, Callable[[], Any]] = {
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "flux": flux,
}
LORA = {"method": "dreambooth-lora", "train_word": False}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, model_directory: Path) -> dict[str, Path]:
    """A small model of each family, on disk; and the bundled one."""
    torch.manual_seed(0)
    places = {"sd": model_directory, "tiny-sd": Path("tiny-sd")}
    for name, make in MADE.items():
        places[name] = tmp_path_factory.mktemp("sizes") / name
        make().save_pretrained(places[name])
    return places


def allocated(run: Callable[[], Any]) -> int:
    """The most that the allocator of the CPU gave out at once meanwhile, in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events: Any = profiler.profiler.kineto_results
    found = [each for each in events.events() if each.name() == "[memory]"]
    now = peak = 0
    for each in sorted(found, key=lambda each: each.start_ns()):
        now += each.nbytes()
        peak = max(peak, now)
    return peak


def measured(config: RunConfig) -> int:
    """The peak of the second training step, in bytes."""
    ready: Personalization = prepare(config)
    chosen = optimiser(config, ready.method.parameters())
    captions = ready.method.captions
    draws = ready.objective.draws(0, "train", len(captions))
    batch = draws.batch(range(config.train_batch_size), 1)

    def step() -> None:
        chosen.zero_grad(set_to_none=True)
        ready.objective.losses(batch, captions[:1] * len(batch)).mean().backward()

    step()
    chosen.step()
    chosen.zero_grad(set_to_none=True)
    model = ready.model
    there = [model.denoiser]
    if not ready.conditioner.keep:
        there += [each.module for each in model.encoders]
    state = sum(
        each.numel() * each.element_size()
        for own in chosen.state.values()
        for each in own.values()
        if isinstance(each, torch.Tensor)
    )
    return sum(map(size_of, there)) + state + allocated(step)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("sd", {"method": "textual-inversion"}),
        ("sd", {"method": "dreambooth"}),
        ("tiny-sd", {"method": "dreambooth", "train_batch_size": 2}),
        ("tiny-sd", {"method": "dreambooth", "gradient_checkpointing": True}),
        ("tiny-sd", {"method": "dreambooth-lora", "train_batch_size": 8}),
        ("tiny-sd", {"method": "textual-inversion", "gradient_checkpointing": True}),
        ("tiny-sd", {"method": "textual-inversion", "precision": "bf16"}),
        ("tiny-sd", LORA | {"precision": "bf16"}),
        ("tiny-sd", {"method": "dreambooth", "precision": "bf16"}),
        ("sdxl", LORA),
        ("sdxl", {"method": "textual-inversion"}),
        ("sd3", LORA),
        ("sd3", {"method": "dreambooth"}),
        ("flux", LORA),
        ("flux", {"method": "dreambooth"}),
    ],
)
def test_a_step_takes_what_was_estimated(
    given: dict[str, Any], saved: dict[str, Path], name: str, more: dict[str, Any]
) -> None:
    given = {key: given[key] for key in ("concept", "class_noun", "device")}
    given |= {"model": str(saved[name]), "precision": "fp32", "train_batch_size": 4} | more
    config = resolve(given)
    small = {"resolution": 64} if name == "flux" else {}
    config = config.model_copy(update=small)
    found = estimate(config, on_gpu=False)
    print("RATIO", name, more, found.step / measured(config))
    assert found.step == pytest.approx(measured(config), rel=0.15)
