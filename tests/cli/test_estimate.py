"""The command that says how much memory a training takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from noiseprobe.models import loading
from noiseprobe.run.settings import flag, of_command


def test_it_says_whether_a_training_fits_and_loads_no_weights(
    call: Any, model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(loading, "load_whole", fail)
    common = ("--model", model_directory, "--method", "dreambooth", "--card")
    code, out, _ = call("estimate", *common, "24GB")
    assert code == 0
    assert "it fits a card of 24.0 GB" in out.splitlines()[0]
    code, out, _ = call("estimate", *common, "0.5GB")
    assert code == 0
    first = out.splitlines()[0]
    assert "it does not fit a card of 0.5 GB; with --gradient-checkpointing --train-ba" in first
    assert "--optimizer adamw8bit about " in first
    assert "--no-train-word" not in first
    assert first.endswith("which is still too much.")


def test_json_has_the_memory_by_part(call: Any, model_directory: Path) -> None:
    common = ("--model", model_directory, "--method", "dreambooth-lora", "--card", "8GB")
    code, out, _ = call("estimate", *common, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["precision"] == "bf16"
    assert found["fits"] is True
    assert found["step"] == sum(found["memory"].values())
    assert found["peak"] >= max(found["step"], found["captions"], found["photographs"])
    assert set(found["parameters"]) == {"unet", "text_encoder", "vae"}
    assert found["optimizer"] == "adamw"
    assert found["memory"]["optimizer"] == 8 * found["trained"]


def test_what_it_takes_is_declared_and_what_is_wrong_is_one_line(
    call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = call("estimate", "--help")[1]
    assert [key for key in of_command("estimate") if flag(key) not in shown] == []
    for wrong in (("--card", "big"), ("--model", tmp_path), ("--resolution", "63")):
        code, out, told = call("estimate", *wrong)
        assert (code, out) == (2, "")
        assert wrong[0] in told.strip().splitlines()[-1]
