"""Recent gain: stop when it is sure that the last stretch brought too little of all gained."""

import math
import warnings
from collections.abc import Mapping
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from noiseprobe.stopping.base import (
    Grid,
    NonFiniteLossWarning,
    checked_confidence,
    checked_losses,
    checked_share,
)
from noiseprobe.stopping.best import BestCriterion


class RecentGain(BestCriterion):
    """Stops when a gain of more than `share` of all so far is excluded for the last stretch.

    A training is cut into stretches of steps. At the end of each it sees, of the stretch's training
    batches, the loss of each sample now less that under the weights with which the stretch began,
    on the same draws (`recent` in a run). With n of them, of mean -g and
    variance v (ddof 1), g is what the stretch brought and v / n its squared error. All that was
    gained is G, the sum of g over stretches. It stops when

        (g - `share` · G) + z · se < 0,
        se² = (1 - `share`)² v / n + `share`² Σ v' / n',

    with z the `confidence` quantile of the normal distribution, and the sum over the stretches
    before. Draws do much the same to the weights of 50 steps before and to those now, so that the
    difference of the two is far less noisy than that of either from the starting model
    (experiments/paired/RESULTS.md).

    The interval is of one look, and there is one at the end of each stretch: a stop by chance is
    likelier in a whole run than 1 - `confidence`. Samples must be drawn independently. The gain is
    one of the training loss, which goes on while photographs are memorised.

    Nothing is decided before two stretches were seen. The best is the stretch after which G was
    highest. A stretch with a loss that is NaN or infinite is no evidence: it warns with a
    `NonFiniteLossWarning`, and RecentGain does not stop on it. One loss alone, a number or a vector
    of one, tells of no error: RecentGain then knows the best and never fires. Constant memory.

    Args:
        share: the share of all gain, above 0 and below 1.
        confidence: of the interval, at least 0.5 and below 1; at 0.5 the gains alone decide.

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = RecentGain(share=0.1, confidence=0.95)
        >>> stretches = [-0.31, -0.30, -0.29], [-0.11, -0.10, -0.09], [-0.02, -0.01, 0.0]
        >>> [criterion.update(stretch) for stretch in stretches]
        [False, False, True]
        >>> round(criterion.gain, 4), round(criterion.total, 4), round(criterion.se, 4)
        (0.01, 0.41, 0.0053)
    """

    formula: ClassVar[str] = "upper limit of (gain of last stretch - share * gain so far) < 0"
    source: ClassVar[str] = "noiseprobe; experiments/paired/RESULTS.md"
    grid: ClassVar[Grid] = {
        "share": (0.02, 0.05, 0.1, 0.2, 0.3),
        "confidence": (0.5, 0.8, 0.95),
    }
    kept = (*BestCriterion.kept, "stretches", "gain", "total", "own", "before")
    per_sample: ClassVar[bool] = True
    scaled: ClassVar[Mapping[str, int]] = {}

    def __init__(self, share: float = 0.1, confidence: float = 0.95) -> None:
        super().__init__()
        self.share = checked_share(share)
        self.confidence = checked_confidence(confidence)
        self._quantile = NormalDist().inv_cdf(self.confidence)
        self._stretches = 0
        self._gain, self._own = math.nan, math.nan  # of the last stretch, and its squared error
        self._total = self._before = 0.0  # of all, and the squared error of those before the last

    @property
    def least(self) -> int:
        """2: what the last stretch brought is held against what came before."""
        return 2

    @property
    def gain(self) -> float:
        """What the last stretch brought, in units of the loss; NaN before there is one."""
        return self._gain

    @property
    def total(self) -> float:
        """What all stretches brought together, in units of the loss."""
        return self._total

    @property
    def se(self) -> float:
        """The standard error of `gain` - `share` · `total`; NaN before there is one."""
        return math.sqrt((1 - self.share) ** 2 * self._own + self.share**2 * self._before)

    @property
    def upper(self) -> float:
        """The upper limit of `gain` - `share` · `total`; it stops where this is below 0."""
        return self.gain - self.share * self.total + self._quantile * self.se

    def update(self, loss: ArrayLike, step: int | None = None) -> bool:
        """Take the differences (n,) of the next stretch; True means: stop now.

        Raises:
            UserError: they are no vector.

        Warns:
            NonFiniteLossWarning: one is NaN or infinite; all are left out and False is returned.
        """
        differences = checked_losses(loss)
        if not np.isfinite(differences).all():
            warnings.warn(
                "a loss is NaN or infinite: RecentGain leaves it out and does not stop on it",
                NonFiniteLossWarning,
                stacklevel=2,
            )
            self._skip()
            return False
        alone = differences.size < 2
        self._before += 0.0 if math.isnan(self._own) else self._own
        self._own = math.nan if alone else float(differences.var(ddof=1)) / differences.size
        self._gain = -float(differences.mean())
        self._total += self._gain
        self._stretches += 1
        self._improves(-self._total)
        return self._stretches > 1 and self.upper < 0
