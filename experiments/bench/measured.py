"""What a part of the bench found: rounds of ours and of what it is held against, and a goal."""

import gc
import math
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

Compared = Literal["theirs / ours", "ours / theirs", "ours"]
Sign = Literal["at least", "at most", "off by at most"]


@dataclass(frozen=True)
class Goal:
    """What is wanted of a value: a bound, or how far from 1 it may be."""

    sign: Sign
    limit: float

    def met(self, value: float) -> bool:
        """Whether a value is as wanted."""
        return self.excess(value) <= 0

    def excess(self, value: float) -> float:
        """By what share of the bound it is missed, or by how much it is off too far; 0 is met."""
        match self.sign:
            case "at least":
                return 1 - value / self.limit
            case "at most":
                return value / self.limit - 1
            case _:
                return abs(value - 1) - self.limit


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what, against: what was measured, and what it is held against, in words.
        compare: what of both is held against the goal.
        unit: of `ours` and `theirs`.
        ours, theirs: one number per round; those of a round were measured beside each other.
            `theirs` is empty where there is nothing to hold it against.
        goal: None where there is none.
        detail: what else a figure needs.
    """

    what: str
    against: str
    compare: Compared
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    goal: Goal | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        """What the goal is about, by round."""
        if self.compare == "ours":
            return list(self.ours)
        pairs = zip(self.ours, self.theirs, strict=True)
        if self.compare == "ours / theirs":
            return [own / other for own, other in pairs]
        return [other / own for own, other in pairs]

    @property
    def value(self) -> float:
        """Its median."""
        return statistics.median(self.values)

    def document(self) -> dict[str, Any]:
        """What is written: all that `read` needs, and what a person wants to see of it."""
        met = None if self.goal is None else self.goal.met(self.value)
        found = {"value": self.value, "range": [min(self.values), max(self.values)], "met": met}
        medians = {"ours_median": statistics.median(self.ours)}
        if self.theirs:
            medians["theirs_median"] = statistics.median(self.theirs)
        return asdict(self) | medians | found

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Row":
        """The row of what `document` gave."""
        goal = document["goal"] and Goal(**document["goal"])
        names = ("what", "against", "compare", "unit", "detail")
        own: dict[str, Any] = {name: document[name] for name in names}
        rounds = (tuple(document[name]) for name in ("ours", "theirs"))
        return cls(**own | dict(zip(("ours", "theirs"), rounds, strict=True)), goal=goal)


class Budget:
    """How much time is left, and what was left out for the want of it.

    Args:
        seconds: in all; without end if None.
        clock: gives seconds.
    """

    def __init__(
        self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.end = math.inf if seconds is None else clock() + seconds
        self.left_out: list[str] = []
        self.failed = False

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - self.clock()

    def fits(self, what: str, seconds: float) -> bool:
        """Whether something that takes so long may begin; if not, it is noted as left out."""
        if seconds <= self.left:
            return True
        self.left_out.append(
            f"{what}: no time ({max(self.left, 0):.0f} s of about {seconds:.0f} s)"
        )
        return False

    def fail(self, what: str, error: Exception) -> None:
        """Note something as left out because it failed; to be called where that is handled."""
        traceback.print_exc()
        self.failed = True
        reason = str(error).partition("\n")[0]
        self.left_out.append(f"{what}, which failed ({type(error).__name__}: {reason})")


@dataclass(frozen=True)
class Asked:
    """What is to be measured: on which device, how large, how often, and until when."""

    device: torch.device
    size: Literal["tiny", "small", "real"]
    precision: str
    rounds: int
    budget: Budget

    def of(self, tiny: int, small: int, real: int) -> int:
        """The number that goes with the size."""
        return {"tiny": tiny, "small": small, "real": real}[self.size]

    @property
    def small(self) -> bool:
        """Whether models are small ones."""
        return self.size != "real"

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Give back memory of the device that nothing uses any more."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def timed(self, action: Callable[[], object]) -> float:
        """The seconds that something takes, on the device as well."""
        self.wait()
        started = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - started


def each(
    asked: Asked, things: Mapping[str, Callable[[], Iterable[Row]]], seconds: float
) -> Iterator[Row]:
    """The rows of things by name, one after the other, as long as there is time.

    A thing that fails is noted, and the others are measured all the same. The first is guessed to
    take so many seconds, each other one as long as the one before.
    """
    for name, rows in things.items():
        if not asked.budget.fits(name, seconds):
            continue
        started = asked.budget.clock()
        try:
            yield from rows()
        except Exception as error:
            asked.budget.fail(name, error)
        asked.forget()
        seconds = asked.budget.clock() - started if seconds else 0


def interleaved(
    kinds: Mapping[str, Callable[[], float]], rounds: int, seconds: float = math.inf
) -> dict[str, tuple[float, ...]]:
    """What each of `kinds` gives in each round, one after the other, the order turned in between.

    So what else the machine does falls on all. It ends after two rounds where another one would
    not fit into so many seconds.
    """
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    started = time.monotonic()
    for number in range(rounds):
        spent = time.monotonic() - started
        if number >= 2 and spent * (number + 1) / number > seconds:
            break
        names = list(kinds) if number % 2 == 0 else list(kinds)[::-1]
        for name in names:
            taken[name].append(kinds[name]())
    return {name: tuple(found) for name, found in taken.items()}
