"""Gain share: stop when the last losses brought too little of all that was gained so far."""

import math
from collections import deque
from statistics import median
from typing import ClassVar

from noiseprobe.stopping.base import Grid, LossCriterion, checked_positive, checked_whole


class GainShare(LossCriterion):
    """Stops when the gain over the last `window` losses is below a share of all gain so far.

    With m_k the median of the last `window` // 3 losses, and m_0 the first such median,

        (m_then - m_now) < `threshold` · (m_0 - lowest m so far),

    where m_then is the median of the first third of the window and m_now that of its last third.
    It is noiseprobe's own. Like DVAR, it compares the last losses with all of them, and
    neither an offset nor a scale of the loss changes what it does. Unlike a variance, a gain has a
    sign: a loss that rises again has gained less than nothing, so that it stops after the minimum
    of a U; and medians leave out single spikes. On a straight fall of n losses, with medians of
    p = `window` // 3 of them, the share is (`window` - p) / (n - p), and it stops when this is
    below `threshold`.

    Nothing is decided before `window` losses were seen. Where nothing was ever gained or lost, it
    does not stop. A loss that is NaN or infinite is no evidence: it enters no median, it warns with
    a `NonFiniteLossWarning`, and GainShare does not stop on it. Memory and time per loss are in
    proportion to the window.

    Args:
        window: how many of the last losses the gain is taken over, at least 3.
        threshold: the share of the whole gain below which to stop, finite and above 0.

    Raises:
        UserError: an argument is outside its range.

    Example:
        >>> criterion = GainShare(window=3, threshold=0.2)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.3, 0.25, 0.25)]
        [False, False, False, False, True]
        >>> round(criterion.share, 4)
        0.0769
    """

    formula: ClassVar[str] = "gain over the last window / gain so far < threshold, of medians"
    source: ClassVar[str] = "noiseprobe; experiments/criteria/RESULTS.md"
    grid: ClassVar[Grid] = {
        "window": (30, 60, 90, 120, 150, 200),
        "threshold": (0.001, 0.02, 0.05, 0.1, 0.2, 0.3),
    }
    kept_for = ("window",)
    kept = ("recent", "medians", "first", "lowest")

    def __init__(self, window: int = 150, threshold: float = 0.1) -> None:
        self.window = checked_whole("window", window, 3, "losses")
        self.threshold = checked_positive("threshold", threshold, 0.1)
        self._part = self.window // 3
        self._first = self._lowest = math.nan
        self._recent: deque[float] = deque(maxlen=self._part)
        self._medians: deque[float] = deque(maxlen=self.window - self._part + 1)

    @property
    def least(self) -> int:
        """`window`: nothing is decided before there are as many losses."""
        return self.window

    @property
    def share(self) -> float:
        """The gain over the window as a share of all gain; NaN before `window` losses, or of 0.

        Without any gain so far, a loss that rises has a share of minus infinity.
        """
        if len(self._medians) < (self._medians.maxlen or 0):
            return math.nan
        gain, total = self._medians[0] - self._medians[-1], self._first - self._lowest
        if total > 0:
            return gain / total
        return -math.inf if gain < 0 else math.nan

    def _take(self, loss: float) -> bool:
        self._recent.append(loss)
        if len(self._recent) == self._part:
            now = median(self._recent)
            if not self._medians:
                self._first = self._lowest = now
            self._lowest = min(self._lowest, now)
            self._medians.append(now)
        return self.share < self.threshold
