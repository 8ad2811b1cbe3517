"""The word that training starts from, chosen by CLIP."""

from pathlib import Path
from typing import Any

import pytest
import torch

from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import reopen, start
from noiseprobe.training.initializer import candidates
from noiseprobe.training.preparing import prepare


@pytest.fixture
def bundled(tmp_path: Path) -> dict[str, Any]:
    return {"concept": "banded-cup", "device": "cpu", "steps": 2}


@pytest.mark.parametrize("how", ["best", "worst", "random"])
def test_the_choice_is_recorded_and_kept(
    bundled: dict[str, Any], tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ready = start(resolve(bundled | {"initializer": how}), tmp_path / "run")
    chosen = run.initializer
    assert chosen is not None
    named, again = prepare(resolve(bundled | {"initializer": chosen["word"]})), None
    assert torch.equal(ready.method.trained()["<v>"], named.method.trained()["<v>"])
    if how != "random":
        scores = list(chosen["scores"].values())
        assert scores == sorted(scores, reverse=True)
        assert chosen["scores"][chosen["word"]] == (max if how == "best" else min)(scores)
    monkeypatch.setattr("noiseprobe.training.initializer.choose", None)
    again = prepare(reopen(run.directory, {})[1], run)
    assert torch.equal(ready.method.trained()["<v>"], again.method.trained()["<v>"])


def test_the_best_word_for_a_cup_is_a_cup(bundled: dict[str, Any], tmp_path: Path) -> None:
    run, _ = start(resolve(bundled | {"initializer": "best"}), tmp_path / "run")
    assert run.initializer is not None
    assert run.initializer["word"] == "cup"


def test_a_word_is_one_token_of_every_encoder_that_carries_it(model: Any) -> None:
    class Splitting:
        """A tokenizer to which every word but one is two tokens."""

        def encode(self, word: str, **_: Any) -> list[int]:
            return [0] if word == "dog" else [0, 1]

    [encoder] = model.encoders
    assert len(candidates(encoder.tokenizer)) > 1
    assert candidates(encoder.tokenizer, Splitting()) == ["dog"]
