"""What a log's numbers were before the trainer averaged them, and the steps behind epochs."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from noiseprobe.logs.log import Series

_CLOSE = 1e-6
"""How far apart, as a share, two ways to the same mean may be in numbers of 32 bits."""

_NEAR = 20
_FOLLOWED = 50
_CLEARLY = 3.0
_FEWEST, _MOST = 12, 1000


class Changes(NamedTuple):
    """What the noise from value to value says of where a mean over all values so far ended.

    Attributes:
        best: the likeliest number of values that it covers; 1 for none at all.
        gain: log-likelihood of `best` above that of 1.
    """

    best: int
    gain: float

    @property
    def seen(self) -> bool:
        """Whether there is such a mean for all that the noise says."""
        return self.gain > _CLEARLY and self.best > 1


def uncumulated(means: NDArray[np.float64], within: int) -> NDArray[np.float64]:
    """The values behind the means that kohya's `LossRecorder` gives for its validations.

    Its `add` appends while the epoch is the first, and from then on replaces the entries of the
    first validation, those at 0, 1, …; its mean is over all entries. So with K validations v_k of
    as many losses each in the first epoch, it shows

        M_k = (v_1 + … + v_k) / k            for k ≤ K,
        M_k = (v_k + v_2 + … + v_K) / K      for k > K,

    where v_2 … v_K stay for good. Undone: v_k = k M_k - (k - 1) M_{k-1}, and after the first epoch
    v_k = M_1 + K (M_k - M_K). A rounding error of the means grows by the factor 2 k, at most 2 K.

    Args:
        means: (n,), all validations from the first on, or all of the first epoch and any later.
        within: K, how many of them belong to the first epoch; 0 and 1 change nothing.

    Source: kohya-ss/sd-scripts, library/train_util.py, class LossRecorder, and train_network.py,
    `val_step_loss_recorder`.

    Examples:
        >>> uncumulated(np.array([4.0, 3.0, 2.0, 1.0]), within=3)
        array([4., 2., 0., 1.])
    """
    values = means.astype(np.float64)
    if within < 2:
        return values
    counts = np.arange(1, len(means) + 1)[:within]
    values[:within] = np.diff(counts * means[:within], prepend=0.0)
    values[within:] = means[0] + within * (means[within:] - means[within - 1])
    return values


def first_epoch(current: Series, average: Series) -> int | None:
    """The last step of the first epoch, as the losses and their mean over an epoch tell it.

    kohya's `loss/average` is the mean of all losses so far in the first epoch, and the mean of as
    many as an epoch has after it. Where the first ceases and the second begins, the epoch ended.

    Args:
        current, average: `loss/current` and `loss/average`, of the same steps.

    Returns:
        The step; the last one where the first epoch never ended; None where neither kind of mean
        fits, as in a log that was thinned out.
    """
    if len(current.steps) < 3 or not np.array_equal(current.steps, average.steps):
        return None
    losses, means = current.values, average.values
    if not (np.isfinite(losses).all() and np.isfinite(means).all()):
        return None
    close = _CLOSE * max(float(np.abs(losses).mean()), np.finfo(np.float64).tiny)
    sums = np.cumsum(losses)
    differs = np.abs(sums / np.arange(1, len(losses) + 1) - means) > close
    if not differs.any():
        return int(current.steps[-1])
    first = int(np.argmax(differs))
    best, error = 0, np.inf
    for length in range(max(1, first - _NEAR), first + 1):
        ends = np.arange(length, min(length + _FOLLOWED, len(losses)))
        moving = (sums[ends] - sums[ends - length]) / length
        worst = float(np.abs(moving - means[ends]).max())
        if worst < error:
            best, error = length, worst
    return int(current.steps[best - 1]) if error <= close else None


def changes_of(means: NDArray[np.float64]) -> Changes | None:
    """Up to where values look like a mean over all so far, by their noise from one to the next.

    The noise e_k of value k moves such a mean by e_k / k from there on, and of those after its K-th
    each one alone by e_k / K (`uncumulated`). Second differences, from which a trend is almost
    gone, are so of variance 2 σ² / k² and 6 σ² / K²: for each K, the normal likelihood at the best
    σ. It takes a smooth curve that falls ever more slowly for such a mean too, so that this is a
    hint and no proof.

    Args:
        means: (n,); of more than 1000 the first 1000 are looked at.

    Returns:
        None where fewer than 12 finite values are given, or they lie on a line.
    """
    means = means[:_MOST]
    if len(means) < _FEWEST or not np.isfinite(means).all():
        return None
    bends = np.diff(means, 2)
    if np.count_nonzero(bends) < len(bends) / 2:
        return None
    places = np.arange(2.0, len(means))
    within = np.arange(1, len(means) + 1)[:, None]
    scales = np.where(places <= within, math.sqrt(2) / places, math.sqrt(6) / within)
    spread = ((bends / scales) ** 2).mean(axis=1)
    likelihoods = -len(bends) / 2 * np.log(spread) - np.log(scales).sum(axis=1)
    best = int(np.argmax(likelihoods))
    return Changes(best + 1, float(likelihoods[best] - likelihoods[0]))
