"""Every method on every family: trained, resumed, probed, and drawn by the stock pipeline."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import noiseprobe.models
from noiseprobe.core.errors import UserError
from noiseprobe.pictures.sampling import Sampler
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import probe_stage, start
from noiseprobe.training.driver import train
from noiseprobe.training.preparing import Personalization, prepare
from tests.conftest import Models
from tests.training.stock import (
    CUSTOM,
    LORA,
    PARTS,
    SECOND_WORD,
    WORD,
    our_image,
    stock_images,
)

WORDS = WORD + SECOND_WORD
INVERSION, DREAMBOOTH, LOW_RANK, CUSTOM_DIFFUSION = METHODS
TEXT = {"train_text_encoder": True}

VARIANTS: dict[str, dict[str, tuple[str, dict[str, Any], str]]] = {
    "sd": {
        "inversion": (INVERSION, {}, WORD),
        "dreambooth-text": (DREAMBOOTH, TEXT, PARTS),
        "lora-text": (LOW_RANK, TEXT, WORD + LORA),
        "custom": (CUSTOM_DIFFUSION, {}, WORD + CUSTOM),
    },
    "sdxl": {
        "inversion": (INVERSION, {}, WORDS),
        "two-vectors": (INVERSION, {"num_vectors": 2}, WORDS),
        "dreambooth": (DREAMBOOTH, {}, PARTS),
        "dreambooth-text": (DREAMBOOTH, TEXT, PARTS),
        "lora": (LOW_RANK, {}, WORDS + LORA),
        "lora-text": (LOW_RANK, TEXT | {"train_word": False}, LORA),
        "custom": (CUSTOM_DIFFUSION, {}, WORDS + CUSTOM),
    },
    "sd3": {
        "dreambooth": (DREAMBOOTH, {}, PARTS),
        "dreambooth-text": (DREAMBOOTH, TEXT, PARTS),
        "lora": (LOW_RANK, {}, LORA),
        "lora-text": (LOW_RANK, TEXT, LORA),
    },
    "flux-dev": {
        "inversion": (INVERSION, {}, WORDS),
        "dreambooth": (DREAMBOOTH, {}, PARTS),
        "lora": (LOW_RANK, {}, WORDS + LORA),
        "lora-text": (LOW_RANK, TEXT | {"train_word": False}, LORA),
    },
    "flux-schnell": {
        "inversion": (INVERSION, {}, WORDS),
        "dreambooth": (DREAMBOOTH, {}, PARTS),
        "lora": (LOW_RANK, {}, WORDS + LORA),
    },
    "sana": {
        "dreambooth": (DREAMBOOTH, {}, PARTS),
        "lora": (LOW_RANK, {}, LORA),
    },
    "pixart-sigma": {"dreambooth": (DREAMBOOTH, {}, PARTS)},
}
"""Of each family, what is trained: the method, its settings, and how stock diffusers loads it."""

REFUSED: dict[str, dict[str, tuple[dict[str, Any], str]]] = {
    "sd3": {
        INVERSION: ({}, "diffusers loads no learned words into StableDiffusion3Pipeline"),
        LOW_RANK: ({"train_word": True}, "no learned words into StableDiffusion3Pipeline"),
        CUSTOM_DIFFUSION: ({}, "StableDiffusion3Pipeline has none; choose another"),
    },
    "flux-dev": {CUSTOM_DIFFUSION: ({}, "FluxPipeline has none; choose another")},
    "flux-schnell": {CUSTOM_DIFFUSION: ({}, "FluxPipeline has none; choose another")},
    "sana": {
        INVERSION: ({}, "diffusers loads no learned words into SanaPipeline"),
        LOW_RANK: ({"train_word": True}, "diffusers loads no learned words into SanaPipeline"),
        DREAMBOOTH: (TEXT, "--train-text-encoder: SanaPipeline has no CLIP; leave it out"),
        CUSTOM_DIFFUSION: ({}, "SanaPipeline has none; choose another"),
    },
    "pixart-sigma": {
        INVERSION: ({}, "no learned words into PixArtSigmaPipeline; choose dreambooth$"),
        LOW_RANK: ({}, "diffusers loads no adapters into PixArtSigmaPipeline; choose dreambooth"),
        CUSTOM_DIFFUSION: ({}, "PixArtSigmaPipeline has none; choose another"),
    },
}
"""What diffusers cannot load, or no one trains: refused before anything is trained."""


@dataclass
class Trained:
    """A run that was cut off after two of four steps, and one that was not."""

    run: Run
    ready: Personalization
    whole: dict[str, Tensor]
    start: dict[str, Tensor]
    load: str

    @property
    def resumed(self) -> dict[str, Tensor]:
        return self.ready.method.read(self.run.checkpoint(4))

    @property
    def prompt(self) -> str:
        return f"a photo of a {self.ready.method.thing}"


@dataclass
class Family:
    """What was trained of one family, each variant once, and what is drawn with it."""

    name: str
    directory: Path
    photographs: Path
    out: Path
    done: dict[str, Trained] = field(default_factory=dict)
    drawn: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def trained(self, variant: str) -> Trained:
        if variant not in self.done:
            method, options, load = VARIANTS[self.name][variant]
            self.done[variant] = train_in_two(self, variant, {"method": method} | options, load)
        return self.done[variant]

    def stock(self, variant: str) -> NDArray[np.float32]:
        """What stock diffusers draws; of all variants, once."""
        if not self.drawn:
            done = {each: self.trained(each) for each in VARIANTS[self.name]}
            asked = {
                each: (found.run.checkpoint(4), found.prompt, found.load)
                for each, found in done.items()
            }
            model = self.trained(variant).ready.model
            self.drawn = stock_images(model, asked, self.out / "drawn")
        return self.drawn[variant]


def settings(family: Family, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "concept": str(family.photographs),
        "class_noun": "dog",
        "model": str(family.directory),
        "resolution": 64,
        "steps": 4,
        "stop": "none",
        "learning_rate": 0.02,
        "train_batch_size": 2,
        "eval_batch": 2,
        "eval_every": 1,
        "fixed_batch": "random",  # as that of the probe, so that both can be compared
        "checkpoint_every": 2,
        "settings": "deterministic,timesteps",
        "replicates": 1,
        "probe_batch": 2,
        "rescale": False,
        "prior": False,
        "device": "cpu",
    } | options


def train_in_two(family: Family, variant: str, options: dict[str, Any], load: str) -> Trained:
    given = settings(family, options)
    whole, ready = start(resolve(given), family.out / f"{variant}-whole")
    train(whole, ready.objective, ready.method, whole.config)
    expected, first = (ready.method.read(whole.checkpoint(step)) for step in (4, 0))
    cut, ready = start(resolve(given | {"steps": 2}), family.out / variant)
    train(cut, ready.objective, ready.method, cut.config)
    longer = resolve(given)
    again = prepare(longer)
    train(cut, again.objective, again.method, longer)
    return Trained(cut, again, expected, first, load)


@pytest.fixture(scope="module")
def families() -> dict[str, Family]:
    """Those that were asked for so far, whatever the order of the tests."""
    return {}


@pytest.fixture(params=VARIANTS)
def family(
    request: pytest.FixtureRequest,
    families: dict[str, Family],
    small_models: Models,
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Family:
    name = request.param
    if name not in families:
        folder = tmp_path_factory.mktemp(name)
        families[name] = Family(name, small_models(name), photographs, folder)
    return families[name]


def each_variant(function: Any) -> Any:
    """Run a test for each variant of each family."""
    pairs = [(name, variant) for name, own in VARIANTS.items() for variant in own]
    return pytest.mark.parametrize(("family", "variant"), pairs, indirect=["family"])(function)


@each_variant
def test_it_trains_and_a_resumed_run_is_bit_identical(family: Family, variant: str) -> None:
    found = family.trained(variant)
    moved = [
        name for name, value in found.start.items() if not torch.equal(value, found.whole[name])
    ]
    # LoRA starts with one of its two factors at zero, and so the other without a gradient.
    assert len(moved) >= len(found.start) / 2
    resumed = found.resumed
    assert resumed.keys() == found.whole.keys()
    assert [
        name for name, value in resumed.items() if not torch.equal(value, found.whole[name])
    ] == []


@each_variant
def test_the_stock_pipeline_draws_our_image_bit_for_bit(family: Family, variant: str) -> None:
    found = family.trained(variant)
    ready = found.ready
    ready.method.load(found.resumed)
    ours = our_image(ready.model, found.prompt)
    assert np.array_equal(ours, family.stock(variant))
    ready.method.load(found.start)
    assert not np.array_equal(ours, our_image(ready.model, found.prompt))


@each_variant
def test_its_checkpoints_are_probed(family: Family, variant: str) -> None:
    found = family.trained(variant)
    probe_stage(found.run, found.run.config, found.ready)
    trace = found.run.probe_trace()
    assert sorted(trace["step"].unique()) == [0, 2, 4]
    assert np.isfinite(trace["loss"]).all()
    by_step = trace[trace["setting"] == "deterministic"].groupby("step")["loss"].mean()
    assert by_step.nunique() == 3
    recorded = found.run.train_trace().set_index("step")["l_det"]
    assert by_step[4] == pytest.approx(recorded[4], rel=1e-5)


REFUSALS = [(name, method) for name, own in REFUSED.items() for method in own]


@pytest.mark.parametrize(("family", "method"), REFUSALS, indirect=["family"])
def test_what_diffusers_cannot_load_is_refused_before_training(
    family: Family, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, told = REFUSED[family.name][method]
    if options is not TEXT:  # which is told by the tokenizers

        def fail(*_: Any, **__: Any) -> None:
            raise AssertionError("weights are loaded")

        monkeypatch.setattr(noiseprobe.models, "load_model", fail)
    config = resolve(settings(family, {"method": method} | options))
    with pytest.raises(UserError, match=told) as refused:
        start(config, tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_half_precision_trains_and_draws(family: Family, tmp_path: Path) -> None:
    variant = "lora" if "lora" in VARIANTS[family.name] else next(iter(VARIANTS[family.name]))
    method, options, _ = VARIANTS[family.name][variant]
    half = {"method": method, "precision": "bf16", "steps": 2}
    run, ready = start(resolve(settings(family, options | half)), tmp_path / "run")
    train(run, ready.objective, ready.method, run.config)
    trace = run.train_trace()
    assert np.isfinite(trace[["loss", "l_det"]].dropna(how="all").to_numpy()[1:]).all()
    assert all(each.dtype == torch.float32 for each in ready.method.parameters())
    [picture] = Sampler(ready.model, steps=2).draw([ready.method.captions[0]], seed=0)
    assert np.asarray(picture).std() > 0
