"""What is taught in the study: new things, and photographs of them that judge alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.tiny_sd.backgrounds import BACKGROUNDS
from experiments.tiny_sd.concepts import COUNT, RESOLUTION, SEED, Thing, make_concept, write
from experiments.tiny_sd.render import render
from experiments.tiny_sd.world import lights, poses
from noiseprobe.pictures.photographs import photographs_in

THINGS_SEED = SEED + 2  # other things than any earlier study had
CHOOSING, TESTING = 4, 24
WHOLE = 8  # of those for testing, which are also trained on all five photographs
JUDGING = 4  # as many photographs as are trained on where one of five is held out


@dataclass(frozen=True)
class Folders:
    """Where the photographs of one thing lie: those that a person has, and those that judge."""

    own: Path
    judging: Path

    @classmethod
    def of(cls, out: Path, name: str) -> Folders:
        """The folders of the thing of that name, for a study in `out`."""
        return cls(out / "photographs" / name, out / "judging" / name)


def things() -> tuple[list[Thing], list[Thing]]:
    """The things for choosing parameters and those for testing, by lot among 48 new ones."""
    lot = np.random.Generator(np.random.Philox(THINGS_SEED)).permutation(COUNT)
    made = [make_concept(int(index), THINGS_SEED) for index in lot[: CHOOSING + TESTING]]
    return made[:CHOOSING], made[CHOOSING:]


def names_of(part: str) -> list[str]:
    """The names of the things of a part of the study: `choosing`, `testing` or `all`."""
    choosing, testing = ([thing.name for thing in group] for group in things())
    return {"choosing": choosing, "testing": testing, "all": testing[:WHOLE]}[part]


def judging_photographs(thing: Thing) -> NDArray[np.uint8]:
    """Photographs (4, H, W, 3) of the same thing, in places that no photograph of its folder shows.

    Place, pose and light are drawn as for any photograph. So without copying, what is drawn from a
    caption that names no place is as near to one of these as to one that was trained on.
    """
    key = [*THINGS_SEED.to_bytes(4, "big"), *thing.name.encode()]
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    known = set(thing.pictures.background.tolist())
    places = [index for index in range(len(BACKGROUNDS)) if index not in known]
    nothing = np.zeros(JUDGING, np.float32)
    same = thing.pictures.take(np.zeros(JUDGING, np.int64))
    pictures = replace(
        same,
        background=random.permutation(places)[:JUDGING],
        pose=poses(random.random((JUDGING, 4)), nothing, nothing, nothing),
        light=lights(random.random((JUDGING, 3)), nothing, nothing),
        backdrop=random.random((JUDGING, 16)).astype(np.float32),
    )
    return render(pictures, RESOLUTION)


def write_photographs(out: Path, chosen: Sequence[Thing]) -> None:
    """Write both kinds of photographs of each thing, where they are not there yet."""
    for thing in chosen:
        folders = Folders.of(out, thing.name)
        if not (folders.own / "concept.toml").is_file():
            write([thing], folders.own.parent)
        folders.judging.mkdir(parents=True, exist_ok=True)
        if len(photographs_in(folders.judging)) < JUDGING:
            for index, pixels in enumerate(judging_photographs(thing)):
                Image.fromarray(pixels).save(folders.judging / f"{index:02}.png", optimize=True)
