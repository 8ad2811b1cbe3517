"""Settings: flags over file over the defaults of the model's family, wrong ones named."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.run.defaults import defaults_of
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import read_toml, resolve, resumed, write_toml


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('concept = "banded-cup"\nclass = "cup"\nsteps = 12\nwindow = 4\n')
    config = resolve({"steps": 7, "seed": None}, file)
    assert (config.steps, config.window, config.seed, config.class_noun) == (7, 4, 0, "cup")
    assert config.threshold == defaults_of("tiny-sd", "textual-inversion")["threshold"]


def test_a_stable_diffusion_gets_the_published_defaults(model_directory: Path) -> None:
    config = resolve({"model": str(model_directory)})
    assert (config.steps, config.window, config.threshold) == (6100, 310, 0.15)
    assert config.effective_learning_rate == pytest.approx(1e-2)


def test_a_recorded_configuration_reads_back(tmp_path: Path) -> None:
    config = resolve({"settings": "noise,11110", "num_vectors": 3, "initializer": 'a "b"'})
    write_toml(config, tmp_path / "config.toml")
    assert resolve(read_toml(tmp_path / "config.toml")) == config


def test_a_run_reads_its_settings_where_its_model_is_gone(
    tmp_path: Path, model_directory: Path
) -> None:
    model = shutil.copytree(model_directory, tmp_path / "model")
    config = resolve({"model": str(model), "method": "dreambooth-lora"})
    run = Run.create(tmp_path / "run", config, "cpu")
    shutil.rmtree(model)
    assert run.config == config
    with pytest.raises(UserError, match=r"--model: .* is neither a directory here"):
        resolve({"model": str(model)})


def test_a_run_from_before_there_were_layouts_had_a_random_batch(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", resolve({"fixed_batch": "stratified"}), "cpu")
    assert run.config.fixed_batch == "stratified"
    file = run.directory / "config.toml"
    kept = [line for line in file.read_text().splitlines() if not line.startswith("fixed_batch")]
    file.write_text("\n".join(kept))
    (run.directory / manifest.NAME).unlink()  # which such runs have not
    assert run.config.fixed_batch == "random"


def test_folders_are_remembered_by_their_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve({"concept": "dog"}).concept == str(tmp_path / "dog")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"steps": 0}, "--steps: 0 given"),
        ({"window": 1}, "--window 1: give a whole number of losses, from 2 to .* or a share"),
        ({"window": "100%"}, "--window 100%: give"),
        ({"window": True}, "--window True: give"),
        ({"threshold": 0.0}, "--threshold: 0.0 given"),
        ({"threshold": float("nan")}, "--threshold"),
        ({"learning_rate": -1.0}, "--learning-rate: -1.0"),
        ({"stop": "devar"}, "--stop: 'devar' given"),
        ({"method": "magic"}, "--method"),
        ({"precision": "fp8"}, "--precision"),
        ({"settings": "nois"}, "did you mean 'noise'"),
        ({"settings": ""}, "^--settings: none given; name at least one, such as timesteps$"),
        ({"replicates": 0}, "--replicates"),
        ({"num_vectors": 0}, "--num-vectors"),
        ({"seed": -1}, "--seed"),
        ({"snr_gamma": 5.0}, "--snr-gamma: it belongs to --weighting min-snr; add that"),
        ({"variant": "fp16", "model": __file__}, "--model: .* is no file of weights"),
        ({"base": "tiny-sd"}, "--base: a directory or hub id says it itself"),
        ({"prediction": "epsilon"}, "--prediction: a directory or hub id says it itself"),
    ],
)
def test_a_wrong_value_is_refused_by_its_flag(given: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        resolve(given)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stpes = 3", "unknown key 'stpes'; did you mean 'steps'"),
        ("steps = ", "not valid TOML"),
        ('steps = "many"', "--steps: 'many' given"),
        ("concept = 3", "--concept: 3 given, but input should be a valid string"),
        ("class_images = 5", "--class-images: 5 given, but input should be a valid string"),
        ("settings = 5", "^--settings: 5 given; give names, with commas between them$"),
        ("settings = [5]", r"^--settings: \[5\] given; give names"),
        ("lora_targets = 5", "^--lora-targets: 5 given; give names"),
    ],
)
def test_a_wrong_file_is_refused_by_its_name(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=named):
        resolve({}, file)
    with pytest.raises(UserError, match="cannot be read"):
        resolve({}, tmp_path / "none.toml")


def test_on_resume_what_was_done_cannot_be_changed() -> None:
    recorded = resolve({"seed": 3})
    assert resumed(recorded, {"seed": 3, "steps": 9}).steps == 9
    with pytest.raises(UserError, match="--seed: this run was started with 3, not 4"):
        resumed(recorded, {"seed": 4})


def test_on_resume_flags_may_be_repeated_as_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dog").mkdir()
    monkeypatch.chdir(tmp_path)
    typed = {"concept": "dog", "class_images": "of-class", "lora_targets": "to_q, to_k"}
    typed |= {"method": "dreambooth-lora", "settings": "noise,11110"}
    recorded = resolve(typed)
    assert resumed(recorded, typed) == recorded
    with pytest.raises(UserError, match=r"--lora-targets: this run was started with"):
        resumed(recorded, {"lora_targets": "to_q"})


@pytest.mark.parametrize("written", ["20%", 0.2, "0.2"])
def test_a_window_that_is_a_share_is_kept_as_people_write_it(tmp_path: Path, written: Any) -> None:
    file = tmp_path / "run.toml"
    write_toml(resolve({"window": written}), file)
    assert 'window = "20%"' in file.read_text(encoding="utf-8").splitlines()
    again = resolve({}, file)
    assert again.window == 0.2
    assert resumed(again, {"window": "20%", "steps": 9}).window == 0.2
    write_toml(resolve({"window": "120"}), file)
    assert "window = 120" in file.read_text(encoding="utf-8").splitlines()
