"""Which photographs are held out, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noiseprobe.core.errors import UserError
from noiseprobe.training.concept import Concept
from noiseprobe.training.holding_out import held_out


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def test_the_seed_chooses_and_fewer_are_among_more(concept: Concept) -> None:
    chosen = [set(held_out(concept, str(count), seed=3).held_out) for count in (1, 2, 3)]
    assert [len(each) for each in chosen] == [1, 2, 3]
    assert chosen[0] < chosen[1] < chosen[2]
    first = {held_out(concept, "1", seed=seed).held_out[0].name for seed in range(20)}
    assert first == set(names(concept.photographs))


def test_every_photograph_is_on_one_side(concept: Concept) -> None:
    split = held_out(concept, "1")
    assert not set(split.photographs) & set(split.held_out)
    assert sorted((*split.photographs, *split.held_out)) == sorted(concept.photographs)


def test_photographs_are_named(concept: Concept) -> None:
    split = held_out(concept, "02.png, 00.png")
    assert names(split.held_out) == ["00.png", "02.png"]
    assert names(split.photographs) == ["01.png", "03.png"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0", "--hold-out: 0 given; hold out at least 1"),
        ("4", "it leaves none of the 4 photographs"),
        ("9", "it leaves none of the 4 photographs"),
        ("00.png,01.png,02.png,03.png", "it leaves none of the 4 photographs"),
        ("00.jpg", "no photograph is called '00.jpg'; did you mean '00.png'?"),
        ("-1", "no photograph is called '-1'"),
        (" , ", "--hold-out: nothing given"),
    ],
)
def test_what_cannot_be_held_out_is_told_in_one_line(
    concept: Concept, given: str, said: str
) -> None:
    with pytest.raises(UserError) as error:
        held_out(concept, given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_held_out_as_a_whole(concept: Concept, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    split = held_out(concept, validation=str(tmp_path))
    assert split.photographs == concept.photographs
    assert names(split.held_out) == ["a.png"]


@pytest.mark.parametrize("same", ["bytes", "pixels"])
def test_a_photograph_on_both_sides_is_found(concept: Concept, tmp_path: Path, same: str) -> None:
    first = concept.photographs[0]
    if same == "bytes":
        shutil.copy(first, tmp_path / "other.png")
    else:
        Image.open(first).save(tmp_path / "other.bmp")
        assert (tmp_path / "other.bmp").read_bytes() != first.read_bytes()
    with pytest.raises(UserError, match=r"is the same photograph as .*00\.png"):
        held_out(concept, validation=str(tmp_path))


def test_a_double_in_the_own_folder_is_found(concept: Concept, tmp_path: Path) -> None:
    for path in concept.photographs:
        shutil.copy(path, tmp_path)
    shutil.copy(concept.photographs[0], tmp_path / "again.png")
    paths = tuple(sorted(tmp_path.glob("*.png")))
    double = Concept("thing", paths, "dog", "<v>")
    with pytest.raises(UserError, match=r"--hold-out: .* is the same photograph as"):
        held_out(double, "again.png")


@pytest.mark.parametrize(
    ("folder", "said"), [("missing", "is no folder"), ("empty", "no photographs in")]
)
def test_a_validation_folder_without_photographs_is_refused(
    concept: Concept, tmp_path: Path, folder: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"--validation: .*{said}|--validation: {said}"):
        held_out(concept, validation=str(tmp_path / folder))
