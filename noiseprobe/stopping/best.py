"""The lowest loss so far and where it was: what several criteria wait on."""

import math
from typing import ClassVar

from noiseprobe.stopping.base import LossCriterion


class BestCriterion(LossCriterion):
    """A criterion that keeps the lowest loss and the index of the update that first had it.

    Updates that brought no evidence count in the index.
    """

    kept: ClassVar[tuple[str, ...]] = ("best", "best_index", "seen")

    def __init__(self) -> None:
        self._best = math.inf
        self._best_index: int | None = None
        self._seen = 0

    @property
    def best_index(self) -> int | None:
        """The index of the update that was the last improvement; None before the first loss."""
        return self._best_index

    def _skip(self) -> None:
        self._seen += 1

    def _improves(self, loss: float, min_delta: float = 0.0) -> bool:
        """Take a finite loss; whether it is lower than the lowest by more than `min_delta`."""
        lower = self._best_index is None or loss < self._best - min_delta
        if lower:
            self._best, self._best_index = loss, self._seen
        self._seen += 1
        return lower
