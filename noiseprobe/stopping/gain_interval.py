"""Gain interval: stop when it is sure that the last losses brought too little of all gained."""

import math
from collections import deque
from collections.abc import Mapping
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from noiseprobe.stopping.base import (
    Grid,
    LossCriterion,
    checked_confidence,
    checked_share,
    checked_whole,
)


class GainInterval(LossCriterion):
    """Stops when a gain of more than `share` of all so far is excluded for the last `window` steps.

    With a the mean of the last but one `window` losses, b that of the last, and x_1 the first loss,
    the gain of the last window is a - b and all gain is x_1 - b. It stops when the upper limit of
    the first less `share` times the second is below 0,

        (a - b) - `share` · (x_1 - b) + z · se < 0,
        se² = (v_a + (1 - `share`)² v_b) / `window`,

    z being the `confidence` quantile of the normal distribution: a one-sided interval, as Fieller's
    of a ratio (J. R. Stat. Soc. B 16, 1954). v is the variance of a loss about its trend, from
    successive differences in that window: Σ (x_(i+1) - x_i)² / 2(`window` - 1) (von Neumann et al.,
    Ann. Math. Stat. 12, 1941), which a slow trend hardly enters.

    It is noiseprobe's own, and made for `paired` (see `PairedLoss`), of which the first value is 0
    without error: both models are still the same. There the noise of steps is uncorrelated, and the
    interval means what it says for one step at which one looks: where the last window brought the
    share exactly, it holds in `confidence` of cases. Whoever looks at every step, as a training
    does, looks often: a stop by chance is likelier in a whole run than 1 - `confidence`. On L_det,
    whose curve is smooth, the interval is all but empty and the gains alone decide. A running mean
    is no series for it (its neighbours are alike, so that v is too small), nor is a bare training
    loss, whose first value is as noisy as any.

    Nothing is decided before 2 · `window` losses were seen. A loss that is NaN or infinite is no
    evidence: it enters no window, it warns with a `NonFiniteLossWarning`, and GainInterval does not
    stop on it. Memory and time per loss are in proportion to the window.

    Args:
        window: how many of the last losses the gain is taken over, at least 2.
        share: the share of all gain, above 0 and below 1.
        confidence: of the interval, at least 0.5 and below 1; at 0.5 the gains alone decide.

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = GainInterval(window=3, share=0.2, confidence=0.9)
        >>> paired = (0, -0.3, -0.5, -0.6, -0.65, -0.66, -0.66, -0.65)
        >>> [criterion.update(loss) for loss in paired]
        [False, False, False, False, False, False, False, True]
        >>> round(criterion.gain, 4), round(criterion.total, 4), round(criterion.upper, 4)
        (0.0733, 0.6567, -0.0165)
    """

    formula: ClassVar[str] = "upper limit of (gain of last window - share * gain so far) < 0"
    source: ClassVar[str] = "noiseprobe; experiments/paired/RESULTS.md"
    grid: ClassVar[Grid] = {
        "window": (20, 30, 40, 60, 80),
        "share": (0.02, 0.05, 0.1, 0.2, 0.3),
        "confidence": (0.5, 0.8, 0.95),
    }
    scaled: ClassVar[Mapping[str, int]] = {"window": 5}
    kept_for = ("window",)
    kept = ("first", "recent")

    def __init__(self, window: int = 60, share: float = 0.1, confidence: float = 0.95) -> None:
        self.window = checked_whole("window", window, 2, "losses")
        self.share = checked_share(share)
        self.confidence = checked_confidence(confidence)
        self._quantile = NormalDist().inv_cdf(self.confidence)
        self._first = math.nan
        self._recent: deque[float] = deque(maxlen=2 * self.window)

    @property
    def least(self) -> int:
        """2 · `window`: nothing is decided before there are as many losses."""
        return 2 * self.window

    @property
    def gain(self) -> float:
        """What the last window brought, a - b, in units of the loss; NaN before 2 · `window`."""
        before, last = self._windows().mean(axis=1).tolist()
        return float(before - last)

    @property
    def total(self) -> float:
        """What all losses brought, x_1 - b, in units of the loss; NaN before 2 · `window`."""
        return float(self._first - self._windows()[1].mean())

    @property
    def se(self) -> float:
        """The standard error of `gain` - `share` · `total`; NaN before 2 · `window` losses."""
        squares = (np.diff(self._windows(), axis=1) ** 2).sum(axis=1) / (2 * (self.window - 1))
        return math.sqrt((squares[0] + (1 - self.share) ** 2 * squares[1]) / self.window)

    @property
    def upper(self) -> float:
        """The upper limit of `gain` - `share` · `total`; it stops where this is below 0."""
        return self.gain - self.share * self.total + self._quantile * self.se

    def _take(self, loss: float) -> bool:
        if math.isnan(self._first):
            self._first = loss
        self._recent.append(loss)
        return len(self._recent) == self.least and self.upper < 0

    def _windows(self) -> NDArray[np.float64]:
        """The last but one window and the last, (2, `window`); NaN before both are full."""
        if len(self._recent) < self.least:
            return np.full((2, self.window), np.nan)
        return np.array(self._recent).reshape(2, self.window)
