"""Turn: stop when the held-out loss has risen from its best for good, and by more than chance."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import Grid, NonFiniteLossWarning, checked_losses
from noiseprobe.stopping.best import BestCriterion

WAIT, WAIT_STEPS = 5, 25
"""How many evaluations after the best a rise is called a turn at the earliest; or, where steps are
known, how many of those, and `LEAST` evaluations."""

LEAST = 2


class Turn(BestCriterion):
    """Stops when the loss has surely risen since its best, and for as long as the best took.

    It looks at the losses (B,) of the samples of one fixed batch, which have the same photographs,
    captions, timesteps and noise at each evaluation, as `l_val` has. Best is the evaluation b whose
    mean was lowest so far. With the rise of each sample since then, d = losses - losses at the
    best, what the draws do to both evaluations alike cancels. At evaluation k, counted from 0 over
    those with finite losses, it fires where k - b is at least b and `WAIT`, or in place of `WAIT`
    `LEAST` where the best was `WAIT_STEPS` steps ago or more, and

        mean(d) > t · error,    error² = Σ (d_i − d_(i−1))² / (2 (B − 1) B),

    with t the quantile of Student's distribution with 2 (B − 1)² / (3 B − 4) degrees of freedom
    that is exceeded with probability (1 − `confidence`) / (k (k + 1)).

    `error` is von Neumann's estimate from neighbours (Annals of Mathematical Statistics 12, 1941),
    with the degrees of freedom that match its variance. Of independent samples in any order it is
    the usual standard error. Of a stratified batch in the order of its strata, as
    `noiseprobe.draws.fixed_batch` lays it out, it leaves out what differs between strata, which is
    the same in every such batch (Wolter, Introduction to Variance Estimation, 2007, §8.2).

    The probabilities of all evaluations sum to 1 − `confidence` (alpha spending: Lan & DeMets,
    Biometrika 70, 1983), so that `confidence` is of the whole run: among batches, at least that
    share never fires while the expected loss has not risen. That the best was chosen for its low
    mean is not in it, nor that evaluations are alike, which weighs against it: `experiments/turn`
    measures both. The fewer evaluations, the smaller a rise is sure.

    A rise that is sure may yet be passing, because the weights wander. So it waits as long again as
    the best took, which costs no more steps than that, and passes over waves shorter than it; and
    at least `WAIT` evaluations or `WAIT_STEPS` steps, for the first of an optimiser are unsteady.
    The uncertainty is that of drawing such samples: where all are of one photograph, it is not that
    of other photographs of the thing.

    An evaluation with a loss that is NaN or infinite is no evidence: it warns with a
    `NonFiniteLossWarning`, and Turn does not stop on it. One loss alone, a number or a vector of
    one, tells of no uncertainty: Turn then knows the best and never fires. Constant memory,
    constant time per evaluation.

    Args:
        confidence: how sure a rise must be, above 0 and below 1.

    Raises:
        UserError: `confidence` is outside its range.

    Examples:
        >>> criterion = Turn(confidence=0.95)
        >>> means = [0.5, 0.4, 0.45, 0.5, 0.5, 0.55, 0.6]
        >>> [criterion.update([mean - 0.1, mean, mean + 0.1]) for mean in means]
        [False, False, False, False, False, False, True]
        >>> criterion.best_index
        1
    """

    formula: ClassVar[str] = (
        "rise since the best, as many evaluations ago as it took, > t(confidence) x error"
    )
    source: ClassVar[str] = "noiseprobe; error: von Neumann 1941; looks k: Lan & DeMets 1983"
    grid: ClassVar[Grid] = {"confidence": (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)}
    kept = (*BestCriterion.kept, "best_losses", "best_look", "best_step", "looks")
    per_sample: ClassVar[bool] = True
    scaled: ClassVar[Mapping[str, int]] = {}

    def __init__(self, confidence: float = 0.95) -> None:
        if not 0 < confidence < 1:
            raise UserError(
                f"confidence {confidence}: give a number above 0 and below 1, such as 0.95"
            )
        super().__init__()
        self.confidence = float(confidence)
        self._best_losses: list[float] = []
        self._looks = -1
        self._best_look = 0
        self._best_step: int | None = None

    @property
    def least(self) -> int:
        """3: the first evaluation may be the best, and two more are far enough from it."""
        return LEAST + 1

    def update(self, loss: ArrayLike, step: int | None = None) -> bool:
        """Take the losses (B,) of the next evaluation, at `step`; True means: stop now.

        Raises:
            UserError: they are no vector, or of another length than before.

        Warns:
            NonFiniteLossWarning: one is NaN or infinite; all are left out and False is returned.
        """
        losses = checked_losses(loss)
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
        self._looks += 1
        if self._improves(float(losses.mean())):
            self._best_losses, self._best_look = losses.tolist(), self._looks
            self._best_step = step
        if losses.size < 2 or not self._waited(step):
            return False
        rise = losses - self._best_losses
        size, k = losses.size, self._looks
        error = math.sqrt(float(np.sum(np.diff(rise) ** 2)) / (2 * (size - 1) * size))
        degrees = 2 * (size - 1) ** 2 / (3 * size - 4)
        return bool(rise.mean() > _exceeded((1 - self.confidence) / (k * (k + 1)), degrees) * error)

    def _waited(self, step: int | None) -> bool:
        """Whether the best is so long ago that a rise since then is not passing."""
        known = step is not None and self._best_step is not None
        far = known and step - self._best_step >= WAIT_STEPS  # type: ignore[operator]
        return self._looks - self._best_look >= max(self._best_look, LEAST if far else WAIT)


def _exceeded(probability: float, degrees: float) -> float:
    """What a number of Student's distribution exceeds with this probability."""
    from scipy.special import stdtrit  # a third of a second, which other commands need not wait for

    quantile: Any = stdtrit(degrees, probability)
    return -float(quantile)
