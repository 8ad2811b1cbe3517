"""Relative range: stop when the last losses lie within a small share of their level."""

import math
from collections import deque
from collections.abc import Mapping
from typing import ClassVar

from noiseprobe.stopping.base import Grid, LossCriterion, checked_positive
from noiseprobe.stopping.window import checked_window, window_after


class RelativeRange(LossCriterion):
    """Stops when 2·(max − min) / (|max| + |min|) of the last `window` losses < `threshold`.

    For losses of one sign that is the range over the middle of the range. It is the fractional
    range by which the downhill simplex method stops: Press, Teukolsky, Vetterling & Flannery,
    Numerical Recipes, 3rd ed. (2007), §10.5, `rtol`. A window of equal losses has a relative range
    of 0, also if all are 0. Nothing is decided before `window` losses were seen. A loss that is NaN
    or infinite is no evidence: it enters no window, it warns with a `NonFiniteLossWarning`, and
    RelativeRange does not stop on it.

    The extremes are kept by two monotone queues: constant time per loss on average, memory in
    proportion to the window at most.

    Args:
        window: how many of the last losses to look at, at least 2; or, as a number between 0 and 1,
            which share of them: at the n-th loss max(5, ceil(window·n)).
        threshold: the relative range below which to stop, finite and above 0.

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = RelativeRange(window=2, threshold=0.1)
        >>> [criterion.update(loss) for loss in (1.0, 0.5, 0.4, 0.39)]
        [False, False, False, True]
        >>> round(criterion.ratio, 4)
        0.0253
    """

    formula: ClassVar[str] = "2 (max - min) / (|max| + |min|) of the last window < threshold"
    source: ClassVar[str] = "Press et al., Numerical Recipes, 3rd ed., 2007, section 10.5"
    grid: ClassVar[Grid] = {
        "window": (5, 10, 20, 50, 100, 200, 0.2, 0.3, 0.5, 0.7),
        "threshold": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    }
    scale_free: ClassVar[Mapping[str, float]] = {"window": 0.5}
    kept_for = ("window",)
    kept = ("count", "highest", "lowest")

    def __init__(self, window: float = 50, threshold: float = 0.02) -> None:
        self.window = checked_window(window, 2)
        self.threshold = checked_positive("threshold", threshold, 0.02)
        self._count = 0
        # Pairs of place and loss; along each queue places rise, and losses fall or rise.
        self._highest: deque[tuple[int, float]] = deque()
        self._lowest: deque[tuple[int, float]] = deque()

    @property
    def least(self) -> int:
        """`window`, or 5 where it is a share: nothing is decided before there are as many."""
        return window_after(self.window, 0)

    @property
    def ratio(self) -> float:
        """The relative range of the last `window` finite losses; NaN before there are as many."""
        if self._count < self.least:
            return math.nan
        high, low = self._highest[0][1], self._lowest[0][1]
        if high == low:
            return 0.0
        # In units of a power of two near to the larger one, nothing leaves the range of a float.
        unit = -math.frexp(max(abs(high), abs(low)))[1]
        high, low = math.ldexp(high, unit), math.ldexp(low, unit)
        return 2 * (high - low) / (abs(high) + abs(low))

    def _take(self, loss: float) -> bool:
        first = self._count + 1 - window_after(self.window, self._count + 1)
        for queue, sign in ((self._highest, 1.0), (self._lowest, -1.0)):
            while queue and sign * queue[-1][1] <= sign * loss:
                queue.pop()
            queue.append((self._count, loss))
            if queue[0][0] < first:
                queue.popleft()
        self._count += 1
        return self.ratio < self.threshold
