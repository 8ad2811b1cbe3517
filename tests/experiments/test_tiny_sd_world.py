"""The world and its concepts: pure functions of a seed, described truthfully."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.tiny_sd.backgrounds import BACKGROUNDS, CLAUSES
from experiments.tiny_sd.clip import thing_pairs
from experiments.tiny_sd.concepts import COUNT, make_concept, shipped, tuned, write
from experiments.tiny_sd.model import TOKENS
from experiments.tiny_sd.shapes import SHAPES
from experiments.tiny_sd.tokenizer import build_tokenizer
from experiments.tiny_sd.world import COLOUR_NAMES, TEXTURES, draw_scenes, vocabulary
from noiseprobe.core.errors import UserError
from noiseprobe.training.concept import BUNDLED_CONCEPTS, bundled_concepts, load_concept


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
    assert described == {
        "class_noun": thing.class_noun,
        "description": thing.description,
        "validation_prompts": list(thing.validation_prompts),
    }
    assert load_concept(thing.name, None).validation_prompts == thing.validation_prompts
    files = sorted(folder.glob("*.png"))
    shown = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert np.array_equal(np.stack(shown), thing.photographs())
    assert len(set(thing.pictures.background)) == len(files)


def test_validation_prompts_name_eight_places_seven_of_them_unseen() -> None:
    for thing in map(make_concept, range(COUNT)):
        seen = {CLAUSES[BACKGROUNDS[place]][0] for place in thing.pictures.background}
        assert len(set(thing.validation_prompts)) == 8
        assert all(prompt.count("{}") == 1 for prompt in thing.validation_prompts)
        told = [any(clause in prompt for clause in seen) for prompt in thing.validation_prompts]
        assert told == [False] * 7 + [True]


def test_a_concept_file_that_names_no_thing_in_a_prompt_is_refused(tmp_path: Path) -> None:
    write([make_concept(0)], tmp_path)
    folder = tmp_path / make_concept(0).name
    (folder / "concept.toml").write_text('class_noun = "cup"\nvalidation_prompts = ["a cup"]\n')
    with pytest.raises(UserError, match="validation_prompts"):
        load_concept(folder, None)


def test_defaults_are_chosen_on_twelve_concepts_those_that_ship_among_them() -> None:
    names = {make_concept(index).name for index in range(COUNT)}
    assert len(set(tuned())) == 12
    assert {thing.name for thing in shipped()} < set(tuned()) < names


def test_two_views_show_one_thing_in_two_places() -> None:
    views, captions = thing_pairs(7, 8, 4)
    assert views.shape == (2, 4, 3, 64, 64)
    assert not torch.equal(views[0], views[1])
    assert torch.equal(thing_pairs(7, 10, 2)[0], views[:, 2:]), "a thing depends on its number"
    assert thing_pairs(7, 10, 2)[1] == captions[2:]
    attributes = {*COLOUR_NAMES, *TEXTURES}
    for caption in thing_pairs(7, 0, 100)[1]:
        said = caption.split(" with a ")[0].replace("pink fabric", "").split()
        assert any(shape in said for shape in SHAPES)
        assert not attributes & set(said)


def test_all_shipped_concepts_are_offered() -> None:
    assert bundled_concepts() == sorted(thing.name for thing in shipped())
