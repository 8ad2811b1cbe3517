"""Steps of the optimiser: their gradients, and how they are taken or not."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from noiseprobe.draws.draws import Batch
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.gradients import Gradients
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import Objective
from noiseprobe.training.optimising import optimiser, schedule, set_rate, unless
from noiseprobe.training.prior import Prior
from noiseprobe.training.team import Team

Seen = tuple[Batch, Batch | None]
"""What a step sees: photographs, and class images if any."""


@dataclass(frozen=True)
class Computed:
    """The gradients of a step, before it is taken.

    Attributes:
        rate: the learning rate.
        numbers: the loss and the norm of all gradients, (2,), on the model's device.
        norms: that of each trained tensor, (n,).
        losses, others: of the photographs and of the class images, (B,) each.
    """

    rate: float
    numbers: Tensor
    norms: Tensor
    losses: Tensor
    others: Tensor

    def row(self, step: int, numbers: Sequence[float]) -> dict[str, Any]:
        """What the trace has of the step, whose `numbers` were read, if it is taken."""
        loss, grad_norm = numbers
        known = {"loss": loss, "grad_norm": grad_norm}
        return known | {"step": step, "lr": self.rate, "skipped": 0.0}


class Stepper:
    """Takes the steps of a training: one after another, or several before anyone knows of them."""

    def __init__(
        self,
        objective: Objective,
        method: Method,
        prior: Prior | None,
        config: RunConfig,
        team: Team,
    ) -> None:
        self.method, self.config, self.team = method, config, team
        self.device = objective.model.device
        self.optimiser = optimiser(config, method.parameters())
        self.factor = schedule(config)
        # fp16 gradients underflow without a scale; bf16 and fp32 have the range.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.gradients = Gradients(objective, method, prior, config, self.scaler, team)

    @cached_property
    def reads_late(self) -> bool:
        """Whether a step can be taken before its numbers are read.

        That needs an optimiser that takes none where the device itself has found one wrong.
        """
        fused = bool(self.optimiser.defaults.get("fused"))
        return fused and not self.scaler.is_enabled() and self.team.size == 1

    def compute(self, seen: Seen, step: int) -> Computed:
        """The gradients of a step, in the place of those before."""
        rate = self.config.effective_learning_rate * self.factor(step)
        rate = set_rate(self.optimiser, rate)
        self.optimiser.zero_grad(set_to_none=True)
        loss, losses, others = self.gradients.add(*seen)
        self.scaler.unscale_(self.optimiser)
        norms = self.gradients.norms()
        numbers = torch.stack([loss, torch.linalg.vector_norm(norms)])
        return Computed(rate, numbers, norms, losses, others)

    def can_be_taken(self, row: dict[str, Any]) -> bool:
        """Whether a step of this loss and norm of gradients can be taken.

        In fp16, gradients overflow by their scale, which the scaler lowers, taking no step; only
        where nothing is left to lower are they infinite themselves.
        """
        if not math.isfinite(row["loss"]):
            return False
        return math.isfinite(row["grad_norm"]) or self.scaler.get_scale() > 1

    def apply(self, found: Computed) -> None:
        """Take the step, unless the scaler of fp16 does not."""
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(
                self.method.parameters(), self.config.max_grad_norm, found.numbers[1]
            )
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def refuse(self) -> None:
        """Take no step; the scale of gradients, which is not to blame, stays."""
        self.scaler.update(self.scaler.get_scale())
        self.optimiser.zero_grad(set_to_none=True)

    def together(
        self, seen: Iterable[Seen], first: int
    ) -> tuple[list[Computed], list[list[float]]]:
        """Take steps from `first` on; their numbers, which are read once, when all are under way.

        From the first wrong number on none is taken: everything is as before that step.
        """
        wrong = torch.zeros((), dtype=torch.bool, device=self.device)
        computed: list[Computed] = []
        for step, each in enumerate(seen, first):
            computed.append(found := self.compute(each, step))
            wrong |= ~found.numbers.isfinite().all()
            with unless(wrong, self.optimiser):
                self.apply(found)
        read: list[list[float]] = torch.stack([each.numbers for each in computed]).tolist()
        return computed, read

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser and the scaler know."""
        return {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which may have more than that."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
