"""Training batches under earlier weights: those of the start, and those of some steps before.

Both are held against the losses of the same draws under the weights now.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseprobe.draws.draws import Batch
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.stopping import PairedLoss
from noiseprobe.training.methods.base import Method
from noiseprobe.training.watching import evaluated

HALF_LIFE = 20.0
"""Steps after which the running mean of the paired loss counts one half."""


class EarlierWeights:
    """The paired loss and the recent one, as far as a run tracks them.

    Args:
        losses: gives the losses (B,) of a batch under the live model.

    Attributes:
        spent: the seconds that each took, as columns of the training trace.
        differences: of the stretch that just ended, (n,): each sample's loss less that under the
            weights with which the stretch began; empty where none did.
        wrong: by column, the losses (B,) of the last batch under the earlier weights, where one of
            them is not finite.
    """

    def __init__(
        self, method: Method, config: RunConfig, run: Run, losses: Callable[[Batch], Tensor]
    ) -> None:
        self.method, self.config, self.losses = method, config, losses
        self.paired = PairedLoss(HALF_LIFE)
        self.start: dict[str, Tensor] = {}
        self.stretch: dict[str, Tensor] = {}
        self.collected: list[Tensor] = []
        self.differences: NDArray[np.float64] = np.array([])
        self.wrong: dict[str, Tensor] = {}
        self.spent: dict[str, float] = {}
        # Where all weights are trained, a copy of them takes memory; float16 is what most files
        # have, and its rounding of others is far below the noise.
        self.dtype = torch.float16 if config.method == "dreambooth" else None
        if config.tracks("paired"):
            self.spent["paired_seconds"] = 0.0
            self.start = self._starting_weights(run)
        if config.tracks("recent"):
            self.spent["recent_seconds"] = 0.0

    def _starting_weights(self, run: Run) -> dict[str, Tensor]:
        """What is trained, as it was before the first step, on the model's device."""
        first = run.checkpoint(0)
        if not first.is_dir():
            return self.method.copies(self.dtype)
        device = self.method.parameters()[0].device
        return {name: each.to(device, self.dtype) for name, each in self.method.read(first).items()}

    def evaluate(self, done: int, batch: Batch) -> dict[str, Tensor]:
        """The losses (B,) of the next batch under the earlier weights that are due, by column.

        To be called before each step, of which `done` are taken.
        """
        found = {}
        if self.start and evaluated("paired", done + 1, self.config):
            found["paired"] = self._under(self.start, "paired_seconds", batch)
        if "recent_seconds" in self.spent:
            steps = self.config.recent_steps
            if done % steps == 0:
                self.stretch, self.collected = self.method.copies(self.dtype), []
            # The weights have come half of the way by then: before, there is less to see.
            if done % steps >= steps // 2:
                found["recent"] = self._under(self.stretch, "recent_seconds", batch)
        return found

    @torch.no_grad()
    def _under(self, weights: dict[str, Tensor], spent: str, batch: Batch) -> Tensor:
        started = time.monotonic()
        with self.method.holding(weights):
            losses = self.losses(batch)
        self.spent[spent] += time.monotonic() - started
        return losses

    def row(self, step: int, now: Tensor, earlier: dict[str, Tensor]) -> dict[str, float]:
        """What the trace has of the step that was taken, whose batch had the losses `now`, (B,)."""
        self.differences, row = np.array([]), dict[str, float]()
        self.wrong = {}
        if "paired" in earlier:
            row["paired"] = self.paired.update(now, earlier["paired"])
            if math.isnan(row["paired"]):
                self.wrong["paired"] = earlier["paired"]
            row |= {"paired_mean": self.paired.mean, "paired_se": self.paired.se}
        if "recent" in earlier:
            gone = (now.double() - earlier["recent"].double()).cpu()
            if not (finite := gone.isfinite()).all():
                self.wrong["recent"] = earlier["recent"]
            self.collected.append(gone[finite])
            if evaluated("recent", step, self.config):
                self.differences = found = torch.cat(self.collected).numpy()
                known = len(found) > 1
                row["recent"] = float(found.mean()) if known else math.nan
                row["recent_se"] = (
                    float(found.std(ddof=1)) / len(found) ** 0.5 if known else math.nan
                )
        return row

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, and the weights with which the stretch began."""
        stretch = {name: each.cpu() for name, each in self.stretch.items()}
        return {
            "paired": self.paired.state_dict(),
            "spent": dict(self.spent),
            "stretch": stretch,
            "collected": list(self.collected),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state` exactly."""
        self.paired.load_state_dict(state["paired"])
        self.spent |= {name: state["spent"].get(name, 0.0) for name in self.spent}
        device = self.method.parameters()[0].device
        self.stretch = {name: each.to(device) for name, each in state["stretch"].items()}
        self.collected = list(state["collected"])
