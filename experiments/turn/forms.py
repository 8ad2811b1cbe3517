"""Forms of the turn criterion, over many batches at once: where each fires, and what it keeps.

Each holds the losses of a batch now against those at its best so far, by Student's test of the
samples' rises; they differ in the error, and in how sure a single evaluation must be.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from noiseprobe.stopping.turn import WAIT

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Stops = tuple[Whole, Whole]
"""The index of the stop, `NOT` where there is none, and of the kept evaluation: (R,) each."""

NOT = -1
FLIPS = 200


@dataclass(frozen=True)
class Look:
    """One evaluation k of R batches, held against the best before it.

    Attributes:
        k: its 0-based index, at least 1.
        best: the index of the lowest mean up to and with this evaluation, (R,).
        rise: of each sample since the best, (R, B).
    """

    k: int
    best: Whole
    rise: Floats


def looks(losses: Floats, around: int = 0) -> Iterator[Look]:
    """Each evaluation after the first; the best counts as the mean of `around` on either side."""
    rows = np.arange(len(losses))
    means = losses.mean(axis=2)
    best = np.zeros(len(losses), dtype=np.int64)
    for k in range(1, losses.shape[1]):
        best = np.where(means[:, k] < means[rows, best], k, best)
        near = [np.clip(best + off, 0, k) for off in range(-around, around + 1)]
        reference = np.mean([losses[rows, each] for each in near], axis=0)
        yield Look(k, best, losses[:, k] - reference)


def usual(rise: Floats) -> tuple[Floats, float]:
    """Student's statistic of the mean rise of independent samples, and its degrees of freedom."""
    size = rise.shape[1]
    return _ratio(rise, rise.var(axis=1, ddof=1) / size), size - 1.0


def neighbours(rise: Floats) -> tuple[Floats, float]:
    """The same with von Neumann's error, from the differences of neighbouring samples."""
    size = rise.shape[1]
    square = (np.diff(rise, axis=1) ** 2).sum(axis=1) / (2 * (size - 1) * size)
    return _ratio(rise, square), 2 * (size - 1) ** 2 / (3 * size - 4)


def _ratio(rise: Floats, square: Floats) -> Floats:
    mean = rise.mean(axis=1)
    level = np.where(mean > 0, np.inf, 0.0)
    return np.asarray(np.divide(mean, np.sqrt(square), out=level, where=square > 0))


Error = Callable[[Floats], tuple[Floats, float]]
Share = Callable[[Look], Whole | Floats | float]
"""Which share of 1 - confidence an evaluation may spend."""


def every_look(look: Look) -> float:
    """All of it at each evaluation, as if there were no other."""
    return 1.0


def spent_since_best(look: Look) -> Floats:
    """1 / (j (j + 1)) at the j-th evaluation since the best."""
    j = np.maximum(look.k - look.best, 1)
    return np.asarray(1 / (j * (j + 1)))


def spent(look: Look) -> float:
    """1 / (k (k + 1)) at evaluation k: 1 in all."""
    return 1 / (look.k * (look.k + 1))


def spent_on_pairs(look: Look) -> float:
    """The same, shared among the k evaluations before it, any of which may be the best."""
    return 1 / (look.k**2 * (look.k + 1))


def spent_by_doublings(look: Look) -> float:
    """1 / (m² (m + 1)) at all evaluations of m binary digits, as if they were one."""
    m = look.k.bit_length()
    return 1 / (m**2 * (m + 1))


def stops(
    losses: Floats,
    confidence: float,
    error: Error = usual,
    share: Share = every_look,
    around: int = 0,
    in_a_row: int = 1,
    waits: bool = False,
) -> Stops:
    """Where each of R batches, `losses` (R, n, B), first fires `in_a_row` times.

    With `waits`, not before as many evaluations after the best as before it, and `WAIT`.
    """
    stop = np.full(len(losses), NOT)
    kept = np.zeros(len(losses), dtype=np.int64)
    row = np.zeros(len(losses), dtype=np.int64)
    for look in looks(losses, around):
        told, degrees = error(look.rise)
        sure = told > student.isf((1 - confidence) * share(look), degrees)
        wait = np.maximum(look.best, WAIT) if waits else 1
        row = np.where(sure & (look.k - look.best >= wait), row + 1, 0)
        kept = np.where(stop == NOT, look.best, kept)
        stop = np.where((stop == NOT) & (row >= in_a_row), look.k, stop)
    return stop, kept


def halves(losses: Floats, confidence: float) -> Stops:
    """The best is found on every other sample, and the rise since then tested on the rest."""
    finding, testing = losses[:, :, ::2], losses[:, :, 1::2]
    rows = np.arange(len(losses))
    stop = np.full(len(losses), NOT)
    for look in looks(finding):
        told, degrees = usual(testing[:, look.k] - testing[rows, look.best])
        sure = (told > student.isf((1 - confidence) * spent(look), degrees)) & (look.best < look.k)
        stop = np.where((stop == NOT) & sure, look.k, stop)
    until = np.where(stop == NOT, losses.shape[1] - 1, stop)
    later = np.arange(losses.shape[1]) > until[:, np.newaxis]
    return stop, np.where(later, np.inf, losses.mean(axis=2)).argmin(axis=1)


def flips(losses: Floats, confidence: float) -> Stops:
    """Student's statistic above the quantile of its highest value so far under random signs.

    Signs are drawn for the samples (wild bootstrap: Wu, Annals of Statistics 14, 1986), whose
    losses less the batch's mean at each evaluation are those of a level curve.
    """
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, 1, losses.shape[2]))
    found = np.array([_flipped(each, signs, confidence) for each in losses])
    return found[:, 0], found[:, 1]


def _flipped(losses: Floats, signs: Floats, confidence: float) -> tuple[int, int]:
    level = losses - losses.mean(axis=1, keepdims=True)
    highest = np.full(len(signs), -np.inf)
    kept = 0
    for drawn, look in zip(looks(signs * level), looks(losses[np.newaxis]), strict=True):
        highest = np.maximum(highest, usual(drawn.rise)[0])
        told, degrees = usual(look.rise)
        kept = int(look.best[0])
        limit = max(float(np.quantile(highest, confidence)), student.ppf(confidence, degrees))
        if kept < look.k and told[0] > limit:
            return look.k, kept
    return NOT, kept


Form = Callable[[Floats, float], Stops]

FORMS: dict[str, Form] = {
    "t": stops,
    "t, twice in a row": lambda x, c: stops(x, c, in_a_row=2),
    "t, against the best and its neighbours": lambda x, c: stops(x, c, around=1),
    "t, random signs": flips,
    "t, waits": lambda x, c: stops(x, c, waits=True),
    "t, spent since the best": lambda x, c: stops(x, c, share=spent_since_best),
    "t, spent": lambda x, c: stops(x, c, share=spent),
    "t, spent, best from half of the samples": halves,
    "t, spent on pairs": lambda x, c: stops(x, c, share=spent_on_pairs),
    "neighbours": lambda x, c: stops(x, c, neighbours),
    "neighbours, spent": lambda x, c: stops(x, c, neighbours, spent),
    "neighbours, spent on pairs": lambda x, c: stops(x, c, neighbours, spent_on_pairs),
    "neighbours, waits": lambda x, c: stops(x, c, neighbours, waits=True),
    "neighbours, spent by doublings, waits": lambda x, c: stops(
        x, c, neighbours, spent_by_doublings, waits=True
    ),
    "neighbours, spent, waits (Turn)": lambda x, c: stops(x, c, neighbours, spent, waits=True),
}
TURN = "neighbours, spent, waits (Turn)"
