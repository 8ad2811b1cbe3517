"""Captions that become conditioning."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from noiseprobe.models.base import Conditioning, DiffusionModel
from noiseprobe.run.resolving import resolve
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.preparing import prepare

CAPTIONS = ["a photo of a dog", "a cool photo of a dog", "a photo of a dog"]


@pytest.fixture
def asked(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the text encoders are asked, call by call."""
    calls: list[list[str]] = []
    real = model.encode_captions

    def heard(captions: Sequence[str]) -> Conditioning:
        calls.append(list(captions))
        return real(captions)

    monkeypatch.setattr(model, "encode_captions", heard)
    return calls


def test_each_distinct_caption_is_encoded_once_a_call_and_has_gradients(
    model: DiffusionModel, asked: list[list[str]]
) -> None:
    conditioner = Conditioner(model)
    model.encoders[0].module.requires_grad_(True)
    for _ in range(2):
        words = conditioner(CAPTIONS)["words"]
    assert asked == [sorted(set(CAPTIONS))] * 2
    assert words.requires_grad
    assert torch.equal(words[0], words[2])
    assert not torch.equal(words[0], words[1])


def test_what_stays_is_encoded_once_for_good_and_has_none(
    model: DiffusionModel, asked: list[list[str]]
) -> None:
    conditioner = Conditioner(model, keep=True)
    model.encoders[0].module.requires_grad_(True)
    first = conditioner(CAPTIONS)["words"]
    again = conditioner([*CAPTIONS[:2], "a dog"])["words"]
    assert asked == [sorted(set(CAPTIONS)), ["a dog"]]
    assert torch.equal(first[:2], again[:2])
    assert not first.requires_grad
    assert torch.allclose(again, Conditioner(model)([*CAPTIONS[:2], "a dog"])["words"], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"method": "dreambooth"}, True),
        ({"method": "dreambooth", "train_text_encoder": True}, False),
        ({"method": "dreambooth-lora", "train_word": False}, True),
        ({"method": "dreambooth-lora"}, False),
        ({"method": "textual-inversion"}, False),
        ({"method": "custom-diffusion"}, False),
    ],
)
def test_captions_are_kept_where_no_text_encoder_is_trained(
    given: dict[str, Any], options: dict[str, Any], kept: bool
) -> None:
    assert prepare(resolve(given | options)).conditioner.keep is kept
