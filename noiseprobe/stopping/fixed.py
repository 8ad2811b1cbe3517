"""Stop after a fixed number of steps, or never: the baselines of every other criterion."""

from collections.abc import Mapping
from typing import ClassVar

from numpy.typing import ArrayLike

from noiseprobe.stopping.base import MOST, Grid, LossCriterion, checked_whole


class FixedSteps(LossCriterion):
    """Stops at the first loss of a step that is at least `steps`, and at every later one.

    Where nobody tells the step of a loss, losses are counted: it stops at the `steps`-th. NaN and
    infinite ones count like any other: the number of steps is all that matters.

    Args:
        steps: after how many training steps to stop, at least 1 (475 are the published "Few
            iterations" of textual inversion).

    Raises:
        UserError: `steps` is not a whole number of at least 1.

    Examples:
        >>> criterion = FixedSteps(3)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.4)]
        [False, False, True]
        >>> [FixedSteps(300).update(0.5, step) for step in (0, 200, 400)]
        [False, False, True]
    """

    formula: ClassVar[str] = "step >= steps"
    source: ClassVar[str] = "Voronov et al., NeurIPS 2023, arXiv 2302.04841, Few iterations"
    grid: ClassVar[Grid] = {"steps": (10, 20, 50, 100, 150, 200, 300, 475, 700, 1000, 2000, 4000)}
    scaled: ClassVar[Mapping[str, int]] = {}
    kept = ("seen",)

    def __init__(self, steps: int = 475) -> None:
        self.steps = checked_whole("steps", steps, 1, "steps")
        self._seen = 0

    @property
    def least(self) -> int:
        """1: a single loss is enough, if its step is late enough."""
        return 1

    def update(self, loss: ArrayLike, step: int | None = None) -> bool:
        """True where `step`, or else the number of losses, is at least `steps`."""
        self._seen += 1
        return (self._seen if step is None else step) >= self.steps


class Never(LossCriterion):
    """Never stops: training goes on to its last step, whatever the losses are.

    What the others are worth beside it says whether stopping is worth more than a few steps.

    Examples:
        >>> any(Never().update(loss) for loss in (0.9, 0.5, 0.4))
        False
    """

    formula: ClassVar[str] = "all steps are done"
    source: ClassVar[str] = "the baseline: all steps"
    grid: ClassVar[Grid] = {}
    scaled: ClassVar[Mapping[str, int]] = {}

    @property
    def least(self) -> int:
        """More than there can be."""
        return MOST

    def update(self, loss: ArrayLike, step: int | None = None) -> bool:
        """False, and no loss is worth a warning."""
        return False
