"""DVAR: stop when the deterministic loss has stopped varying.

    var(last `window` values) / var(all values so far) < `threshold`,

both population variances (ddof 0), and nothing decided before `window` values were seen. Source:
Voronov et al., "Is This Loss Informative? Faster Text-to-Image Customization by Tracking Objective
Dynamics", NeurIPS 2023, arXiv 2302.04841.

`DVAR` takes one loss at a time while training runs, in exact arithmetic. `dvar_ratios` computes all
ratios of a recorded trace at once with numpy, and `dvar_stops` says where DVAR fires in it.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.stopping.base import (
    Grid,
    LossCriterion,
    checked_positive,
    checked_whole,
    require_same,
)

_ROUNDING = 1e-9
"""How far, relatively, `dvar_ratios` may be off: it errs by about 1e-14 on traces of 1e6 points."""

_LARGEST, _SMALLEST_CHANGE = 1e150, 1e-140
"""Losses beyond these have squares that leave the range of a float64."""


class DVAR(LossCriterion):
    """Stops when var(last `window` losses) / var(all losses so far) < `threshold`.

    The sums behind both variances are kept as exact integers, because a finite float is a whole
    number over a power of two. So n·Σx² − (Σx)² cancels nothing away and nothing drifts, whatever
    the offset of the losses and however long the run: the ratio is one correctly rounded division.
    One update takes the same few microseconds at any step and with any window.

    If all losses so far are equal, the ratio is undefined (NaN) and DVAR does not stop. A loss that
    is NaN or infinite is no evidence: it enters neither variance, it warns with a
    `NonFiniteLossWarning`, and DVAR does not stop on it.

    Args:
        window: how many of the last losses to compare with all of them, at least 2 (310 is
            published for textual inversion).
        threshold: the ratio below which to stop, finite and above 0 (published: 0.15).

    Raises:
        UserError: an argument is outside its range.

    Example:
        >>> criterion = DVAR(window=3, threshold=0.1)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.3, 0.25, 0.25)]
        [False, False, False, False, True]
        >>> round(criterion.ratio, 4)
        0.009
    """

    formula: ClassVar[str] = "var(last window) / var(all so far) < threshold"
    source: ClassVar[str] = "Voronov et al., NeurIPS 2023, arXiv 2302.04841"
    grid: ClassVar[Grid] = {
        "window": (5, 10, 20, 50, 100, 200, 310),
        "threshold": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    }

    def __init__(self, window: int = 310, threshold: float = 0.15) -> None:
        self.window, self.threshold = checked_window(window), checked_threshold(threshold)
        self._count = 0
        self._recent: deque[float] = deque()
        # Every sum is in units of 2**-scale, every sum of squares in units of 2**-(2·scale).
        self._scale = 0
        self._sum = self._squares = 0
        self._recent_sum = self._recent_squares = 0
        self._ratio = math.nan

    @property
    def least(self) -> int:
        """`window`: nothing is decided before there are as many losses."""
        return self.window

    @property
    def ratio(self) -> float:
        """The ratio over the finite losses so far; NaN before `window` of them or if all equal."""
        return self._ratio

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, JSON-able; its size depends on the window alone.

        The two totals are hexadecimal text: they have more digits than many JSON readers keep.
        """
        return {
            "window": self.window,
            "count": self._count,
            "scale": self._scale,
            "sum": hex(self._sum),
            "squares": hex(self._squares),
            "recent": list(self._recent),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state` exactly as the criterion that returned it would.

        The threshold is no part of what was seen, so that a run may be resumed with another one.

        Raises:
            UserError: `state` was kept for another window.
        """
        require_same(state, "window", self.window)
        self._count, self._scale = int(state["count"]), int(state["scale"])
        self._sum, self._squares = int(state["sum"], 16), int(state["squares"], 16)
        self._recent = deque(map(float, state["recent"]))
        scaled = [self._scaled(loss) for loss in self._recent]
        self._recent_sum = sum(scaled)
        self._recent_squares = sum(value * value for value in scaled)
        self._ratio = self._exact_ratio()

    def _take(self, loss: float) -> bool:
        value = self._scaled(loss)
        square = value * value
        self._count += 1
        self._sum += value
        self._squares += square
        self._recent_sum += value
        self._recent_squares += square
        self._recent.append(loss)
        if len(self._recent) > self.window:
            value = self._scaled(self._recent.popleft())
            self._recent_sum -= value
            self._recent_squares -= value * value
        self._ratio = self._exact_ratio()
        return self._ratio < self.threshold

    def _exact_ratio(self) -> float:
        if self._count < self.window:
            return math.nan
        total = self._count * self._squares - self._sum**2
        if total == 0:
            return math.nan
        recent = self.window * self._recent_squares - self._recent_sum**2
        return (recent * self._count**2) / (total * self.window**2)

    def _scaled(self, loss: float) -> int:
        numerator, denominator = loss.as_integer_ratio()
        shift = self._scale + 1 - denominator.bit_length()
        if shift < 0:
            self._refine(-shift)
            shift = 0
        return numerator << shift

    def _refine(self, bits: int) -> None:
        self._scale += bits
        self._sum <<= bits
        self._recent_sum <<= bits
        self._squares <<= 2 * bits
        self._recent_squares <<= 2 * bits


def checked_window(window: int) -> int:
    """`window` as an int.

    Raises:
        UserError: it is not a whole number of at least 2.
    """
    return checked_whole("window", window, 2, "losses")


def checked_threshold(threshold: float) -> float:
    """`threshold` as a float.

    Raises:
        UserError: it is not a finite number above 0.
    """
    return checked_positive("threshold", threshold, 0.15)


def dvar_ratios(losses: ArrayLike, window: int) -> NDArray[np.float64]:
    """The DVAR ratio at every index of a recorded trace, in O(n) time and memory with numpy.

    Windows are taken as the end of one block of `window` losses and the beginning of the next. Each
    part is centred on a loss of its own, its squares are summed as Welford's non-negative terms
    (Technometrics 4, 1962), and the parts are merged by Chan, Golub & LeVeque's formula (American
    Statistician 37, 1983, eq. 2.1), so that no offset and no earlier level of the loss cancels.

    Args:
        losses: shape (n,).
        window: how many of the last losses to compare with all of them, at least 2.

    Returns:
        Shape (n,). NaN before `window` finite losses, where all losses so far are equal, and at a
        loss that is NaN or infinite: such a loss is left out of both variances.

    Raises:
        UserError: `window` is below 2.

    Example:
        >>> dvar_ratios([0.9, 0.5, 0.3, 0.25, 0.25], window=3).round(4)
        array([   nan,    nan, 1.    , 0.1782, 0.009 ])
    """
    window = checked_window(window)
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"losses have shape {values.shape}, expected (n,)")
    ratios = np.full(values.shape, np.nan)
    finite = np.isfinite(values)
    ratios[finite] = _finite_ratios(values[finite], window)
    return ratios


def dvar_stops(losses: ArrayLike, window: int, thresholds: Sequence[float]) -> list[int | None]:
    """Where `DVAR` fires in a recorded trace, for each threshold; None where it never does.

    The decisions are those of `DVAR` itself: where a ratio is so near to a threshold that rounding
    could decide, exact arithmetic decides instead.

    Args:
        losses: shape (n,); NaN and infinite ones are left out, as in `DVAR`.
        window: how many of the last losses to compare with all of them, at least 2.
        thresholds: the ratios below which to stop, each finite and above 0.

    Returns:
        One 0-based index into `losses`, or None, per threshold.

    Raises:
        UserError: `window` or a threshold is outside its range.

    Example:
        >>> dvar_stops([0.9, 0.5, 0.3, 0.25, 0.25], window=3, thresholds=[0.2, 0.1, 0.001])
        [3, 4, None]
    """
    values = np.asarray(losses, dtype=np.float64)
    limits = np.array([checked_threshold(threshold) for threshold in thresholds])
    ratios = dvar_ratios(values, window)
    lowest = np.minimum.accumulate(np.where(np.isnan(ratios), np.inf, ratios))
    # Negated, the lowest ratio so far rises, which is the order that searchsorted needs.
    possible = np.searchsorted(-lowest, -limits * (1 + _ROUNDING), side="right")
    certain = np.searchsorted(-lowest, -limits * (1 - _ROUNDING), side="right")
    stops = [
        int(last) if first == last else _exact_stop(values[: last + 1], window, limit)
        for first, last, limit in zip(possible, certain, limits, strict=True)
    ]
    return [None if stop is None or stop == len(values) else stop for stop in stops]


def _exact_stop(values: NDArray[np.float64], window: int, threshold: float) -> int | None:
    criterion = DVAR(window, threshold)
    for index in np.flatnonzero(np.isfinite(values)):
        if criterion.update(values[index]):
            return int(index)
    return None


def _finite_ratios(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    ratios = np.full(len(values), np.nan)
    if len(values) < window:
        return ratios
    changes = np.abs(np.diff(values / 2))
    if np.abs(values).max() > _LARGEST or changes[changes > 0].min(initial=1) < _SMALLEST_CHANGE:
        return _exact_ratios(values, window)
    counts = np.arange(1, len(values) + 1)
    total = running_squares(values)[1] / counts
    recent = _window_squares(values, window) / window
    return np.divide(recent, total, out=ratios, where=(counts >= window) & (total > 0))


def _exact_ratios(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    criterion = DVAR(window, threshold=1.0)
    ratios = np.empty(len(values))
    for index, value in enumerate(values):
        criterion.update(value)
        ratios[index] = criterion.ratio
    return ratios


def _window_squares(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Σ(x − mean)² over the `window` values that end at each index; shape (n,), 0 before that."""
    padding = -len(values) % window
    blocks = np.pad(values, (0, padding), mode="edge").reshape(-1, window)
    means, squares = running_squares(blocks)
    merged = np.zeros(blocks.shape)
    merged[:, -1] = squares[:, -1]
    # A window that ends at place j of a block has the j + 1 values up to there, and the last
    # window − 1 − j values of the block before; both lists run over j = 0 … window − 2.
    head_means, head_squares = means[1:, :-1], squares[1:, :-1]
    back_means, back_squares = running_squares(blocks[:-1, ::-1])
    tail_means, tail_squares = back_means[:, -2::-1], back_squares[:, -2::-1]
    heads = np.arange(1, window)
    gaps = (blocks[1:, :1] - blocks[:-1, -1:]) + (head_means - tail_means)
    merged[1:, :-1] = head_squares + tail_squares + gaps**2 * (heads * (window - heads) / window)
    return merged.reshape(-1)[: len(values)]


def running_squares(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Over each beginning of the last axis: the mean less the first value, and Σ(x − mean)²."""
    counts = np.arange(1, values.shape[-1] + 1)
    centred = values - values[..., :1]
    means = np.cumsum(centred, axis=-1) / counts
    squares = np.zeros(values.shape)
    changes = centred[..., 1:] - means[..., :-1]
    squares[..., 1:] = np.cumsum(changes**2 * (counts[:-1] / counts[1:]), axis=-1)
    return means, squares
