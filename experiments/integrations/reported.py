"""A tracker of losses that a trainer evaluates itself, on the same samples and noise each time."""

from collections.abc import Callable
from pathlib import Path

from noiseprobe import Patience, Tracker
from noiseprobe.stopping import LossCriterion


class Reported:
    """Collects what a trainer's own validation gives, and says when to stop.

    `losses` are those of the pass that is under way; `stops` ends it. The tracker is the usual one,
    so that `out` has a trace that `noiseprobe plot` and `dvar-replay` read.
    """

    def __init__(
        self,
        criterion: LossCriterion | None = None,
        out: Path | str | None = None,
        on_best: Callable[[int], object] | None = None,
    ) -> None:
        self.losses: list[float] = []
        self.tracker = Tracker(
            {"l_val": lambda: self.losses}, None, criterion or Patience(5), out=out, on_best=on_best
        )

    def stops(self, step: int) -> bool:
        """Whether training stops at `step`, by the losses since the last call; without any, no."""
        if not self.losses:
            return False
        verdict = self.tracker.update(step)
        self.losses = []
        return verdict
