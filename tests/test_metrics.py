"""Similarities by CLIP: of unit vectors, of batches, and of the bundled judge."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noiseprobe.concept import bundled_concepts, load_concept
from noiseprobe.errors import UserError
from noiseprobe.metrics import Clip, mean_similarity, mean_similarity_within


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
    monkeypatch.setattr("noiseprobe.metrics.BATCH", 2)
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
