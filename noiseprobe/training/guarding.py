"""What a training does where a number is NaN or infinite: it stops with one line, or goes on."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Reporter
from noiseprobe.draws.draws import Batch
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.stopping import NonFiniteLossWarning
from noiseprobe.training.fixed_losses import FixedLosses
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import Objective
from noiseprobe.training.prior import Prior
from noiseprobe.training.wrong_numbers import (
    MOST_IN_A_ROW,
    MOST_TOLD,
    about_weights,
    alone,
    broken_frozen,
    broken_trained,
    draws_of,
    keyed,
    tries,
    wrong_in,
)

WithLosses = tuple[Batch | None, Tensor]
"""What a step sees of one kind, if anything, and the losses, (B,)."""


@dataclass
class Guard:
    """Names wrong numbers of a training, and counts the steps that were not taken for one.

    Attributes:
        skipped: steps that were not taken, in all.
        in_a_row: of them the last ones, since a step was taken.
        pending: wrong numbers of what was tracked after the last step, a line each.
    """

    run: Run
    objective: Objective
    prior: Prior | None
    method: Method
    config: RunConfig
    reporter: Reporter
    skipped: int = 0
    in_a_row: int = 0
    pending: list[str] = field(default_factory=list)
    _told: Counter[str] = field(default_factory=Counter)

    def require_finite_weights(self, done: int, *, frozen: bool = True) -> None:
        """Raise `UserError` where a trained or `frozen` weight is not finite after `done` steps."""
        if frozen and self.run.foreign:
            if broken := broken_frozen(self.objective.model, self.method):
                raise UserError(
                    f"--checkpoints: the weights of {done} are not finite, such as {broken[0]}; "
                    "leave it out, or add --on-nan skip"
                )
            return
        trained = broken_trained(self.method)
        others = broken_frozen(self.objective.model, self.method) if frozen else []
        if told := about_weights(trained, others, done, self.config):
            raise UserError(told)

    def refuse(
        self,
        done: int,
        row: Mapping[str, float],
        photographs: WithLosses,
        class_images: WithLosses,
        save: Callable[[], None],
    ) -> None:
        """Say which samples keep the step after `done` from being taken; stop there, or count it.

        Args:
            row: its loss and the norm of its gradients, one of which is not finite.
            photographs, class_images: what it sees.
            save: saves the state before it; called before training is stopped.

        Raises:
            UserError: training stops, by the settings, or since too many in a row were skipped, or
                since a weight is not finite.
        """
        self.require_finite_weights(done)
        told = self._blame(done + 1, row, photographs, class_images)
        skip = self.config.on_nan == "skip"
        if skip and self.in_a_row + 1 < MOST_IN_A_ROW:
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            self.tell("step", f"{told}; that step is skipped", "steps were skipped")
            return
        save()
        if skip:
            told = f"{MOST_IN_A_ROW} steps in a row could not be taken; the last: {told}"
        raise UserError(f"--on-nan: {told}; {self._tries(done)}")

    def _blame(
        self, step: int, row: Mapping[str, float], photographs: WithLosses, class_images: WithLosses
    ) -> str:
        """Which number of a step is wrong, and of which sample, in words."""
        seen = {"train": photographs, "prior": class_images}
        wrong = {stream: wrong_in(losses).tolist() for stream, (_, losses) in seen.items()}
        told = f"the loss became {row['loss']:g} at step {step}"
        if math.isfinite(row["loss"]):
            told = f"the gradient became {row['grad_norm']:g} at step {step}"
            wrong = {
                stream: self._wrong_gradients(batch, stream) for stream, (batch, _) in seen.items()
            }
        count = sum(map(len, wrong.values()))
        for stream, samples in wrong.items():
            batch, sample = seen[stream][0], next(iter(samples), None)
            if batch is None or sample is None:
                continue
            on, captions = self.objective, self.objective.captions(batch, self.method.captions)
            if stream == "prior" and self.prior:
                on, captions = self.prior.objective, self.prior.captions_of(batch)
            more = {} if stream == "train" else {"of": stream}
            return (
                f"{told} in sample {sample} ({draws_of(on, batch, sample, captions)}; "
                f"{keyed(self.config.seed, stream, step, sample)}){_more(count)}; it alone again: "
                f"{alone(self.run.directory, step, sample, **more)}"
            )
        return f"{told}, in no sample alone"

    def _wrong_gradients(self, batch: Batch | None, stream: str) -> list[int]:
        """The samples of a batch whose gradients alone are not finite."""
        found: list[int] = []
        for sample in range(len(batch) if batch else 0):
            assert batch is not None
            one = batch[sample : sample + 1]
            if stream == "prior" and self.prior:
                loss = self.prior.losses(one)
            else:
                loss = self.objective.losses(
                    one, self.objective.captions(one, self.method.captions)
                )
            own = torch.autograd.grad(loss.sum(), self.method.parameters(), allow_unused=True)
            if any(each is not None and not each.isfinite().all() for each in own):
                found.append(sample)
        return found

    def _tries(self, done: int) -> str:
        if self.run.foreign:
            again = f"noiseprobe probe {self.run.directory} --on-nan skip"
            return f"to go on without such numbers: {again}"
        return "the weights are finite and saved; try " + tries(
            self.config, done > self.skipped, self.run.directory
        )

    def note_tracked(self, name: str, step: int, fixed: FixedLosses, losses: Any) -> None:
        """Take note of samples of a fixed batch whose `losses` (B,) are wrong, if any are."""
        for sample in wrong_in(losses)[:1].tolist():
            batch = fixed.fixed.batch
            captions = fixed.objective.captions(batch, fixed.captions)
            self.pending.append(
                f"{name} became {losses[sample]:g} at step {step} in sample {sample} of its fixed "
                f"batch ({draws_of(fixed.objective, batch, sample, captions)})"
                f"{_more(len(wrong_in(losses)))}; it alone again: "
                f"{alone(self.run.directory, step, sample, of=name)}"
            )

    def note_earlier(self, name: str, step: int, weights: int, batch: Batch, losses: Any) -> None:
        """The same of a training batch under the earlier `weights` of a step."""
        samples = wrong_in(losses)
        for sample in samples[:1].tolist():
            captions = self.objective.captions(batch, self.method.captions)
            self.pending.append(
                f"{name} became nan at step {step}: sample {sample} of its batch "
                f"({draws_of(self.objective, batch, sample, captions)}) under the weights of step "
                f"{weights}{_more(len(samples))}; it alone again: "
                f"{alone(self.run.directory, step, sample, weights=weights)}"
            )

    def settle(self, done: int, save: Callable[[], None]) -> None:
        """Stop for what was noted after `done` steps, or say it and let the training go on.

        Raises:
            UserError: it is stopped; or a weight is not finite, so that going on makes no sense.
        """
        noted, self.pending = self.pending, []
        if not noted:
            return
        skip = self.config.on_nan == "skip"
        if not (skip and self.run.foreign):
            self.require_finite_weights(done)
        if not skip:
            save()
            raise UserError(f"--on-nan: {noted[0]}; {self._tries(done)}")
        for each in noted:
            kind = each.partition(" ")[0]
            self.tell(kind, f"{each}; it is left out", f"values of {kind} were left out")

    def tell(self, kind: str, line: str, counted: str) -> None:
        """Say a warning, unless enough of its kind were said; `counted` is said of all by `end`."""
        self._told[counted] += 1
        if self._told[counted] <= MOST_TOLD:
            self.reporter.note(f"warning: {line}")

    def end(self) -> None:
        """Say how many wrong numbers there were, where not each was told."""
        for counted, number in self._told.items():
            if number > MOST_TOLD:
                self.reporter.note(f"warning: {number} {counted}: they were not finite")


def _more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""


def quiet() -> AbstractContextManager[Any]:
    """Criteria say nothing of losses that are not finite, of which the guard says more."""
    return warnings.catch_warnings(action="ignore", category=NonFiniteLossWarning)
