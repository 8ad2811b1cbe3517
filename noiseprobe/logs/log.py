"""A training log as all readers give it: its tags, and a series of numbers for each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_NONE = np.empty(0, np.int64)


class TruncatedLogWarning(RuntimeWarning):
    """A log ends in the middle of a record or holds garbage; what stands before it was read."""


class RestartedLogWarning(RuntimeWarning):
    """Steps fall back, as after a restart; what was recorded twice is read once."""


class NumberedLogWarning(RuntimeWarning):
    """Nothing in a log tells the steps of its points; they were numbered from 0."""


class PassedOverWarning(RuntimeWarning):
    """What was found in a folder, but not named, is of no use; the rest was read."""


@dataclass(frozen=True)
class Series:
    """One recorded series of losses.

    Attributes:
        name: the path it was read from, as given, spelt in text.
        steps: shape (n,), int64, never falling.
        values: shape (n,), float64; NaN where the log has an empty cell.
        column: the tag, or the name of the column, that holds the values.
        samples: shape (n, B): the losses of the samples whose means the values are; None where they
            were not recorded.
        every: for how many steps each value stands, where a run evaluated it so rarely; what
            criteria count is steps then (`noiseprobe.stopping.Held`).
    """

    name: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    column: str
    samples: NDArray[np.float64] | None = None
    every: int = 1

    def __repr__(self) -> str:
        steps = f", steps {self.steps[0]} to {self.steps[-1]}" if len(self.steps) else ""
        return f"<Series {self.column!r} of {self.name!r}: {len(self.values)} values{steps}>"


@dataclass(frozen=True)
class Log:
    """One source of recorded numbers.

    Attributes:
        path: where it lies, as given.
        kind: what it is, in a word or two: "TensorBoard events", "CSV", "JSON Lines", "JSON",
            "Parquet", "trainer state", "W&B export", "W&B offline", "ai-toolkit log", "trackio",
            "MLflow", "MLPerf log", "console log" or "run directory".
        tags: the names of its traces of numbers, in the order in which they were first recorded or
            of the columns; what counts steps or tells the time is none of them.
    """

    path: Path
    kind: str
    tags: tuple[str, ...]
    _read: Callable[[str], Series] = field(repr=False, compare=False)
    counters: tuple[str, ...] = ()

    def series(self, tag: str) -> Series:
        """The trace named `tag`.

        Raises:
            UserError: there is no such trace, or something in it is no number.

        Warns:
            RestartedLogWarning: the steps fall back.
            NumberedLogWarning: nothing tells the steps apart; the points are numbered. This is
                said once per log.
        """
        return self._read(tag)


def surviving(
    steps: NDArray[np.int64],
    cuts: NDArray[np.int64] = _NONE,
    cut_steps: NDArray[np.int64] = _NONE,
) -> NDArray[np.bool_]:
    """Which points a restart has not replaced, so that the steps of the others never fall.

    Where the step falls back, training went on from a checkpoint: that point and those after it
    replace what was recorded before it at its step or later ones.

    Args:
        steps: shape (n,), in the order of recording.
        cuts: shape (k,), sorted: restarts that the log itself tells of; each lies before the
            point of that index.
        cut_steps: shape (k,): the step at which each of them goes on.

    Examples:
        >>> surviving(np.array([0, 10, 20, 30, 20, 30, 40])).tolist()
        [True, True, False, False, True, True, True]
    """
    falls = np.flatnonzero(np.diff(steps) < 0) + 1
    befores, backs = np.concatenate([falls, cuts]), np.concatenate([steps[falls], cut_steps])
    if not len(befores):
        return np.ones(len(steps), bool)
    order = np.argsort(befores, kind="stable")
    befores, backs = befores[order], backs[order]
    lowest = np.minimum.accumulate(backs[::-1])[::-1]
    following = np.searchsorted(befores, np.arange(len(steps)), side="right")
    cut = following < len(lowest)
    return ~cut | (steps < lowest[np.minimum(following, len(lowest) - 1)])


def repeated(
    steps: NDArray[np.int64], places: NDArray[np.int64], clock: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which points recur at their own step after a restart that other traces tell of.

    An evaluation that stands between a checkpoint and a kill is done again at the same step. In its
    own steps nothing falls, but in those of all that was recorded.

    Args:
        steps: shape (n,), never falling.
        places: shape (n,), rising: where each point was recorded among all.
        clock: shape (m,): the step of all that was recorded, in its order.

    Examples:
        >>> clock = np.array([10, 20, 30, 15, 20, 30])
        >>> repeated(np.array([20, 20]), np.array([1, 4]), clock).tolist()
        [True, False]
    """
    same = np.append(steps[1:] == steps[:-1], False)[: len(steps)]
    if not same.any():
        return same
    return np.asarray(same & (np.minimum.reduceat(clock, places) < steps))


def repeating(steps: NDArray[np.int64]) -> bool:
    """Whether steps, shape (n,), tell points apart so badly that fewer than n / 2 are distinct.

    Examples:
        >>> repeating(np.array([0, 0, 1, 1])), repeating(np.array([0, 0, 0, 1, 1]))
        (False, True)
    """
    falling = np.any(steps[1:] < steps[:-1])  # to sort takes longer than to look
    ordered = np.sort(steps) if falling else steps
    distinct = np.count_nonzero(ordered[1:] != ordered[:-1]) + len(steps[:1])
    return bool(2 * distinct < len(steps))


def spelt(path: Path) -> str:
    """The path as text, also where its bytes are none."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def one_line(text: object) -> str:
    """`text` as it may stand in a message: in one line, printable, shortened to 60 letters."""
    words = " ".join(str(text).encode("utf-8", "replace").decode().split())
    plain = "".join(letter if letter.isprintable() else "?" for letter in words)
    return plain if len(plain) <= 60 else plain[:59] + "…"
