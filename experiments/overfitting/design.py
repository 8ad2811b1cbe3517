"""Which runs the study is made of, how long they are, and when they are judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from experiments.overfitting.things import Folders
from experiments.tiny_sd.concepts import Thing
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig

ALL = -1
"""In the place of the held-out photograph: none, all five are trained on."""

EVERY = 5  # steps between values of the held-out loss
CHECK = 60  # steps between checks of the CLIP rule
EARLY = (15, 30, 90)  # judged as well, where most changes


@dataclass(frozen=True)
class Cell:
    """One run: a thing, a method, and the number of the photograph that is held out."""

    concept: str
    method: str
    held: int

    @property
    def name(self) -> str:
        """What its file is called."""
        held = "all" if self.held == ALL else str(self.held)
        return f"{self.concept}_{self.method}_{held}"


@dataclass(frozen=True)
class Design:
    """How runs are trained and judged.

    Attributes:
        steps: of each method: the first multiple of 60 that is at least 5 times the median step at
            which DVAR stops it (experiments/comparison/CONFIRMED-stratified.md: 134, 190, 104 and
            192), and for LoRA 600.
        prompted: the steps at which pictures are also drawn from validation prompts, beside the
            first and the last.
        settings: given to every run, beside those that a cell has.
    """

    steps: Mapping[str, int] = field(
        default_factory=lambda: dict(zip(METHODS, (720, 960, 600, 960), strict=True))
    )
    prompted: tuple[int, ...] = (0, 30, 60, 120, 240, 480)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def judged(self, method: str) -> list[int]:
        """The steps at which a run of the method is judged."""
        last = self.steps[method]
        return sorted({*range(0, last + 1, CHECK), *(step for step in EARLY if step < last), last})

    def config(self, cell: Cell, out: Path, seed: int, noun: str) -> RunConfig:
        """The settings of a run: the method's own, watched to the last step."""
        given: dict[str, Any] = {
            "concept": str(Folders.of(out, cell.concept).own),
            "method": cell.method,
            "steps": self.steps[cell.method],
            "stop": "none",
            "keep": "last",
            **{"eval_every": 1, "val_every": 5, "val_batch": 32},  # what is rarer is part of it
            "checkpoint_every": 1_000_000,  # the last weights of each part of the run are judged
            "seed": seed,
            "device": "cpu",
        }
        if cell.held != ALL:
            given["hold_out"] = f"{cell.held:02}.png"
        if cell.method == "custom-diffusion":
            # Class images depend on the noun alone: all runs of one share them.
            given["class_images"] = str(out / "class-images" / noun)
            given["class_prompt"] = f"a photo of a {noun}"
        return resolve(given | dict(self.settings))


def cells(names: Sequence[str], helds: Sequence[int], methods: Iterable[str]) -> Iterator[Cell]:
    """Round by round, so that what is done of a part of them is balanced."""
    for held, name, method in product(helds, names, methods):
        yield Cell(name, method, held)


def seed_of(index: int, held: int) -> int:
    """The seed of a run, of which no two have the same: by the thing's number and what is held."""
    return 1 + 10 * index + (held - ALL)


def numbered(made: Sequence[Thing]) -> dict[str, tuple[int, Thing]]:
    """The things by name, with their numbers."""
    return {thing.name: (index, thing) for index, thing in enumerate(made)}
