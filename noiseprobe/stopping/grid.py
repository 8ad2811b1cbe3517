"""DVAR over many windows and thresholds of one recorded trace, at the cost of running sums.

The sums of losses and of squares up to each index are taken once. A window's variance is then the
difference of two of each, whatever the window. So that the difference loses nothing that the sums
rounded away, each sum is kept as two floats, its value and the error of its additions (Ogita, Rump
& Oishi, Accurate Sum and Dot Product, SIAM J. Sci. Comput. 26, 2005, algorithm 4.1). Where what is
left of rounding could matter to a decision, `dvar_stops` decides instead.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.stopping.dvar import checked_threshold, checked_window, dvar_stops, running_squares

NEVER = -1
"""Stands in a grid where DVAR never fires."""

_ROUNDING = 1e-6
"""How far a ratio may lie from a threshold, relatively to it, for the threshold to be in doubt."""

_BOUND = 64 * np.finfo(np.float64).eps
"""Bounds the error of a window's variance, in units of the largest square so far."""


def dvar_grid(
    losses: ArrayLike, windows: Sequence[int], thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """Where `DVAR` fires in a recorded trace, for each window and threshold.

    The decisions are those of `DVAR` itself, in every cell.

    Args:
        losses: shape (n,); NaN and infinite ones are left out, as in `DVAR`.
        windows: how many of the last losses to compare with all of them, each at least 2.
        thresholds: the ratios below which to stop, each finite and above 0.

    Returns:
        Shape (windows, thresholds): 0-based indices into `losses`, `NEVER` where it does not fire.

    Raises:
        UserError: a window or a threshold is outside its range.

    Example:
        >>> dvar_grid([0.9, 0.5, 0.3, 0.25, 0.25], windows=[2, 3], thresholds=[0.1, 0.001])
        array([[ 3,  4],
               [ 4, -1]])
    """
    values = np.asarray(losses, dtype=np.float64)
    limits = np.array([checked_threshold(threshold) for threshold in thresholds])
    grid = np.full((len(windows), len(limits)), NEVER, dtype=np.int64)
    places = np.flatnonzero(np.isfinite(values))
    finite = values[places]
    prepared = _Prepared(finite, limits.min(initial=1))
    for row, window in enumerate(map(checked_window, windows)):
        if window > len(finite):
            continue
        if prepared.safe(window):
            first, last = prepared.stops(window, limits)
            fires = first < len(finite)
            grid[row, fires] = places[first[fires]]
            doubtful = np.flatnonzero(first != last)
        else:
            doubtful = np.arange(len(limits))
        if len(doubtful):
            stops = dvar_stops(values, window, limits[doubtful].tolist())
            grid[row, doubtful] = [NEVER if stop is None else stop for stop in stops]
    return grid


class _Prepared:
    """The running sums of a trace's finite losses, less the first of them."""

    def __init__(self, losses: NDArray[np.float64], least_threshold: float) -> None:
        # Losses so large or so small that their squares leave the range of a float are never safe.
        with np.errstate(all="ignore"):
            centred = losses - losses[:1]
            self.sums = _running_sums(centred)
            self.squares = _running_sums(centred**2)
            counts = np.arange(1, len(losses) + 1)
            self.total = running_squares(losses)[1] / counts
            error = _BOUND * np.maximum.accumulate(centred**2) / self.total
            normal = np.isfinite(error) & (self.total > 1e-250) & np.isfinite(self.squares[0][1:])
        unsafe = np.flatnonzero(~(normal & (error <= _ROUNDING / 2 * least_threshold)))
        self.first_safe = int(unsafe[-1]) + 1 if len(unsafe) else 0

    def safe(self, window: int) -> bool:
        """Whether rounding stays below what a threshold allows wherever `window` decides."""
        return window - 1 >= self.first_safe

    def stops(
        self, window: int, limits: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first index at which each limit may be passed, and the first at which it must be.

        Both are the number of losses where there is no such index.
        """
        sums, squares = (
            (whole[window:] - whole[:-window]) + (error[window:] - error[:-window])
            for whole, error in (self.sums, self.squares)
        )
        sums *= sums
        sums /= window
        squares -= sums
        squares /= self.total[window - 1 :]
        # The first window is all so far: its ratio is 1 and no rounding is to put that in doubt.
        squares[0] = np.inf
        lowest = np.minimum.accumulate(squares) / window
        # Negated, the lowest ratio so far rises, which is the order that searchsorted needs.
        np.negative(lowest, out=lowest)
        possible, certain = (
            np.where(limits > 1, 0, np.searchsorted(lowest, -limits * factor, side="right"))
            for factor in (1 + _ROUNDING, 1 - _ROUNDING)
        )
        return possible + window - 1, certain + window - 1


def _running_sums(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Σ over the first k values, k = 0 … n: the rounded sums, and what rounding took from each."""
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, out=sums[1:])
    before, after = sums[:-1], sums[1:]
    # Knuth's TwoSum: the exact error of each addition before + values = after.
    added = after - before
    errors = np.zeros(len(values) + 1)
    np.cumsum((before - (after - added)) + (values - added), out=errors[1:])
    return sums, errors
