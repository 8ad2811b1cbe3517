"""Which photographs are never trained on, so that overfitting can be seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.pictures.photographs import photographs_in, read_photograph
from noiseprobe.training.concept import Concept

_CHOICE = 5
"""The spawn key of the order in which the seed holds photographs out."""


def held_out(
    concept: Concept, hold_out: str | None = None, validation: str | None = None, seed: int = 0
) -> Concept:
    """The concept with some of its photographs, or those of another folder, held out.

    Args:
        concept: with all photographs.
        hold_out: how many of them, "1", of which `seed` decides: those of a smaller number are
            among those of a larger one. Or their file names, with commas between them.
        validation: a folder of other photographs of the thing.
        seed: of the run.

    Raises:
        UserError: none would be left to train on; there is no such file or folder; or a photograph
            that is held out is also trained on, as the same bytes or the same pixels.
    """
    if validation is not None:
        held = _of_folder(Path(validation))
        return _checked(replace(concept, held_out=held), "--validation")
    if hold_out is None:
        return concept
    chosen = _chosen(concept, hold_out, seed)
    kept = tuple(path for path in concept.photographs if path not in chosen)
    if not kept:
        raise UserError(
            f"--hold-out: it leaves none of the {len(concept.photographs)} photographs in "
            f"'{concept.photographs[0].parent}' to train on; hold out fewer"
        )
    held = tuple(path for path in concept.photographs if path in chosen)
    return _checked(replace(concept, photographs=kept, held_out=held), "--hold-out")


def _chosen(concept: Concept, hold_out: str, seed: int) -> set[Path]:
    by_name = {path.name: path for path in concept.photographs}
    if hold_out.strip() in by_name or not hold_out.strip().isdecimal():
        names = [name.strip() for name in hold_out.split(",") if name.strip()]
        if not names:
            raise UserError("--hold-out: nothing given; give how many, such as 1, or file names")
        for name in names:
            if name not in by_name:
                mend = did_you_mean(name, by_name, f"there are {', '.join(by_name)}")
                raise UserError(f"--hold-out: no photograph is called '{name}'; {mend}")
        return {by_name[name] for name in names}
    count = int(hold_out)
    if count == 0:
        raise UserError("--hold-out: 0 given; hold out at least 1, or leave the flag out")
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_CHOICE,)))
    shuffled = order.permutation(len(concept.photographs))
    return {concept.photographs[index] for index in shuffled[:count]}


def _of_folder(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise UserError(f"--validation: '{folder}' is no folder; give one with photographs")
    found = photographs_in(folder)
    if not found:
        raise UserError(f"--validation: no photographs in '{folder}'; put one or more there")
    return found


def _checked(concept: Concept, flag: str) -> Concept:
    """The concept, if no photograph is on both sides."""
    trained_on = [(path, path.read_bytes()) for path in concept.photographs]
    seen = [(path, content, _pixels(path)) for path, content in trained_on]
    for path in concept.held_out:
        content, pixels = path.read_bytes(), _pixels(path)
        for other, its_content, its_pixels in seen:
            if content == its_content or np.array_equal(pixels, its_pixels):
                raise UserError(
                    f"{flag}: '{path}' is the same photograph as '{other}', which is trained on; "
                    "remove one of them"
                )
    return concept


def _pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(read_photograph(path))
