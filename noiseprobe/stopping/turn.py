"""Turn: stop when the held-out loss has risen from its best by more than can be chance."""

import math
import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import Grid, NonFiniteLossWarning
from noiseprobe.stopping.best import BestCriterion


class Turn(BestCriterion):
    """Stops when the loss has risen since its best, by more than its own uncertainty.

    It looks at the losses (B,) of the samples of one fixed batch, which have the same photographs,
    captions, timesteps and noise at each evaluation, as `l_val` has. Best is the evaluation whose
    mean was lowest so far. With the rise of each sample since then, d = losses - losses at the
    best, it fires where

        mean(d) > t · sd(d) / √B,

    t being the quantile `confidence` of Student's distribution with B - 1 degrees of freedom: the
    paired one-sided t test (Student, Biometrika 6, 1908). What the draws do to both evaluations
    alike cancels in d, so that no window and no threshold in units of the loss is needed.

    The uncertainty is that of drawing such samples. Where all are of one photograph, it is not
    that of other photographs of the thing.

    An evaluation with a loss that is NaN or infinite is no evidence: it warns with a
    `NonFiniteLossWarning`, and Turn does not stop on it. One loss alone, a number or a vector of
    one, tells of no uncertainty: Turn then knows the best and never fires. Constant memory,
    constant time per evaluation.

    Args:
        confidence: how sure a rise must be, above 0 and below 1.

    Raises:
        UserError: `confidence` is outside its range.

    Example:
        >>> criterion = Turn(confidence=0.95)
        >>> held_out = [[0.9, 0.5, 0.3], [0.8, 0.4, 0.2], [0.8, 0.5, 0.2], [0.9, 0.6, 0.3]]
        >>> [criterion.update(losses) for losses in held_out]
        [False, False, False, True]
        >>> criterion.best_index
        1
    """

    formula: ClassVar[str] = "mean rise of the samples since the best > t(confidence) x its error"
    source: ClassVar[str] = "noiseprobe; Student's paired test, Biometrika 6, 1908"
    grid: ClassVar[Grid] = {"confidence": (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)}
    kept = (*BestCriterion.kept, "best_losses")
    per_sample: ClassVar[bool] = True

    def __init__(self, confidence: float = 0.95) -> None:
        if not 0 < confidence < 1:
            raise UserError(
                f"confidence {confidence}: give a number above 0 and below 1, such as 0.95"
            )
        super().__init__()
        self.confidence = float(confidence)
        self._best_losses: list[float] = []

    @property
    def least(self) -> int:
        """2: the first evaluation is the best so far."""
        return 2

    def update(self, loss: ArrayLike, step: int | None = None) -> bool:
        """Take the losses (B,) of the next evaluation; True means: stop now.

        Raises:
            UserError: they are no vector, or of another length than before.

        Warns:
            NonFiniteLossWarning: one is NaN or infinite; all are left out and False is returned.
        """
        losses = np.atleast_1d(np.asarray(loss, dtype=np.float64))
        if losses.ndim != 1 or not losses.size:
            raise UserError(f"losses of shape {losses.shape}: give one per sample, (B,)")
        if self._best_losses and len(self._best_losses) != losses.size:
            raise UserError(
                f"{losses.size} losses, and {len(self._best_losses)} before: give those of the "
                "same samples at each evaluation"
            )
        if not np.isfinite(losses).all():
            warnings.warn(
                "a loss is NaN or infinite: Turn leaves it out and does not stop on it",
                NonFiniteLossWarning,
                stacklevel=2,
            )
            self._skip()
            return False
        if self._improves(float(losses.mean())):
            self._best_losses = losses.tolist()
            return False
        if losses.size < 2:
            return False
        rise = losses - self._best_losses
        error = float(rise.std(ddof=1)) / math.sqrt(losses.size)
        return bool(rise.mean() > _quantile(self.confidence, losses.size - 1) * error)


def _quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's distribution."""
    from scipy.special import stdtrit  # a third of a second, which other commands need not wait for

    value: Any = stdtrit(degrees, probability)
    return float(value)
