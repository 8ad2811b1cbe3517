"""Stop after a fixed number of steps, or never: the baselines of every other criterion."""

from typing import Any, ClassVar

from noiseprobe.stopping.base import Grid, checked_whole


class FixedSteps:
    """Stops at the `steps`-th update and at every later one, whatever the losses are.

    NaN and infinite losses count like any other: the number of steps is all that matters.

    Args:
        steps: how many updates to see, at least 1 (475 are the published "Few iterations" of
            textual inversion). Where a loss was recorded before the first step, as in runs of
            noiseprobe, the k-th update is step k - 1.

    Raises:
        UserError: `steps` is not a whole number of at least 1.

    Example:
        >>> criterion = FixedSteps(3)
        >>> [criterion.update(loss) for loss in (0.9, 0.5, 0.4)]
        [False, False, True]
    """

    formula: ClassVar[str] = "number of losses >= steps"
    source: ClassVar[str] = "Voronov et al., NeurIPS 2023, arXiv 2302.04841, Few iterations"
    grid: ClassVar[Grid] = {"steps": (10, 20, 50, 100, 150, 200, 300, 475, 700, 1000, 2000, 4000)}

    def __init__(self, steps: int = 475) -> None:
        self.steps = checked_whole("steps", steps, 1, "losses")
        self._seen = 0

    @property
    def best_index(self) -> None:
        """None: no best is kept."""

    def update(self, loss: float) -> bool:
        """Count one step; True from the `steps`-th on."""
        self._seen += 1
        return self._seen >= self.steps

    def state_dict(self) -> dict[str, Any]:
        """The number of updates seen."""
        return {"seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the updates that `state` counts."""
        self._seen = int(state["seen"])


class Never:
    """Never stops: training goes on to its last step, whatever the losses are.

    What the others are worth beside it says whether stopping is worth more than a few steps.

    Example:
        >>> any(Never().update(loss) for loss in (0.9, 0.5, 0.4))
        False
    """

    formula: ClassVar[str] = "all steps are done"
    source: ClassVar[str] = "the baseline: all steps"
    grid: ClassVar[Grid] = {}

    @property
    def best_index(self) -> None:
        """None: no best is kept."""

    def update(self, loss: float) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on."""
