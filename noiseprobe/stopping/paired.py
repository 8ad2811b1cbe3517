"""The paired loss: on each training batch, the loss now less the starting model's on its draws.

Both models see the same photographs, captions, timesteps and noise (common random numbers), so that
what these draws do to both cancels in the difference.
"""

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import NonFiniteLossWarning, checked_positive

KEPT = ("steps", "mean", "variance", "total")
"""What was seen, by the names of private attributes."""


class PairedLoss:
    """The running mean of the paired loss, and the standard error of that mean.

    With p_i the mean of `now` - `start` over the batch of step i, and weights w_i that halve every
    `half_life` steps and sum to 1,

        mean = Σ w_i p_i,    se² = Σ w_i² s_i² / B_i,

    where s_i² is the variance (ddof 1) of `now` - `start` within batch i, of B_i samples. What a
    step draws is independent of the weights that it meets, so that p_i, less its expectation under
    those weights, is a martingale difference: uncorrelated over steps, however much the running
    means themselves are. `se` is therefore of `mean` as an estimate of Σ w_i E[p_i], the expected
    gain averaged over the same steps; that this lags behind the gain now is not in it. Samples must
    be drawn independently; where they are stratified or share a photograph by design, `se` is of
    independent ones.

    A step with a loss that is NaN or infinite is left out and warns with a `NonFiniteLossWarning`.
    Constant memory, constant time per step.

    Args:
        half_life: steps after which a step counts half, finite and above 0.

    Raises:
        UserError: `half_life` is outside its range.

    Examples:
        >>> paired = PairedLoss(half_life=20)
        >>> round(paired.update([0.5, 0.3, 0.2], [0.6, 0.3, 0.4]), 3)
        -0.1
        >>> round(paired.mean, 3), round(paired.se, 4)
        (-0.1, 0.0577)
    """

    def __init__(self, half_life: float = 20) -> None:
        self.half_life = checked_positive("half_life", half_life, 20)
        self._steps = 0
        self._mean = self._variance = self._total = 0.0  # sums in which the last step has weight 1

    def __repr__(self) -> str:
        return f"PairedLoss(half_life={self.half_life:.12g})"

    def update(self, now: ArrayLike, start: ArrayLike) -> float:
        """Take the losses of one training batch under the model now and the starting one.

        Args:
            now: (B,) losses, at least two: an array, or a tensor on any device.
            start: (B,) losses of the same samples and draws under the starting model.

        Returns:
            Their mean difference, below 0 where the model has improved; NaN where it is left out.

        Raises:
            UserError: they are no vectors of one length of at least two.
        """
        after, before = _vector("now", now), _vector("start", start)
        if len(after) != len(before):
            raise UserError(
                f"start: {len(before)} losses for {len(after)} samples; give both models one batch"
            )
        differences = after - before
        if not np.isfinite(differences).all():
            warnings.warn(
                "a loss of the batch is NaN or infinite: PairedLoss leaves the step out",
                NonFiniteLossWarning,
                stacklevel=2,
            )
            return math.nan
        kept = 0.5 ** (1 / self.half_life)
        paired = float(differences.mean())
        self._steps += 1
        self._mean = kept * self._mean + paired
        own = float(differences.var(ddof=1)) / len(differences)
        self._variance = kept**2 * self._variance + own
        self._total = kept * self._total + 1
        return paired

    @property
    def mean(self) -> float:
        """The running mean, in units of the loss; NaN before the first step."""
        return self._mean / self._total if self._steps else math.nan

    @property
    def se(self) -> float:
        """The standard error of `mean`, in units of the loss; NaN before the first step."""
        return math.sqrt(self._variance) / self._total if self._steps else math.nan

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, as a document that JSON holds without loss."""
        return {"half_life": self.half_life} | {name: getattr(self, f"_{name}") for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state` exactly; raises `UserError` for that of another half-life."""
        if state["half_life"] != self.half_life:
            raise UserError(
                f"half_life {self.half_life:g}: the saved state has half_life "
                f"{state['half_life']:g}; resume with that"
            )
        for name in KEPT:
            setattr(self, f"_{name}", state[name])


def _vector(name: str, losses: Any) -> NDArray[np.float64]:
    if hasattr(losses, "detach"):  # a tensor, perhaps on a GPU and in a type that numpy lacks
        losses = losses.detach().cpu().double().numpy()
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise UserError(
            f"{name}: losses of shape {values.shape} given; give one per sample, (B,), of at least "
            "two samples"
        )
    return values
