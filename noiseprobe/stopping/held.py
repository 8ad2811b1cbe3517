"""Losses that are evaluated every few steps, held for the steps that they stand for.

Windows, patience and half-lives count losses. Where a loss is evaluated at every k-th step, each
stands for k of them: a criterion that sees it k times counts steps, and decides nearly as it would
on a loss at every step, whatever k is. The loss of step 0 stands for itself alone.
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from noiseprobe.stopping.base import LossCriterion, checked_whole


class Held(LossCriterion):
    """A criterion whose parameters count steps, over losses that come at every `every`-th.

    Each loss but the first is shown to `criterion` `every` times, and what it says to the last of
    them decides.

    Args:
        criterion: it has seen nothing yet.
        every: the steps from one loss to the next, at least 1.

    Raises:
        UserError: `every` is no such number.

    Examples:
        >>> from noiseprobe.stopping import DVAR
        >>> criterion = Held(DVAR(window=20, threshold=0.1), every=10)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.25, 0.25, 0.25)]
        [False, False, False, True, True]
    """

    def __init__(self, criterion: LossCriterion, every: int) -> None:
        self.criterion = criterion
        self.every = checked_whole("every", every, 1, "steps")
        self._seen = 0

    @property
    def per_sample(self) -> bool:  # type: ignore[override]
        """That of `criterion`."""
        return self.criterion.per_sample

    @property
    def formula(self) -> str:  # type: ignore[override]
        """That of `criterion`."""
        return self.criterion.formula

    @property
    def least(self) -> int:
        """How many losses must have been evaluated before it can fire."""
        return 1 + -(-(self.criterion.least - 1) // self.every)

    @property
    def best_index(self) -> int | None:
        """The 0-based index of the evaluation with the best loss, if the criterion keeps a best."""
        best = self.criterion.best_index
        return None if best is None else -(-best // self.every)

    def update(self, loss: ArrayLike, step: int | None = None) -> bool:
        """Take the loss of the next evaluation; True means: stop now."""
        for _ in range(self.every if self._seen else 1):
            fires = self.criterion.update(loss, step)
        self._seen += 1
        return fires

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, as a document that JSON holds without loss."""
        return {"seen": self._seen, "criterion": self.criterion.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` as if all its losses had been seen here."""
        self._seen = state["seen"]
        self.criterion.load_state_dict(dict(state["criterion"]))

    def __repr__(self) -> str:
        return repr(self.criterion)


def bare(criterion: LossCriterion) -> tuple[LossCriterion, int]:
    """The criterion itself, and for how many steps it holds each loss."""
    if isinstance(criterion, Held):
        return criterion.criterion, criterion.every
    return criterion, 1
