"""DVAR's ratios by running sums: a few passes for each window, and how far off they may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAFETY = 8.0
"""By what the error bounds are multiplied, of which constants were left out."""


@dataclass(frozen=True)
class RunningSums:
    """Sums over each beginning of n finite losses, less their mean.

    The sum of squares in a window is then the difference of two sums of squares less the squared
    difference of two sums, over the window. That cancels, so `error` bounds what rounding makes of
    a ratio: with ε the spacing of float64 at 1, i losses before, Q their sum of squares, V their
    variance, M the largest loss and w the window, each running sum is off by at most i·ε times the
    sum of magnitudes (Higham, SIAM Journal on Scientific Computing 14, 1993), each loss by ε·M.

    Attributes:
        sums, squares: (n + 1,), from 0.
        scales: (n,), one over the variance; meaningless before `start`.
        start: the first index at which not all losses so far are equal.
        by_sums: (n,), the highest i^1.5·Q/V at or after each index; infinite beyond float64.
        by_level: (n,), the same of M·√Q/V.
    """

    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    scales: NDArray[np.float64]
    start: int
    by_sums: NDArray[np.float64]
    by_level: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], variances: NDArray[np.float64]) -> RunningSums:
        """Of n finite losses, with the variance up to each, NaN where all are equal."""
        start = int(np.argmax(np.append(~np.isnan(variances), True)))
        centred = values - (values.mean() if len(values) else 0.0)
        sums, squares = (
            np.concatenate([[0.0], np.cumsum(each)]) for each in (centred, centred * centred)
        )
        scales = 1 / variances
        counts, largest = np.arange(1, len(values) + 1), np.abs(values).max(initial=0)
        with np.errstate(over="ignore"):
            by_sums = counts**1.5 * squares[1:] * scales
            by_level = largest * np.sqrt(squares[1:]) * scales
        highest = (
            np.maximum.accumulate(np.nan_to_num(each, posinf=np.inf)[::-1])[::-1]
            for each in (by_sums, by_level)
        )
        return cls(sums, squares, scales, start, *highest)

    def ratios(self, window: int) -> NDArray[np.float64]:
        """The ratio at each index from the first on that has one."""
        first = self.first(window)
        ends = slice(first + 1, None), slice(first + 1 - window, len(self.sums) - window)
        found = self.sums[ends[0]] - self.sums[ends[1]]
        found *= found
        found /= -window
        found += self.squares[ends[0]]
        found -= self.squares[ends[1]]
        found *= self.scales[first:]
        found /= window
        return found

    def first(self, window: int) -> int:
        """The first index at which there is a whole window, and not all losses are equal."""
        return max(window - 1, self.start)

    def error(self, window: int) -> float:
        """By how much any of these ratios is off, at most."""
        first = self.first(window)
        if first >= len(self.scales):
            return 0.0
        off = float(self.by_sums[first]) / window**1.5 + float(self.by_level[first]) / window**0.5
        return float(SAFETY * np.finfo(np.float64).eps * off)
