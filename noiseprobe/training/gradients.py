"""The gradients of one step: of its passes added up, and over the processes that share them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from noiseprobe.draws.draws import Batch
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import Objective, losses_together
from noiseprobe.training.prior import Prior
from noiseprobe.training.team import Team


@dataclass
class Gradients:
    """Adds the gradients of a step's batch to the method's parameters.

    The loss is the mean over a pass, however many processes share its rows.
    """

    objective: Objective
    method: Method
    prior: Prior | None
    config: RunConfig
    scaler: torch.amp.GradScaler
    team: Team

    def add(self, batch: Batch, of_class: Batch | None) -> tuple[Tensor, Tensor, Tensor]:
        """Add the gradients of all passes of one step.

        Returns the loss, that (B,) of each photograph, and that of each class image, if any.
        """
        count, passes = self.config.train_batch_size, self.config.gradient_accumulation
        total = torch.zeros((), device=self.objective.model.device)
        losses, others = [], []
        for part in (slice(first * count, (first + 1) * count) for first in range(passes)):
            loss, own, prior = self._of_pass(batch[part], of_class and of_class[part])
            if loss.requires_grad:  # else no row of it is this process's
                self.scaler.scale(loss / passes).backward()
            total += loss.detach() / passes
            losses.append(self.team.gathered(own.detach(), count))
            others.append(self.team.gathered(prior.detach(), count if of_class else 0))
        self.team.add_up([total])
        self._share()
        return total, torch.cat(losses), torch.cat(others)

    def norms(self) -> Tensor:
        """The norm of the gradient of each trained tensor, (n,) on its device; 0 without one."""
        gradients = [each.grad for each in self.method.parameters()]
        zero = torch.zeros((), device=self.method.parameters()[0].device)
        known = [each for each in gradients if each is not None]
        found = iter(torch._foreach_norm(known) if known else ())
        return torch.stack([zero if each is None else next(found) for each in gradients])

    def _of_pass(self, batch: Batch, of_class: Batch | None) -> tuple[Tensor, Tensor, Tensor]:
        """This process's part of the loss of a pass, and its rows' losses.

        Photographs and class images go through the denoiser together.
        """
        total, own = len(batch), self.team.share(len(batch))
        batch, of_class = batch[own], of_class and of_class[own]
        if not len(batch):
            nothing = torch.zeros(0, device=self.objective.model.device)
            return nothing.sum(), nothing, nothing
        captions = self.objective.captions(batch, self.method.captions)
        if not (self.prior and of_class):
            losses = self.objective.losses(batch, captions)
            return losses.sum() / total, losses, losses[:0]
        both = losses_together(
            [
                (self.objective, batch, captions),
                (self.prior.objective, of_class, self.prior.captions_of(of_class)),
            ]
        )
        losses, others = both.split([len(batch), len(of_class)])
        loss = losses.sum() / total + self.prior.weight * (others.sum() / total)
        return loss, losses, others

    def _share(self) -> None:
        """Add each gradient up over the processes; one that none of them has stays none."""
        if self.team.size == 1:
            return
        parameters = self.method.parameters()
        known = self.team.any_of([each.grad is not None for each in parameters])
        for each, wanted in zip(parameters, known, strict=True):
            if wanted and each.grad is None:
                each.grad = torch.zeros_like(each)
        self.team.add_up(each.grad for each in parameters if each.grad is not None)
