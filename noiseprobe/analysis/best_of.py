"""Which of several checkpoints has the lowest expected loss, and which may have it.

Two ways to know: the losses of the same samples under each checkpoint, or a series of values along
a training, whose noise is told by their second differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from noiseprobe.core.errors import UserError

LEVEL = 0.95
"""How often the truly best is among those that may be."""

DRAWN = 4000
"""Draws from the joint distribution of the comparisons: a quantile of 95% to some 0.03."""

MOST_SIMULATED = 200
"""Checkpoints; of more, Bonferroni's quantile stands for the simulated one, which it is above."""

BLOCKS = 20
"""A long series is told by the means of so many parts of it, or up to twice as many."""

CELLS = 8
"""Of which a block around a step is made, at least, where it has so many values."""

FEWEST = 5
"""Values of a series, of fewer of which its noise is not known."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BestOf:
    """Where the expected loss is lowest, and where else it may be.

    Attributes:
        table: a row per checkpoint or block: step (the last of a block), loss (its mean),
            difference (from the lowest), low, high (95%, for all rows together), candidate (whether
            it may be the best).
        best: the row with the lowest mean.
    """

    table: pd.DataFrame
    best: int

    @property
    def step(self) -> int:
        """The step of the lowest mean."""
        return int(self.table["step"].iloc[self.best])

    @property
    def candidates(self) -> list[int]:
        """The steps at which the best may be, ascending."""
        return [int(step) for step in self.table.loc[self.table["candidate"], "step"]]

    @property
    def sure(self) -> bool:
        """Whether no other may be the best."""
        return len(self.candidates) == 1


def best_of_samples(steps: ArrayLike, losses: ArrayLike) -> BestOf:
    """Compare checkpoints by the losses of the same samples.

    The truly best is among the candidates in at least 95% of cases: checkpoint c is left out where
    the largest of its studentised differences from all others, (mean_c - mean_j) / se_cj, is above
    the 95% quantile that this largest one has if c is the best and all are alike: a test of c
    against all others at once, and the set of those that are not rejected (Hsu, Annals of
    Statistics 9, 1981; Lehmann & Romano, Testing Statistical Hypotheses, 2005, section 3.5). The
    joint distribution is a multivariate t whose covariance is that of the samples, simulated with
    Gaussian multipliers (Chernozhukov, Chetverikov & Kato, Annals of Statistics 41, 2013). That
    covariance is von Neumann's, from neighbouring samples, as `noiseprobe.stopping.Turn` has it, so
    that a stratified batch in the order of its strata is not charged with what differs between
    them.

    Args:
        steps: (C,), at least one.
        losses: (C, n) of n ≥ 2 samples, drawn independently or one in each of n strata.

    Raises:
        UserError: the shapes do not fit, or there is one sample.

    Examples:
        >>> draws = np.random.default_rng(0).normal(1, 0.3, 64)
        >>> own = np.random.default_rng(1).normal(0, 0.01, (3, 64))
        >>> found = best_of_samples([10, 20, 30], draws + own + [[0.2], [0.1], [0.1]])
        >>> found.candidates, found.sure
        ([20, 30], False)
    """
    values, at = np.asarray(losses, dtype=np.float64), np.asarray(steps)
    if values.ndim != 2 or len(values) != len(at) or values.shape[1] < 2:
        raise UserError(
            f"losses of shape {values.shape} for {len(at)} checkpoints: give (C, n), two samples "
            "or more"
        )
    count = values.shape[1]
    parts = np.diff(values, axis=1) / math.sqrt(2 * (count - 1) * count)
    freedom = 2 * (count - 1) ** 2 / (3 * count - 4)
    return _compared(at, values.mean(axis=1), parts, freedom)


def best_of_series(steps: ArrayLike, values: ArrayLike, at: Sequence[int] | None = None) -> BestOf:
    """Compare parts of one series of losses along a training, such as a validation loss.

    Of n values, n // `BLOCKS` neighbours make a block, of 20 to 39; fewer values stand for
    themselves. With `at`, each of those steps has a block of about as many values around it. The
    noise of a value is taken to be independent of that of others, with the variance that second
    differences tell, Σ (x_(i-1) - 2 x_i + x_(i+1))² / 6 (n - 2) (Gasser, Sroka & Jennen-Steinmetz,
    Biometrika 73, 1986), which a trend hardly enters. Candidates are as those of
    `best_of_samples`, of means whose blocks may overlap.

    Args:
        steps: (n,), ascending.
        values: (n,), low is good; those that are not finite are left out.
        at: the steps that are compared, each between the first and the last of `steps`; None for
            blocks that follow each other.

    Raises:
        UserError: fewer than `FEWEST` values are finite.

    Examples:
        >>> steps = np.arange(0, 1500, 50)
        >>> curve = (steps / 1000 - 1) ** 2
        >>> best_of_series(steps, curve).step
        1000
        >>> best_of_series(steps, curve, at=[500, 1100, 1400]).step
        1100
    """
    known = np.isfinite(np.asarray(values, dtype=np.float64))
    finite, places = np.asarray(values, dtype=np.float64)[known], np.asarray(steps)[known]
    count = len(finite)
    if count < FEWEST:
        raise UserError(f"{count} finite values: of fewer than {FEWEST} the noise is not known")
    size = max(count // BLOCKS, 1)
    second = finite[:-2] - 2 * finite[1:-1] + finite[2:]
    noise = math.sqrt(float(np.mean(second**2)) / 6)
    freedom = (count - 2) / 1.94  # the variance of the mean square of second differences
    if at is None:
        cells = np.array_split(np.arange(count), count if size == 1 else BLOCKS)
        blocks = np.eye(len(cells))
        ends = places[[cell[-1] for cell in cells]]
    else:
        cells = np.array_split(np.arange(count), math.ceil(count / max(size // CELLS, 1)))
        blocks = _around(places, cells, at, size)
        ends = np.asarray(at)
    means = blocks @ np.array([finite[cell].mean() for cell in cells])
    parts = blocks * (noise / np.sqrt([len(cell) for cell in cells]))
    return _compared(ends, means, parts, freedom)


def _around(
    places: NDArray[np.int64], cells: Sequence[NDArray[np.int64]], at: Sequence[int], size: int
) -> Floats:
    """How much each cell of neighbours counts in the block around each step, (len(at), cells)."""
    middles = np.array([places[cell].mean() for cell in cells])
    width = round(size * len(cells) / len(places)) // 2 * 2 + 1  # odd: as many on both sides
    blocks = np.zeros((len(at), len(cells)))
    for row, step in enumerate(at):
        nearest = int(np.argmin(np.abs(middles - step)))
        first = min(max(nearest - width // 2, 0), len(cells) - width)
        blocks[row, first : first + width] = 1 / width
    return blocks


def _compared(steps: NDArray[np.int64], means: Floats, parts: Floats, freedom: float) -> BestOf:
    """Compare means (C,) whose joint covariance is parts @ parts.T, of (C, m)."""
    count = len(means)
    best = int(np.argmin(means))
    difference = means - means[best]
    if count == 1:
        table = pd.DataFrame({"step": steps, "loss": means, "difference": difference})
        return BestOf(table.assign(low=np.nan, high=np.nan, candidate=True), best)
    random = np.random.default_rng(0)
    gauss = random.standard_normal((parts.shape[1], DRAWN))
    drawn = parts @ gauss / np.sqrt(random.chisquare(freedom, DRAWN) / freedom)
    spread = float(stdtrit(freedom, LEVEL)), float(stdtrit(freedom, 1 - (1 - LEVEL) / (count - 1)))
    candidate = np.array(
        [_may_be_best(own, means, parts, drawn, spread) for own in range(count)], dtype=bool
    )
    error = _errors(parts, best)
    reach = np.quantile(np.max(_ratio(np.abs(drawn - drawn[best]), error[:, None]), axis=0), LEVEL)
    table = pd.DataFrame(
        {
            "step": steps,
            "loss": means,
            "difference": difference,
            "low": difference - reach * error,
            "high": difference + reach * error,
            "candidate": candidate,
        }
    )
    return BestOf(table, best)


def _may_be_best(
    own: int, means: Floats, parts: Floats, drawn: Floats, spread: tuple[float, float]
) -> bool:
    """Whether the largest studentised difference from the others is no larger than by chance.

    `spread` has the quantiles of one comparison and, by Bonferroni, of all: between them lies that
    of the largest, so that it need not be simulated for most.
    """
    error = _errors(parts, own)
    ratios = _ratio(means[own] - means, error)
    largest = float(np.max(ratios))
    one, every = spread
    if largest <= one or largest > every:
        return largest <= one
    if len(means) > MOST_SIMULATED:
        return True
    simulated = _ratio(drawn[own] - drawn, error[:, None]).max(axis=0)
    return largest <= float(np.quantile(simulated, LEVEL))


def _errors(parts: Floats, own: int) -> Floats:
    """The standard error of each mean less that of `own`, (C,)."""
    return np.asarray(np.linalg.norm(parts - parts[own], axis=1))


def _ratio(difference: Floats, error: Floats) -> Floats:
    """A difference in units of its error; what is known without error is surely so."""
    sure = np.where(difference > 0, np.inf, np.where(difference < 0, -np.inf, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, difference / error, sure)
