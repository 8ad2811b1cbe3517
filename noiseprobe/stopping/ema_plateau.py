"""EMA plateau: patience with a smoothed loss."""

import math
from typing import ClassVar

from noiseprobe.stopping.base import Grid, checked_positive
from noiseprobe.stopping.patience import Patience


class EMAPlateau(Patience):
    """Stops when an exponential moving average of the loss has not improved for `patience` losses.

    The average after n losses is Σ wᵏ x_{n−k} / Σ wᵏ over k = 0 … n − 1, with w = 2^(−1/halflife):
    the division corrects the bias towards the start (Kingma & Ba, Adam, ICLR 2015, §3; halflife as
    in pandas' `ewm`). `Patience` judges it. A loss that is NaN or infinite is no evidence: it does
    not enter the average, it warns with a `NonFiniteLossWarning`, and EMAPlateau does not stop on
    it. Constant memory, constant time per loss.

    Args:
        halflife: after how many losses a loss counts half, above 0.
        patience: how many averages without an improvement, at least 1.
        min_delta: the least improvement that counts, in units of the loss, 0 or more.

    Raises:
        UserError: an argument is outside its range.

    Examples:
        >>> criterion = EMAPlateau(halflife=1, patience=2, min_delta=0.05)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.6, 0.6)]
        [False, False, False, True]
        >>> round(criterion.average, 4)
        0.6067
    """

    formula: ClassVar[str] = "no EMA(halflife) < best EMA - min_delta among the last patience"
    source: ClassVar[str] = "Kingma & Ba, Adam, ICLR 2015, section 3, judged by patience"
    grid: ClassVar[Grid] = {
        "halflife": (5, 20, 50),
        "patience": (5, 10, 20, 50, 100),
        "min_delta": (0.0, 0.0001, 0.001),
    }
    kept_for = ("halflife",)
    kept = (*Patience.kept, "average", "weight")

    def __init__(self, halflife: float = 20.0, patience: int = 50, min_delta: float = 0.0) -> None:
        self.halflife = checked_positive("halflife", halflife, 20)
        super().__init__(patience, min_delta)
        self._decay = 2 ** (-1 / self.halflife)
        self._average, self._weight = math.nan, 0.0

    @property
    def average(self) -> float:
        """The average of the finite losses so far; NaN before the first."""
        return self._average

    def _take(self, loss: float) -> bool:
        self._weight = self._decay * self._weight + 1
        before = loss if math.isnan(self._average) else self._average
        self._average = before + (loss - before) / self._weight
        return super()._take(self._average)
