"""The recipe of the bundled model: resumable, and the model is what its card says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from experiments.tiny_sd import schedule, train_decoder, train_vae
from experiments.tiny_sd.__main__ import main
from experiments.tiny_sd.card import card, study
from experiments.tiny_sd.evaluate import weights_in
from experiments.tiny_sd.model import MICRO
from experiments.tiny_sd.schedule import Budget, Journal, cosine, hardware
from experiments.tiny_sd.train import Recipe, training_record
from noiseprobe.models import BUNDLED_MODEL, model_location
from noiseprobe.pictures.similarity import BUNDLED_CLIP

BUNDLED = Path(model_location(BUNDLED_MODEL))


class Killed(Exception):
    """Stands for a process that ends without warning."""


def weights(pipeline: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    parts = {name: getattr(pipeline, name) for name in ("vae", "unet", "text_encoder")}
    return {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def trained(out: Path) -> StableDiffusionPipeline:
    budgets = dict.fromkeys(("vae", "denoiser", "decoder"), Budget(steps=4))
    return Recipe(out, budgets, torch.device("cpu"), scenes=64, widths=MICRO).pipeline()


@pytest.fixture(scope="module", autouse=True)
def small_pools() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_vae, "POOL", 32)
        patch.setattr(train_decoder, "POOL", 32)
        patch.setattr(train_vae, "SCALING_SCENES", 64)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a training that nothing interrupted."""
    out = tmp_path_factory.mktemp("recipe") / "whole"
    trained(out)
    return out


@pytest.mark.parametrize("stage", ["vae.pt", "denoiser.pt", "decoder.pt"])
def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    tick = Journal.tick

    def tick_and_die(journal: Journal, message: str = "") -> None:
        tick(journal, message)
        if journal.path.name == stage and journal.step == 2:
            journal.save()
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "tick", tick_and_die)
        with pytest.raises(Killed):
            trained(tmp_path / "cut")
    expected, resumed = weights(trained(whole)), weights(trained(tmp_path / "cut"))
    assert [name for name in expected if not torch.equal(expected[name], resumed[name])] == []


def test_the_decoder_goes_on_while_the_latents_stay(whole: Path) -> None:
    budgets = dict.fromkeys(("vae", "denoiser", "decoder"), Budget(steps=4))
    recipe = Recipe(whole, budgets, torch.device("cpu"), scenes=64, widths=MICRO)
    first, second = recipe.vae().state_dict(), recipe.decoder().state_dict()
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    parts = {name.split(".")[0] for name in changed}
    assert parts == {"decoder", "post_quant_conv"}


def test_what_is_finished_is_neither_done_again_nor_ascribed_to_another_machine(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, record = weights(trained(whole)), training_record(whole)
    assert record["vae"]["hardware"] == hardware(torch.device("cpu"))
    monkeypatch.setattr(schedule, "hardware", lambda device: "another machine")
    second = weights(trained(whole))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert training_record(whole) == record


def test_the_recipe_runs_from_world_to_card(tmp_path: Path) -> None:
    model = tmp_path / "model"
    sizes = {"scenes": 64, "samples": 4}
    sizes |= {f"steps-{stage}": 2 for stage in ("vae", "denoiser", "decoder", "clip", "classifier")}
    flags = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    flags += ["--export", str(model), "--export-clip", str(tmp_path / "clip")]
    main(["--micro", "--out", str(tmp_path / "state"), *flags])
    result = json.loads((model / "evaluation.json").read_text())
    denoiser = result["training"]["denoiser"]
    assert (denoiser["steps"], denoiser["pictures"]) == (2, 128)
    assert denoiser["hardware"] == hardware(torch.device("cpu"))
    assert (model / "README.md").read_text() == card(result, study())
    told = [file for file in model.rglob("*.json") if str(tmp_path) in file.read_text()]
    assert told == [], "the model tells in which folder it was made"
    for name in ("samples.png", "reconstructions.png", "concepts.png"):
        assert (model / name).stat().st_size > 1000


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [cosine(progress / 100, 1.0) for progress in range(101)]
    assert rates[0] < rates[2] == max(rates)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0.02)


def test_a_budget_is_either_steps_or_minutes() -> None:
    assert Budget(steps=4).progress(2, 1e9) == 0.5
    assert Budget(minutes=2).progress(10**9, 60) == 0.5
    with pytest.raises(ValueError, match="either"):
        Budget()


def test_the_bundled_model_is_what_its_card_says() -> None:
    result = json.loads((BUNDLED / "evaluation.json").read_text())
    assert (BUNDLED / "README.md").read_text() == card(result, study())
    sizes = {
        "model": weights_in(BUNDLED),
        "clip": weights_in(Path(model_location(BUNDLED_CLIP, BUNDLED_CLIP))),
    }
    assert sizes == result["weights_bytes"]
    assert sum(sizes.values()) <= 24e6


def test_the_stock_pipeline_draws_with_the_bundled_model() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(BUNDLED, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a photo of a red cup", num_inference_steps=2, output_type="pt").images
    assert image.shape == (1, 3, 64, 64)
    assert image.isfinite().all()
    assert pipeline.scheduler.config.prediction_type == "epsilon"
    assert pipeline.scheduler.config.num_train_timesteps == 1000
    assert all(p.dtype == torch.float32 for p in pipeline.unet.parameters())
