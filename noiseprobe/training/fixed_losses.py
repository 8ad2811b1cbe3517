"""The losses of one fixed batch under a live model: what L_det and the held-out loss are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noiseprobe.draws.draws import Batch, Stream
from noiseprobe.draws.factors import Layout
from noiseprobe.draws.fixed_batch import FixedBatch, fixed_batch
from noiseprobe.run.settings import RunConfig
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


def fixed_losses_of(
    objective: Objective,
    held_out: Objective | None,
    captions: Sequence[str],
    config: RunConfig,
    parts: MicroBatches,
) -> dict[str, FixedLosses]:
    """What L_det is in a run of these settings, and with held-out photographs the loss on them."""

    def of(on: Objective, stream: Stream, size: int | None, layout: Layout) -> FixedLosses:
        draws = on.draws(config.seed, stream, len(captions))
        return FixedLosses(on, captions, fixed_batch(draws, size, layout), parts)

    found = {"l_det": of(objective, "probe", config.eval_batch, config.fixed_batch)}
    if held_out:
        # On few photographs that nothing else is known of, even coverage is worth the most.
        found["l_val"] = of(held_out, "held-out", config.val_batch, "stratified")
    return found
