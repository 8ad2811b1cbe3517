"""The concepts: 48 specific things that no caption of the world spells out, six of which ship.

    python -m experiments.tiny_sd.concepts                       # the six, into the package
    python -m experiments.tiny_sd.concepts --all --out DIRECTORY # all 48

Each of the eight shapes comes in six patterns of two hues, which the world never paints: its own
textures are tone on tone. They differ in difficulty on purpose. Stripes, dots and checks have a
word, so that only the second hue and the marking are left unsaid; a band, a patch and a split have
none. One in three bears a marking as well, and every other one a part in a hue of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.tiny_sd.backgrounds import BACKGROUNDS, CLAUSES
from experiments.tiny_sd.render import (
    BANDED,
    CHECKED,
    CROSS_MARK,
    DOT_MARK,
    DOTTED,
    NO_MARK,
    PATCHED,
    RING_MARK,
    SPLIT,
    STRIPED,
    Pictures,
    render,
)
from experiments.tiny_sd.shapes import ACCENT, SHAPES
from experiments.tiny_sd.world import COLOUR_NAMES, COLOURS, lights, poses, role_colours

SEED = 2302
COUNT = 48
PHOTOGRAPHS = 5
VALIDATION_PROMPTS = 8
RESOLUTION = 128
SHIPPED = (
    "banded-cup",
    "checked-house",
    "dotted-mushroom",
    "patched-dog",
    "split-fish",
    "striped-teapot",
)
PATTERNS = {
    "banded": (BANDED, "with a broad {} band around it"),
    "striped": (STRIPED, "with {} stripes"),
    "patched": (PATCHED, "with one {} patch"),
    "dotted": (DOTTED, "with {} dots"),
    "split": (SPLIT, "whose one half is {}"),
    "checked": (CHECKED, "with {} checks"),
}
MARKS = {"dot": DOT_MARK, "cross": CROSS_MARK, "ring": RING_MARK}


@dataclass(frozen=True)
class Thing:
    """A specific thing: what it is called, what sets it apart, and its photographs.

    A validation prompt puts `{}`, the thing, into a named place: the seven that no photograph
    shows, and one that the first photograph does.
    """

    name: str
    class_noun: str
    description: str
    pictures: Pictures
    validation_prompts: tuple[str, ...]

    def photographs(self, resolution: int = RESOLUTION) -> NDArray[np.uint8]:
        """The photographs, (5, resolution, resolution, 3)."""
        return render(self.pictures, resolution)


def make_concept(index: int, seed: int = SEED) -> Thing:
    """Concept number `index`, below 48: a pure function of `seed` and `index`."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(index,))))
    shape = index % len(SHAPES)
    pattern = list(PATTERNS)[(index // len(SHAPES) + shape) % len(PATTERNS)]
    kind, phrase = PATTERNS[pattern]
    body, second, third = contrasting(random)
    mark = list(MARKS)[index // 3 % len(MARKS)] if index % 3 == 2 else None
    own_part = index % 2 == 1 and mark is None

    places = random.permutation(len(BACKGROUNDS))
    rows = np.ones((PHOTOGRAPHS, 1), np.float32)
    colours = role_colours(rows * colour(body))
    colours[:, 5] = colour(second)
    if own_part:
        colours[:, ACCENT] = colour(third)
    nothing = np.zeros(PHOTOGRAPHS, np.float32)
    pictures = Pictures(
        shape=np.full(PHOTOGRAPHS, shape),
        background=places[:PHOTOGRAPHS],
        pattern=np.full(PHOTOGRAPHS, kind),
        mark=np.full(PHOTOGRAPHS, MARKS[mark] if mark else NO_MARK),
        mark_colour=rows * colour(third),
        colours=colours,
        pose=poses(random.random((PHOTOGRAPHS, 4)), nothing, nothing, nothing),
        light=lights(random.random((PHOTOGRAPHS, 3)), nothing, nothing),
        # The pattern belongs to the thing, not to the photograph.
        pattern_phase=rows * random.uniform(0.3, 0.7, 4).astype(np.float32),
        backdrop=random.random((PHOTOGRAPHS, 16)).astype(np.float32),
    )
    words = [f"A {body} {SHAPES[shape]}", phrase.format(second)]
    if mark:
        words.append(f"and a {third} {mark} on it")
    if own_part:
        words.append(f"and {third} details")
    prompts = tuple(
        "a photo of a {} " + CLAUSES[BACKGROUNDS[place]][0]
        for place in [*places[PHOTOGRAPHS:], places[0]]
    )
    return Thing(
        f"{pattern}-{SHAPES[shape]}", SHAPES[shape], " ".join(words) + ".", pictures, prompts
    )


def colour(name: str) -> NDArray[np.float32]:
    """Red, green and blue of a named colour, in [0, 1]."""
    return np.array(COLOURS[name], np.float32)


def contrasting(random: np.random.Generator) -> list[str]:
    """Three colours, each clearly different from the others."""
    chosen: list[str] = []
    for name in random.permutation(COLOUR_NAMES):
        far = all(np.linalg.norm(colour(name) - colour(other)) > 0.55 for other in chosen)
        if far and len(chosen) < 3:
            chosen.append(str(name))
    return chosen


def every() -> list[Thing]:
    """All concepts, in the order of their numbers."""
    return [make_concept(index) for index in range(COUNT)]


def shipped() -> list[Thing]:
    """The concepts that come with the package, by name."""
    things = {thing.name: thing for thing in every()}
    return [things[name] for name in SHIPPED]


@cache
def tuned() -> tuple[str, ...]:
    """The names of the twelve that defaults are chosen on: those that ship, and six by lot."""
    others = [thing.name for thing in every() if thing.name not in SHIPPED]
    drawn = np.random.Generator(np.random.Philox(SEED)).permutation(others)
    return tuple(sorted([*SHIPPED, *map(str, drawn[:6])]))


def write(things: Iterable[Thing], directory: Path) -> None:
    """Write each concept as a folder of PNG with a `concept.toml`."""
    for thing in things:
        folder = directory / thing.name
        folder.mkdir(parents=True, exist_ok=True)
        for index, pixels in enumerate(thing.photographs()):
            Image.fromarray(pixels).save(folder / f"{index:02}.png", optimize=True)
        prompts = "".join(f'    "{prompt}",\n' for prompt in thing.validation_prompts)
        (folder / "concept.toml").write_text(
            f'class_noun = "{thing.class_noun}"\n'
            f'description = "{thing.description}"\n'
            f"validation_prompts = [\n{prompts}]\n",
            encoding="utf-8",
        )


def main(arguments: list[str] | None = None) -> None:
    """Write the shipped concepts into the package, or all of them elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tiny_sd.concepts")
    parser.add_argument("--all", action="store_true", help="all 48, not the six that ship")
    parser.add_argument("--out", type=Path, help="default: the package's own folder")
    chosen = parser.parse_args(arguments)
    if chosen.all and chosen.out is None:
        parser.error("--all: 48 concepts do not belong into the package; name a folder with --out")
    packaged = Path(__file__).parents[2] / "noiseprobe" / "models" / "assets" / "concepts"
    write(every() if chosen.all else shipped(), chosen.out or packaged)


if __name__ == "__main__":
    main()
