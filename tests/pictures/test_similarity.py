"""Similarities by CLIP: of unit vectors, of batches, and of the bundled judge."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from noiseprobe.core.errors import UserError
from noiseprobe.models import model_location
from noiseprobe.pictures.similarity import (
    Clip,
    Dino,
    diversity,
    load_lpips,
    mean_similarity,
    mean_similarity_within,
)
from noiseprobe.training.concept import bundled_concepts, load_concept


@pytest.fixture(scope="module")
def judge() -> Clip:
    return Clip.load()


def photographs(name: str) -> list[Image.Image]:
    return [Image.open(path) for path in load_concept(name, None).photographs]


def test_mean_similarity_is_that_over_all_pairs() -> None:
    images = torch.nn.functional.normalize(torch.randn(3, 5, dtype=torch.float64), dim=-1)
    others = torch.nn.functional.normalize(torch.randn(4, 5, dtype=torch.float64), dim=-1)
    plain = [float(a @ b) for a in images for b in others]
    assert mean_similarity(images, others) == pytest.approx(np.mean(plain))
    within = [float(images[i] @ images[j]) for i in range(3) for j in range(3) if i != j]
    assert mean_similarity_within(images) == pytest.approx(np.mean(within))
    with pytest.raises(ValueError, match="two pictures"):
        mean_similarity_within(images[:1])


def test_embeddings_are_unit_vectors_that_do_not_depend_on_the_batch(
    judge: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = photographs(bundled_concepts()[0])
    captions = [f"a photo of a {word} cup" for word in ("red", "blue", "striped")]
    whole = judge.embed_images(pictures), judge.embed_captions(captions)
    assert [len(part) for part in whole] == [len(pictures), len(captions)]
    monkeypatch.setattr("noiseprobe.pictures.similarity.BATCH", 2)
    for together, apart in zip(
        whole, (judge.embed_images(pictures), judge.embed_captions(captions)), strict=True
    ):
        torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(len(together)))


def test_a_caption_may_be_of_any_length_and_a_picture_of_any_shape(judge: Clip) -> None:
    assert judge.embed_captions(["", "red " * 200]).isfinite().all()
    pictures = [Image.new(mode, size) for mode, size in (("L", (7, 300)), ("RGBA", (300, 20)))]
    assert judge.embed_images(pictures).isfinite().all()


def test_the_bundled_judge_tells_the_bundled_concepts_apart(judge: Clip) -> None:
    vectors = {name: judge.embed_images(photographs(name)) for name in bundled_concepts()}
    for name, own in vectors.items():
        others = [mean_similarity(own, vectors[other]) for other in vectors if other != name]
        assert mean_similarity_within(own) > max(others)


def test_the_bundled_judge_reads(judge: Clip) -> None:
    nouns = ["cup", "dog", "fish", "house", "mushroom", "teapot"]
    words = judge.embed_captions([f"a photo of a {noun}" for noun in nouns])
    right = []
    for name in bundled_concepts():
        preferred = (judge.embed_images(photographs(name)) @ words.T).argmax(1)
        right += [nouns[index] == load_concept(name, None).class_noun for index in preferred]
    assert sum(right) > len(right) / 2, "chance would be one in six"


def test_a_judge_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--clip: .*nowhere.* cannot be loaded"):
        Clip.load(str(tmp_path / "nowhere"))


def test_a_judge_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    directory = shutil.copytree(model_location("tiny-clip", "tiny-clip"), tmp_path / "clip")
    weights = load_file(directory / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"--clip: .* such as visual_projection\.weight"):
        Clip.load(str(directory))


def test_a_dino_is_loaded_from_a_directory(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vit = ViTConfig(**size, num_attention_heads=2, image_size=32, patch_size=16)
    ViTModel(vit, add_pooling_layer=False).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    pictures = photographs(bundled_concepts()[0])
    vectors = Dino.load(str(tmp_path)).embed_images(pictures)
    assert vectors.shape == (len(pictures), 16)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(pictures)))
    weights = load_file(tmp_path / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"--dino: .* such as layernorm\.weight"):
        Dino.load(str(tmp_path))


def test_what_is_not_at_hand_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--dino: '.*' cannot be loaded"):
        Dino.load(str(tmp_path))
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UserError, match=r"--lpips: not at hand .*pip install lpips"):
        load_lpips()


def test_diversity_is_between_pictures_of_one_caption() -> None:
    pictures = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (0, 255, 100, 100)]

    def distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).abs().flatten(1).max(1).values

    assert diversity(pictures, ["a", "a", "b", "b"], distances) == pytest.approx(1.0)
    assert np.isnan(diversity(pictures, ["a", "b", "c", "d"], distances))
