"""What frozen encoders made is kept in the run directory, and never changes a result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load
from torch import nn

from noiseprobe.models.base import DiffusionModel
from noiseprobe.models.placing import placed
from noiseprobe.models.stable_diffusion import StableDiffusion
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import probe_stage, start, train_stage
from noiseprobe.training.cache import Cache, Kept, fingerprint
from noiseprobe.training.preparing import prepare


@pytest.fixture
def frozen(given: dict[str, Any]) -> dict[str, Any]:
    """A run whose text encoder is not trained, with all three sets of photographs."""
    prior = {"prior": True, "num_class_images": 2, "sampling_steps": 2, "hold_out": "1"}
    return given | {"method": "dreambooth-lora", "train_word": False, "rank": 2} | prior


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the encoders from now on."""
    asked: list[str] = []

    def told(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noting(self: Any, *given: Any) -> Any:
            asked.append(name)
            return real(self, *given)

        return noting

    for name in ("posterior", "encode_captions"):
        for kind in (DiffusionModel, StableDiffusion):
            if real := kind.__dict__.get(name):
                monkeypatch.setattr(kind, name, told(name, real))
    return asked


def measured(run: Run) -> list[pd.DataFrame]:
    train = run.train_trace()
    kept = [name for name in train if not str(name).endswith("seconds")]
    return [train[kept], run.probe_trace()]


def finished(run: Run) -> list[pd.DataFrame]:
    ready = prepare(run.config, run)
    train_stage(run, run.config, ready)
    probe_stage(run, run.config, ready)
    return measured(run)


def test_a_run_goes_on_without_the_encoders_to_the_same_numbers(
    frozen: dict[str, Any], tmp_path: Path, encoded: list[str]
) -> None:
    whole, ready = start(resolve(frozen), tmp_path / "whole")
    train_stage(whole, whole.config, ready)
    probe_stage(whole, whole.config, ready)
    assert {path.stem for path in whole.cache_directory.iterdir()} == {
        *("photographs", "held-out", "class-images", "captions")
    }
    cut, ready = start(resolve(frozen | {"steps": 4}), tmp_path / "cut")
    train_stage(cut, cut.config, ready)
    cut.record(resolve(frozen))
    encoded.clear()
    for one, other in zip(finished(cut), measured(whole), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert encoded == []


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def one_bit_flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("spoil", [cut_short, one_bit_flipped, Path.unlink])
def test_a_damaged_entry_is_made_anew(
    frozen: dict[str, Any], tmp_path: Path, spoil: Callable[[Path], Any], encoded: list[str]
) -> None:
    run, ready = start(resolve(frozen | {"prior": False}), tmp_path / "run")
    before = {path: load(path.read_bytes()) for path in run.cache_directory.iterdir()}
    for path in before:
        spoil(path)
    encoded.clear()
    again = prepare(run.config, run)
    assert torch.equal(again.objective.mean, ready.objective.mean)
    assert again.held_out is not None
    assert set(encoded) == {"posterior", "encode_captions"}
    for path, tensors in before.items():
        after = load(path.read_bytes())
        assert all(torch.equal(after[name], tensors[name]) for name in tensors)
    encoded.clear()
    _ = prepare(run.config, run).objective
    assert encoded == []


def test_another_photograph_view_weight_or_caption_is_another_entry(
    frozen: dict[str, Any], tmp_path: Path, encoded: list[str]
) -> None:
    run, ready = start(resolve(frozen | {"prior": False}), tmp_path / "run")

    def asked(**changes: Any) -> set[str]:
        encoded.clear()
        config = run.config.model_copy(update=changes)
        _ = prepare(config, run).objective
        return set(encoded)

    assert asked() == set()
    assert asked(flip=0.3) == {"posterior"}
    assert asked() == {"posterior"}  # one entry of a name
    assert asked(instance_prompt="a picture of it") == {"encode_captions"}
    assert asked() == set(), "captions that were known stay known"
    vae = ready.model.vae
    with torch.no_grad():
        first = fingerprint(vae)
        next(vae.parameters()).view(-1)[0] += 1e-3
    assert fingerprint(vae) != first
    photograph = ready.concept.photographs[0]
    content = photograph.read_bytes()
    try:
        photograph.write_bytes(content + b"more")
        assert asked() == {"posterior"}
    finally:
        photograph.write_bytes(content)


def test_nothing_is_written_before_there_is_a_folder(tmp_path: Path) -> None:
    cache, kept = Cache(), Kept({"a": torch.arange(6.0).view(2, 3)}, ["told"])
    cache.keep("name", "key", kept)
    assert cache.taken("name", "key") is None
    cache.settle_in(tmp_path / "cache")
    found = Cache(tmp_path / "cache").taken("name", "key")
    assert found is not None
    assert torch.equal(found.tensors["a"], kept.tensors["a"])
    assert found.told == ["told"]
    assert cache.taken("name", "another key") is None


class Roaming(nn.Module):
    """A module on the CPU that takes note of where it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.sent: list[str] = []

    def to(self, device: Any) -> Any:  # type: ignore[override]
        self.sent.append(str(device))
        return self


def test_modules_come_in_and_go_back_also_after_an_error() -> None:
    module, there = Roaming(), torch.device("meta")

    def fail() -> None:
        with placed([module], there):
            assert module.sent == ["meta"]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert module.sent == ["meta", "cpu"]
    with placed([module], torch.device("cpu")):
        pass
    assert module.sent == ["meta", "cpu"]
