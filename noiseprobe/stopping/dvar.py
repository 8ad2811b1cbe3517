"""DVAR: stop when the deterministic loss has stopped varying.

    var(last `window` values) / var(all values so far) < `threshold`,

both population variances (ddof 0), and nothing decided before `window` values were seen; `window`
is a count, as published, or a share of all values so far (`noiseprobe.stopping.window`). Source:
Voronov et al., "Is This Loss Informative? Faster Text-to-Image Customization by Tracking Objective
Dynamics", NeurIPS 2023, arXiv 2302.04841.

`DVAR` takes one loss at a time while training runs, in exact arithmetic. Of a recorded trace,
`noiseprobe.stopping.dvar_recorded` computes all at once with numpy.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from noiseprobe.stopping.base import Grid, LossCriterion, checked_positive
from noiseprobe.stopping.window import checked_window, window_after


class DVAR(LossCriterion):
    """Stops when var(last `window` losses) / var(all losses so far) < `threshold`.

    The sums behind both variances are kept as exact integers, because a finite float is a whole
    number over a power of two. So n·Σx² − (Σx)² cancels nothing away and nothing drifts, whatever
    the offset of the losses and however long the run: the ratio is one correctly rounded division.
    One update takes the same few microseconds at any step and with any window. Memory is in
    proportion to the window; where that is a share, it grows with the number of losses.

    Of a straight fall of n losses, a window of w has (w² - 1) / (n² - 1) of the variance. A share p
    therefore stops in the middle of one where `threshold` is above p², and a count where n is above
    `window` / √`threshold`.

    If all losses so far are equal, the ratio is undefined (NaN) and DVAR does not stop. A loss that
    is NaN or infinite is no evidence: it enters neither variance, it warns with a
    `NonFiniteLossWarning`, and DVAR does not stop on it.

    Args:
        window: how many of the last losses to compare with all of them, at least 2 (310 is
            published for textual inversion); or, as a number between 0 and 1, which share of them:
            at the n-th loss max(5, ceil(window·n)).
        threshold: the ratio below which to stop, finite and above 0 (published: 0.15).

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = DVAR(window=3, threshold=0.1)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.3, 0.25, 0.25)]
        [False, False, False, False, True]
        >>> round(criterion.ratio, 4)
        0.009
        >>> DVAR(0.2, 0.1)
        DVAR(window=0.2, threshold=0.1)
    """

    formula: ClassVar[str] = "var(last window) / var(all so far) < threshold"
    source: ClassVar[str] = "Voronov et al., NeurIPS 2023, arXiv 2302.04841"
    grid: ClassVar[Grid] = {
        "window": (5, 10, 20, 50, 100, 200, 310, 0.2, 0.3, 0.5, 0.7),
        "threshold": (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5),
    }
    scale_free: ClassVar[Mapping[str, float]] = {"window": 0.7}
    kept_for = ("window",)
    kept = ("count", "scale", "recent")

    def __init__(self, window: float = 310, threshold: float = 0.15) -> None:
        self.window = checked_window(window, 2)
        self.threshold = checked_positive("threshold", threshold, 0.15)
        self._count = 0
        self._recent: deque[float] = deque()
        # Every sum is in units of 2**-scale, every sum of squares in units of 2**-(2·scale).
        self._scale = 0
        self._sum = self._squares = 0
        self._recent_sum = self._recent_squares = 0

    @property
    def least(self) -> int:
        """`window`, or 5 where it is a share: nothing is decided before there are as many."""
        return window_after(self.window, 0)

    @property
    def ratio(self) -> float:
        """The ratio over the finite losses so far; NaN before `least` of them or if all equal."""
        if self._count < self.least:
            return math.nan
        window = len(self._recent)
        total = self._count * self._squares - self._sum**2
        if total == 0:
            return math.nan
        recent = window * self._recent_squares - self._recent_sum**2
        return (recent * self._count**2) / (total * window**2)

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, JSON-able; its size depends on the window alone.

        The two totals are hexadecimal text: they have more digits than many JSON readers keep.
        """
        return super().state_dict() | {"sum": hex(self._sum), "squares": hex(self._squares)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state` exactly as the criterion that returned it would."""
        super().load_state_dict(state)
        self._sum, self._squares = int(state["sum"], 16), int(state["squares"], 16)
        scaled = [self._scaled(loss) for loss in self._recent]
        self._recent_sum = sum(scaled)
        self._recent_squares = sum(value * value for value in scaled)

    def _take(self, loss: float) -> bool:
        value = self._scaled(loss)
        square = value * value
        self._count += 1
        self._sum += value
        self._squares += square
        self._recent_sum += value
        self._recent_squares += square
        self._recent.append(loss)
        if len(self._recent) > window_after(self.window, self._count):
            value = self._scaled(self._recent.popleft())
            self._recent_sum -= value
            self._recent_squares -= value * value
        return self.ratio < self.threshold

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
