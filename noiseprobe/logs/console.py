"""What a console showed: progress bars of tqdm with `loss=…` behind them, and lines that have it.

A bar is redrawn after a carriage return: `Steps:  10%|█ | 100/1000 [00:10<01:30, 9.98it/s,
loss=0.123, lr=1e-4]` (tqdm's default format).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from noiseprobe.core.errors import UserError
from noiseprobe.logs.long import pivoted
from noiseprobe.logs.table import Table
from noiseprobe.logs.tags import is_loss

KIND = "console log"

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(
    r"(?P<name>[^|]*?):?\s*(?:\d{1,3}%)?\s*\|[^|]*\|\s*(?P<done>\d+)/(?P<total>\d+)\s*\[(?P<rest>.*)"
)
_SPEED = re.compile(r"(?:it/s|s/it)")
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf)"
_NAMED = re.compile(rf"(?:^|,)\s*([A-Za-z_][\w./ ]*?)\s*=\s*({_NUMBER})(?=\s*(?:,|\]|$))", re.I)
"""A pair of tqdm's own, whose name may be of several words, as OneTrainer's `smooth loss`."""
_PAIR = re.compile(rf"(?<![\w/.])([A-Za-z_][\w./]*)\s*[=:]\s*({_NUMBER})(?![\w.])", re.I)
_STEP = re.compile(r"(?:^|[^\w/])(?:global[_ ]?)?(?:step|iter|iteration)s?\b[\s:=#]*(\d+)", re.I)
_LOSS = re.compile(rf"loss\w*\s*[=:]\s*{_NUMBER}(?![\w.])", re.I)
_SPACE = re.compile(r"\s+")  # of which many would be tried in as many ways
_FEWEST = 2
_LONGEST = 4000  # letters of a line that a person would read
_LOOKED_AT = 1 << 20


@dataclass(frozen=True)
class _Shown:
    """One line or drawing of a bar: its pairs, and where it stands."""

    bar: str
    done: int
    total: int
    pairs: tuple[tuple[str, float], ...]
    line: int


def is_console(text: str) -> bool:
    """Whether `text` is what a console showed of a training.

    It is if at least two lines, or drawings of a bar, have a loss: behind a bar, or as `loss=…` or
    `loss: …` in a line that tells its step.
    """
    return len(list(islice(_shown(text[:_LOOKED_AT]), _FEWEST))) == _FEWEST


def read_console(path: Path, text: str) -> Table:
    """The numbers behind the bars and in the lines that tell a loss, at the steps of the main bar.

    The main bar is the one with a loss that was drawn at the most different places; what other
    bars show, as those of a validation, is recorded at the step where it stands, and of several
    drawings at one step the last counts. A bar that begins anew after its end goes on counting: it
    is one per epoch. One that begins anew before its end is a restart.

    Raises:
        UserError: no drawing of a bar and no line has a loss and a step.
    """
    shown = list(_shown(text))
    if not shown:
        raise UserError(f"{path}: no line has a loss and its step; give a training log")
    places: dict[str, set[tuple[int, int]]] = {}
    for each in shown:
        places.setdefault(each.bar, set()).add((each.done, each.total))
    main = max(places, key=lambda bar: len(places[bar]))
    found: dict[tuple[int, int, str], tuple[float, int]] = {}  # restart, step, name
    before, ended, last, restarts = 0, False, 0, 0
    for each in shown:
        if each.bar == main:
            if each.done < last:
                before += each.total if ended else 0
                restarts += not ended
            last, ended = each.done, each.total > 0 and each.done == each.total
        step = before + last
        for name, value in each.pairs:
            found[restarts, step, name] = value, each.line
    return pivoted(
        path,
        KIND,
        [name for _, _, name in found],
        [step for _, step, _ in found],
        [value for value, _ in found.values()],
        lambda row: f"line {list(found.values())[row][1]}",
    )


def _shown(text: str) -> Iterator[_Shown]:
    """Each drawing of a bar and each line that has a loss and a step."""
    if not _LOSS.search(text):
        return
    for number, whole in enumerate(text.split("\n"), start=1):
        for drawn in whole.split("\r"):
            if len(drawn) > _LONGEST or not _LOSS.search(drawn):
                continue
            line = _SPACE.sub(" ", _ESCAPE.sub("", drawn))
            bar = _BAR.match(line)
            if bar and _SPEED.search(bar["rest"]):
                name = re.sub(r"\d+", "#", bar["name"]).strip()
                pairs, done, total = _pairs(bar["rest"]), int(bar["done"]), int(bar["total"])
            elif told := _STEP.search(line):
                name, done, total, pairs = "", int(told[1]), 0, _pairs(line)
            else:
                continue
            if done < 2**62 and total < 2**62 and any(is_loss(each) for each, _ in pairs):
                yield _Shown(name, done, total, pairs, number)


def _pairs(text: str) -> tuple[tuple[str, float], ...]:
    found = [*_NAMED.findall(text), *_PAIR.findall(_NAMED.sub(",", text))]
    return tuple(
        (name.strip().replace(" ", "_"), float(value))
        for name, value in found
        if not _STEP.fullmatch(f"{name}={value}")
    )
