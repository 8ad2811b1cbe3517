"""What docs/models.md says of families and methods is what the tests show."""

from pathlib import Path
from typing import Any

import diffusers
import pytest

from noiseprobe.models import FAMILIES, family
from noiseprobe.models.noise_paths import Diffusion, Flow
from noiseprobe.run.defaults import METHODS
from tests.models.small import SMALL
from tests.training import test_families as shown

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")

NAMES = {
    "sd": ("Stable Diffusion 1.x, 2.x", "StableDiffusionPipeline"),
    "sdxl": ("SDXL", "StableDiffusionXLPipeline"),
    "sd3": ("SD3, SD3.5", "StableDiffusion3Pipeline"),
    "flux-dev": ("FLUX.1-dev", "FluxPipeline"),
    "flux-schnell": ("FLUX.1-schnell", "FluxPipeline"),
    "sana": ("Sana", "SanaPipeline"),
    "pixart-sigma": ("PixArt-Σ", "PixArtSigmaPipeline"),
}
EACH = [
    shown.test_it_trains_and_a_resumed_run_is_bit_identical,
    shown.test_the_stock_pipeline_draws_our_image_bit_for_bit,
    shown.test_its_checkpoints_are_probed,
]
"""What the four marks of a cell rest on, in their order: the first test shows two of them."""


def cell(name: str, method: str) -> str:
    """Four marks where all is shown; which refusal where diffusers cannot load it."""
    own = [variant for variant in shown.VARIANTS[name].values() if variant[0] == method]
    if own:
        return "✓✓✓✓" + " +text" * any("train_text_encoder" in each[1] for each in own)
    _, told = shown.REFUSED[name][method]
    reasons = {"learned words": "no words", "adapters": "no adapters", "has none": "no UNet"}
    return next(short for words, short in reasons.items() if words in told)


def table() -> str:
    """The table of families and methods, as the tests have it."""
    lines = [f"| family | {' | '.join(METHODS)} |", "|---" * (len(METHODS) + 1) + "|"]
    for name, (words, pipeline) in NAMES.items():
        cells = " | ".join(cell(name, method) for method in METHODS)
        lines.append(f"| {words} (`{pipeline}`) | {cells} |")
    return "\n".join(lines)


def test_the_table_is_what_is_tested() -> None:
    assert table() in PAGE


def test_every_family_is_tested_and_in_the_table() -> None:
    assert {pipeline for _, pipeline in NAMES.values()} == set(FAMILIES)
    assert set(NAMES) == set(shown.VARIANTS) == {"sd", *SMALL}


@pytest.mark.parametrize("test", EACH)
def test_each_mark_is_a_test_of_every_variant(test: Any) -> None:
    [mark] = test.pytestmark
    pairs = [(name, variant) for name, own in shown.VARIANTS.items() for variant in own]
    assert mark.args[1] == pairs
    assert f"`{test.__name__}`" in PAGE


@pytest.mark.parametrize("pipeline", FAMILIES)
def test_words_and_adapters_are_refused_only_where_diffusers_loads_none(pipeline: str) -> None:
    kind, stock = family(pipeline), getattr(diffusers, pipeline)
    assert bool(kind.worded) == hasattr(stock, "load_textual_inversion")
    assert kind.takes_adapters() == hasattr(stock, "load_lora_weights")


def test_every_weighting_and_density_is_on_the_page() -> None:
    for path in (Diffusion, Flow):
        for known in (*path.weightings, *path.densities):
            assert f"`{known}`" in PAGE
