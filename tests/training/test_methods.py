"""Every method: what it trains, and that stock diffusers loads what it saves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from noiseprobe.core.errors import UserError
from noiseprobe.models.stable_diffusion import StableDiffusion
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start
from noiseprobe.training.concept import Concept
from noiseprobe.training.driver import train
from noiseprobe.training.methods import HOME, attach
from noiseprobe.training.methods.base import Method
from noiseprobe.training.methods.dreambooth_lora import WEIGHTS_NAME
from noiseprobe.training.preparing import prepare
from tests.training.stock import CUSTOM, LORA, PARTS, WORD, our_image, shaken, stock_images

VARIANTS: dict[str, dict[str, Any]] = {
    "textual-inversion": {"method": "textual-inversion"},
    "three-vectors": {"method": "textual-inversion", "num_vectors": 3},
    "dreambooth": {"method": "dreambooth"},
    "dreambooth-text": {"method": "dreambooth", "train_text_encoder": True},
    "lora": {"method": "dreambooth-lora", "rank": 2, "lora_alpha": 6.0},
    "lora-text": {"method": "dreambooth-lora", "rank": 3, "train_text_encoder": True},
    "lora-no-word": {"method": "dreambooth-lora", "rank": 1, "train_word": False},
    "custom": {"method": "custom-diffusion"},
    "custom-queries": {"method": "custom-diffusion", "attention": "crossattn"},
}
LOAD = {
    "textual-inversion": WORD,
    "three-vectors": WORD,
    "dreambooth": PARTS,
    "dreambooth-text": PARTS,
    "lora": WORD + LORA,
    "lora-text": WORD + LORA,
    "lora-no-word": LORA,
    "custom": WORD + CUSTOM,
    "custom-queries": WORD + CUSTOM,
}


def test_every_method_has_a_home_and_a_variant_here() -> None:
    assert tuple(HOME) == METHODS
    assert {options["method"] for options in VARIANTS.values()} == set(METHODS)


def attached(model: StableDiffusion, concept: Concept, variant: str) -> Method:
    return attach(model, concept, resolve(VARIANTS[variant]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_stock_pipeline_draws_our_image_bit_for_bit(
    model: StableDiffusion, concept: Concept, tmp_path: Path, variant: str
) -> None:
    method = attached(model, concept, variant)
    start = method.trained()
    shaken(method)
    method.save(tmp_path / "checkpoint")
    prompt = f"a photo of a {method.thing}"
    ours = our_image(model, prompt)
    asked = {variant: (tmp_path / "checkpoint", prompt, LOAD[variant])}
    assert np.array_equal(ours, stock_images(model, asked, tmp_path / "drawn")[variant])
    method.load(start)
    assert not np.array_equal(ours, our_image(model, prompt))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_reads_back_exactly_and_holds_only_what_was_trained(
    model: StableDiffusion, concept: Concept, tmp_path: Path, variant: str
) -> None:
    method = attached(model, concept, variant)
    shaken(method)
    method.save(tmp_path / "a" / "checkpoint")
    trained, read = method.trained(), method.read(tmp_path / "a" / "checkpoint")
    assert trained.keys() == read.keys()
    assert [name for name in trained if not torch.equal(trained[name], read[name])] == []
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    values = sum(tensor.numel() for tensor in trained.values())
    assert sum(path.stat().st_size for path in files) < 4 * values + 40_000


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_named_is_trained_and_nothing_else(
    model: StableDiffusion, concept: Concept, variant: str
) -> None:
    method = attached(model, concept, variant)
    named = {id(parameter) for parameter in method.parameters()}
    parts: list[nn.Module] = [model.denoiser, model.vae, *(each.module for each in model.encoders)]
    live = {id(p): p for part in parts for p in part.parameters() if p.requires_grad}
    assert named == set(live)
    shape = (2, *model.latent_shape)
    latents, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    words = model.encode_captions(method.captions[:1] * 2)
    model.loss(latents, noise, torch.tensor([20, 700]), words).sum().backward()
    # LoRA starts with one of its two factors at zero, and so the other without a gradient.
    moved = [p for p in live.values() if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(moved) >= len(live) / 2
    assert all(parameter.dtype == torch.float32 for parameter in live.values())


@pytest.mark.parametrize(
    "variant", [name for name in VARIANTS if VARIANTS[name]["method"] != "textual-inversion"]
)
def test_a_method_starts_as_no_change(
    model: StableDiffusion, model_directory: Path, concept: Concept, variant: str
) -> None:
    shape = (2, *model.latent_shape)
    latents, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        words = model.encode_captions(["a photo of a dog"] * 2)
        before = model.loss(latents, noise, torch.tensor([20, 700]), words)
        attached(model, concept, variant)
        after = model.loss(latents, noise, torch.tensor([20, 700]), words)
    assert torch.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_trains_and_a_resumed_one_is_bit_identical(
    given: dict[str, Any], tmp_path: Path, variant: str, precision: str
) -> None:
    given |= VARIANTS[variant] | {"precision": precision, "prior": False}
    whole, ready = start(resolve(given | {"steps": 4}), tmp_path / "whole")
    train(whole, ready.objective, ready.method, whole.config)
    before = ready.method.read(whole.checkpoint(0))
    after = ready.method.read(whole.checkpoint(4))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    cut, first = start(resolve(given | {"steps": 2}), tmp_path / "cut")
    train(cut, first.objective, first.method, cut.config)
    longer = resolve(given | {"steps": 4})
    second = prepare(longer)
    train(cut, second.objective, second.method, longer)
    resumed = second.method.read(cut.checkpoint(4))
    assert [name for name in after if not torch.equal(after[name], resumed[name])] == []


def test_the_same_adapters_are_the_same_bytes(
    model_directory: Path, photographs: Path, tmp_path: Path
) -> None:
    """Neither the order of what a file says of itself nor that of a set in it is left to chance."""
    given = {"model": str(model_directory), "concept": str(photographs), "class_noun": "dog"}
    method = prepare(resolve(given | {"method": "dreambooth-lora", "device": "cpu"})).method
    found = set()
    for number in range(8):
        method.save(tmp_path / str(number))
        found.add((tmp_path / str(number) / WEIGHTS_NAME).read_bytes())
    assert len(found) == 1
    with safe_open(tmp_path / "0" / WEIGHTS_NAME, "pt") as file:
        (about,) = (json.loads(each) for each in file.metadata().values() if each != "pt")
    targets = about["unet.target_modules"]
    assert targets == sorted(targets)
    assert len(targets) > 1


def test_adapters_start_from_the_seed_alone(model_directory: Path, concept: Concept) -> None:
    from noiseprobe.models import load_model

    def start(seed: int) -> dict[str, torch.Tensor]:
        model = load_model(str(model_directory), "cpu")
        return attach(model, concept, resolve(VARIANTS["lora"] | {"seed": seed})).trained()

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = start(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = start(0), start(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lora_targets": "to_kk"}, "the unet has no layer 'to_kk'; did you mean 'to_k'?"),
        ({"lora_targets": ""}, "--lora-targets: an empty text given"),
        ({"rank": 0}, "--rank: 0 given"),
        ({"train_word": False, "initializer": "dog"}, "--initializer: no word is learned that"),
        ({"method": "dreambooht"}, "--method: 'dreambooht' given"),
        ({"lora_alpha": 0}, "--lora-alpha"),
    ],
)
def test_wrong_options_are_named(
    model: StableDiffusion, concept: Concept, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told.replace("?", r"\?")):
        attach(model, concept, resolve({"method": "dreambooth-lora"} | options))
