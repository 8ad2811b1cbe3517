"""Textual inversion: what is trained, and that stock diffusers loads what is saved."""

from pathlib import Path
from typing import Any

import pytest
import torch

from noiseprobe.core.errors import UserError
from noiseprobe.models.stable_diffusion import StableDiffusion
from noiseprobe.run.resolving import resolve
from noiseprobe.training.concept import Concept
from noiseprobe.training.methods.textual_inversion import TextualInversion


def attached(model: StableDiffusion, concept: Concept, **options: Any) -> TextualInversion:
    return TextualInversion(model, concept, resolve(options))


def test_a_checkpoint_reads_back_exactly(
    model: StableDiffusion, concept: Concept, tmp_path: Path
) -> None:
    method = attached(model, concept, num_vectors=2)
    trained = torch.randn_like(method.word.vectors)
    method.load({"<v>": trained})
    method.save(tmp_path / "a" / "checkpoint")
    assert torch.equal(method.read(tmp_path / "a" / "checkpoint")["<v>"], trained)


def test_only_the_placeholder_is_trained(model: StableDiffusion, concept: Concept) -> None:
    before = model.encoders[0].module.get_input_embeddings().weight.clone()
    method = attached(model, concept)
    model.encode_captions(method.captions[:2])["words"].sum().backward()
    assert method.word.vectors.grad is not None
    assert method.word.vectors.grad.abs().sum() > 0
    others = [p for p in model.encoders[0].module.parameters() if p is not method.word.vectors]
    assert all(p.grad is None and not p.requires_grad for p in others)
    assert torch.equal(model.encoders[0].module.get_input_embeddings().weight, before)


@torch.no_grad()
def test_training_starts_from_the_initializer(model: StableDiffusion, concept: Concept) -> None:
    as_noun = model.encode_captions(["a photo of a dog"])["words"]
    method = attached(model, concept)
    assert torch.equal(model.encode_captions([method.captions[0]])["words"], as_noun)


@torch.no_grad()
def test_a_noun_of_several_tokens_starts_from_their_mean(
    model: StableDiffusion, concept: Concept
) -> None:
    ids = model.encoders[0].tokenizer.encode("zebra", add_special_tokens=False)
    assert len(ids) > 1
    expected = model.encoders[0].module.get_input_embeddings().weight[ids].mean(0)
    zebra = Concept("zebra", concept.photographs, "zebra", "<v>")
    assert torch.allclose(attached(model, zebra).word.vectors[0], expected)


@pytest.mark.parametrize(
    ("options", "placeholder", "named"),
    [
        ({"initializer": "zebra"}, "<v>", "--initializer: 'zebra' is"),
        ({"initializer": "nice dog"}, "<v>", "--initializer"),
        ({"initializer": ""}, "<v>", "--initializer"),
        ({}, "dog", "--placeholder"),
        ({}, "<|endoftext|>", "--placeholder"),
    ],
)
def test_words_that_cannot_serve_are_refused_and_change_nothing(
    model: StableDiffusion,
    concept: Concept,
    options: dict[str, Any],
    placeholder: str,
    named: str,
) -> None:
    known = len(model.encoders[0].tokenizer)
    chosen = Concept("thing", concept.photographs, "dog", placeholder)
    with pytest.raises(UserError, match=named):
        attached(model, chosen, **options)
    assert len(model.encoders[0].tokenizer) == known


@torch.no_grad()
def test_captions_spell_out_every_vector_as_the_stock_pipeline_does(
    model: StableDiffusion, concept: Concept
) -> None:
    method = attached(model, concept, num_vectors=3)
    method.load({"<v>": torch.randn_like(method.word.vectors)})
    theirs = model.stock.encode_prompt("a photo of a <v>", "cpu", 1, False)[0]
    assert torch.equal(model.encode_captions(method.captions[:1])["words"], theirs)
