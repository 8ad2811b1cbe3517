"""The world and its concepts: pure functions of a seed, described truthfully."""

import tomllib

import numpy as np
import pytest
from PIL import Image

from experiments.tiny_sd.backgrounds import BACKGROUNDS, CLAUSES
from experiments.tiny_sd.concepts import COUNT, make_concept, shipped
from experiments.tiny_sd.model import TOKENS
from experiments.tiny_sd.shapes import SHAPES
from experiments.tiny_sd.tokenizer import build_tokenizer
from experiments.tiny_sd.world import COLOUR_NAMES, TEXTURES, draw_scenes, vocabulary
from noiseprobe.concept import BUNDLED_CONCEPTS, bundled_concepts


def test_a_scene_depends_on_its_seed_and_index_alone() -> None:
    whole = draw_scenes(3, 0, 40)
    piece = draw_scenes(3, 25, 5)
    assert piece.captions == whole.captions[25:30]
    assert np.array_equal(piece.render(), whole.render()[25:30])
    assert not np.array_equal(draw_scenes(4, 25, 5).render(), piece.render())


def test_captions_say_only_what_is_there() -> None:
    scenes = draw_scenes(0, 0, 2000)
    for index, caption in enumerate(scenes.captions):
        subject = caption
        for background, clauses in CLAUSES.items():
            for clause in clauses:
                if caption.endswith(f" {clause}"):
                    assert background == BACKGROUNDS[scenes.background[index]]
                    subject = caption.removesuffix(f" {clause}")
        words = set(subject.split())
        assert words & set(SHAPES) <= {SHAPES[scenes.shape[index]]}
        assert words & set(COLOUR_NAMES) <= {COLOUR_NAMES[scenes.colour[index]]}
        assert words & set(TEXTURES) <= {TEXTURES[scenes.texture[index]]}


def test_every_noun_also_stands_alone() -> None:
    captions = draw_scenes(0, 0, 4000).captions
    for noun in SHAPES:
        assert any(caption.endswith((f" a {noun}", f" the {noun}")) for caption in captions), noun


def test_every_word_is_one_token_and_every_caption_fits() -> None:
    tokenizer = build_tokenizer(vocabulary())
    assert [word for word in vocabulary() if len(tokenizer.tokenize(word)) != 1] == []
    lengths = [len(tokenizer(caption).input_ids) for caption in draw_scenes(0, 0, 2000).captions]
    assert max(lengths) < TOKENS - 4
    unknown = tokenizer("a zébra, twice!").input_ids
    assert tokenizer.unk_token_id not in unknown[1:-1]


def test_concepts_differ_and_have_names_of_their_own() -> None:
    things = [make_concept(index) for index in range(COUNT)]
    assert len({thing.name for thing in things}) == COUNT
    assert {thing.class_noun for thing in things} == set(SHAPES)
    first = [thing.photographs(16)[0].tobytes() for thing in things]
    assert len(set(first)) == COUNT


@pytest.mark.parametrize("index", range(6))
def test_a_shipped_concept_is_what_the_function_makes(index: int) -> None:
    thing = shipped()[index]
    folder = BUNDLED_CONCEPTS / thing.name
    described = tomllib.loads((folder / "concept.toml").read_text(encoding="utf-8"))
    assert described == {"class_noun": thing.class_noun, "description": thing.description}
    files = sorted(folder.glob("*.png"))
    shown = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert np.array_equal(np.stack(shown), thing.photographs())
    assert len(set(thing.pictures.background)) == len(files)


def test_all_shipped_concepts_are_offered() -> None:
    assert bundled_concepts() == sorted(thing.name for thing in shipped())
