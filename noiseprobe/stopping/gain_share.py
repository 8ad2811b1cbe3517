"""Gain share: stop when the last losses brought too little of all that was gained so far."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from noiseprobe.stopping.base import Grid, LossCriterion, checked_positive
from noiseprobe.stopping.window import SortedLosses, checked_window, window_after


class GainShare(LossCriterion):
    """Stops when the gain over the last `window` losses is below a share of all gain so far.

    With m the median of the last `window` // 3 losses, and m_0 the first such median,

        (m_then - m_now) < `threshold` · (m_0 - lowest m so far),

    where m_then is the median of the first third of the window and m_now that of its last third.
    Where the window is a share, each m is of a third of the window as long as it was then.
    It is noiseprobe's own. Like DVAR, it compares the last losses with all of them, and
    neither an offset nor a scale of the loss changes what it does. Unlike a variance, a gain has a
    sign: a loss that rises again has gained less than nothing, so that it stops after the minimum
    of a U; and medians leave out single spikes. On a straight fall of n losses, with medians of
    p = `window` // 3 of them, the share is (`window` - p) / (n - p), and it stops when this is
    below `threshold`.

    Nothing is decided before `window` losses were seen. Where nothing was ever gained or lost, it
    does not stop. A loss that is NaN or infinite is no evidence: it enters no median, it warns with
    a `NonFiniteLossWarning`, and GainShare does not stop on it. Memory is in proportion to the
    window, time per loss to its logarithm.

    Args:
        window: how many of the last losses the gain is taken over, at least 3; or, as a number
            between 0 and 1, which share of them: at the n-th loss max(5, ceil(window·n)).
        threshold: the share of the whole gain below which to stop, finite and above 0.

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = GainShare(window=3, threshold=0.2)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.3, 0.25, 0.25)]
        [False, False, False, False, True]
        >>> round(criterion.share, 4)
        0.0769
    """

    formula: ClassVar[str] = "gain over the last window / gain so far < threshold, of medians"
    source: ClassVar[str] = "noiseprobe; experiments/criteria/RESULTS.md"
    grid: ClassVar[Grid] = {
        "window": (30, 60, 90, 120, 150, 200, 0.3, 0.5, 0.6, 0.7),
        "threshold": (0.001, 0.02, 0.05, 0.1, 0.2, 0.3),
    }
    scale_free: ClassVar[Mapping[str, float]] = {"window": 0.6}
    kept_for = ("window",)
    kept = ("count", "recent", "first", "lowest")

    def __init__(self, window: float = 150, threshold: float = 0.1) -> None:
        self.window = checked_window(window, 3)
        self.threshold = checked_positive("threshold", threshold, 0.1)
        self._first = self._lowest = math.nan
        self._count = 0
        self._recent: deque[float] = deque()
        self._then, self._now = SortedLosses(), SortedLosses()  # the first third and the last

    @property
    def least(self) -> int:
        """`window`, or 5 where it is a share: nothing is decided before there are as many."""
        return window_after(self.window, 0)

    @property
    def share(self) -> float:
        """The gain over the window as a share of all gain; NaN before `least` losses, or of 0.

        Without any gain so far, a loss that rises has a share of minus infinity.
        """
        if self._count < self.least:
            return math.nan
        gain, total = self._then.median - self._now.median, self._first - self._lowest
        if total > 0:
            return gain / total
        return -math.inf if gain < 0 else math.nan

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the threshold is no part of what was seen."""
        super().load_state_dict(state)
        losses, part = list(self._recent), window_after(self.window, self._count) // 3
        for third, of_third in ((self._then, losses[:part]), (self._now, losses[-part:])):
            for loss in of_third:
                third.add(loss)

    def _take(self, loss: float) -> bool:
        self._count += 1
        window = window_after(self.window, self._count)
        part = window // 3
        self._recent.append(loss)
        self._now.add(loss)
        if len(self._now) > part:
            self._now.remove(self._recent[-part - 1])
        if len(self._recent) > window:
            oldest = self._recent.popleft()
            self._then.remove(oldest)
        if len(self._then) < min(part, len(self._recent)):
            self._then.add(self._recent[len(self._then)])
        if len(self._now) == part:
            now = self._now.median
            if math.isnan(self._first):
                self._first = self._lowest = now
            self._lowest = min(self._lowest, now)
        return self.share < self.threshold
