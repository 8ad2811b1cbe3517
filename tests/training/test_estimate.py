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
from noiseprobe.training.estimate import Allocations, Estimate, estimate, size_of, state_of
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
    assert found.step == pytest.approx(measured(config), rel=0.15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["textual-inversion", "dreambooth-lora", "dreambooth"])
def test_a_step_on_a_gpu_takes_what_was_estimated(given: dict[str, Any], method: str) -> None:
    given = {key: given[key] for key in ("concept", "class_noun")} | {"train_batch_size": 32}
    config = resolve(given | {"method": method, "device": "cuda", "precision": "bf16"})
    ready = prepare(config)
    chosen = optimiser(config, ready.method.parameters())
    captions = ready.method.captions
    batch = ready.objective.draws(0, "train", len(captions)).batch(range(32), 1)
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        chosen.zero_grad(set_to_none=True)
        ready.objective.losses(batch, captions[:1] * len(batch)).mean().backward()
        chosen.step()
    assert estimate(config).step == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.15)


def test_allocations_are_counted_until_they_are_let_go_of() -> None:
    with Allocations() as found:
        first = torch.zeros(1000)
        view = first[:10]  # takes nothing
        second = first + 1
        assert found.now == 8000
        del first
        assert found.now == 8000, "the view still holds it"
        del view, second
        assert found.now == 0
    assert found.peak == 8000


@pytest.mark.parametrize("optimizer", ["adamw", "adamw8bit", "prodigy"])
@pytest.mark.parametrize("size", [(4000,), (300, 300)])
def test_the_state_of_an_optimizer_is_what_it_keeps(optimizer: str, size: tuple[int, ...]) -> None:
    if optimizer != "adamw":
        pytest.importorskip({"adamw8bit": "bitsandbytes", "prodigy": "prodigyopt"}[optimizer])
    weight = torch.nn.Parameter(torch.ones(size))
    chosen = optimiser(resolve({"optimizer": optimizer}), [weight])
    weight.grad = torch.ones(size)
    chosen.step()
    kept = sum(
        each.numel() * each.element_size()
        for name, each in chosen.state[weight].items()
        if isinstance(each, torch.Tensor) and name != "step" and not name.startswith("qmap")
    )
    assert state_of(weight, optimizer) == pytest.approx(kept, rel=0.01)


@pytest.mark.parametrize(("kind", "library"), [("nf4", "bitsandbytes"), ("int8", "torchao")])
def test_fewer_bits_are_fewer_bytes(given: dict[str, Any], kind: str, library: str) -> None:
    config = resolve(given | LORA | {"model": "tiny-sd", "precision": "bf16"})
    plain, packed = (
        estimate(config.model_copy(update={"quantize": each})) for each in (None, kind)
    )
    assert packed.weights < plain.weights
    assert packed.parameters == plain.parameters
    pytest.importorskip(library)
    ready = prepare(config.model_copy(update={"quantize": kind}))
    linear = sum(
        each.weight.numel()
        for each in prepare(config).model.denoiser.modules()
        if isinstance(each, torch.nn.Linear) and not each.weight.requires_grad
    )
    saved = plain.weights - packed.weights
    assert saved == pytest.approx(linear * {"nf4": 2 - 0.516, "int8": 1}[kind], rel=0.05)
    assert ready.method.parameters()


def test_checkpointing_takes_less_and_a_prior_and_a_batch_more() -> None:
    def step(**more: Any) -> Estimate:
        return estimate(resolve({"method": "dreambooth-lora", "precision": "bf16"} | more))

    plain = step()
    assert step(gradient_checkpointing=True).activations < plain.activations
    assert step(prior=True).activations == pytest.approx(2 * plain.activations, rel=0.1)
    assert step(train_batch_size=8).activations == pytest.approx(2 * plain.activations, rel=0.1)
    assert step(rank=8).trained > plain.trained
    assert not plain.fits(plain.peak)
    assert plain.fits(plain.peak + 2**30)


@pytest.mark.parametrize(("said", "size"), [("24GB", 24), ("16", 16), ("11.5 gb", 11.5)])
def test_the_size_of_a_card_is_read(said: str, size: float) -> None:
    assert size_of_card(said) == size * 2**30


@pytest.mark.parametrize("said", ["big", "0GB", "24MB", "-3"])
def test_another_size_is_refused(said: str) -> None:
    with pytest.raises(UserError, match="--card"):
        size_of_card(said)
