"""The losses of one fixed batch under a live model: what L_det and the held-out loss are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noiseprobe.draws.draws import Batch
from noiseprobe.draws.fixed_batch import FixedBatch
from noiseprobe.training.objective import MicroBatches, Objective


@dataclass
class FixedLosses:
    """A callable without arguments that gives the losses, (B,) float64, of one fixed batch now.

    Their mean is the tracked loss: in the layout `weighted`, each is times its weight and the batch
    size. `weights` (B,) are made of the losses of the first call; they are to be kept where a
    training is resumed.
    """

    objective: Objective
    captions: Sequence[str]
    fixed: FixedBatch
    parts: MicroBatches
    weights: Tensor | None = None

    @torch.no_grad()
    def __call__(self) -> Tensor:
        losses = self.parts.losses(self.fixed.batch, self._evaluated).cpu().double()
        if self.weights is None:
            self.weights = torch.from_numpy(self.fixed.weights(losses.tolist()))
        return self.weights * losses * len(losses) if self.fixed.weighted else losses

    def _evaluated(self, batch: Batch) -> Tensor:
        return self.objective.losses(batch, self.objective.captions(batch, self.captions))
