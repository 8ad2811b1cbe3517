"""The training driver: optimises a method's parameters, tracks L_det, checkpoints, stops."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.files import written_whole
from noiseprobe.core.progress import Reporter, Silent, stop_request
from noiseprobe.draws.draws import Batch
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.pictures.likeness import Previews
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import TRAIN_COLUMNS, first_step, parts, write_part
from noiseprobe.stopping import DVAR
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import MicroBatches, Objective, ahead, conditioning_of
from noiseprobe.training.prior import Prior
from noiseprobe.training.watching import evaluated, shown, watches

COUNTED = ("step", "seconds", "l_det_seconds", "check_seconds", "fixed_weights")
"""What the driver keeps beside tensors, and goes on with."""

SAVE_SECONDS = 120.0
"""State is saved at least so far apart between checkpoints."""

SAVE_SHARE = 0.02
"""The share of the time that saving state may take."""


def train(
    run: Run,
    objective: Objective,
    method: Method,
    config: RunConfig,
    reporter: Reporter | None = None,
    prior: Prior | None = None,
    previews: Previews | None = None,
) -> str:
    """Train until the criterion fires; returns what ended it: the criterion's name, or `steps`.

    Every criterion that can be watched is: a checkpoint is also written where one first fires, so
    that one run answers for all.

    With a `prior`, its weighted loss is added to that on the photographs at every step; L_det is
    on the photographs alone.

    Goes on after the last saved state of `run`, if there is one: every draw is a function of the
    step, so that the weights are those of an uninterrupted run. Raises `Interrupted` on Ctrl-C,
    after the state was saved, and `UserError` when the loss is no longer finite.
    """
    driver = _Driver(run, objective, method, config, reporter or Silent(), prior, previews)
    driver.restore()
    with stop_request() as stop:
        return driver.run_to_end(stop)


@dataclass
class _Driver:
    run: Run
    objective: Objective
    method: Method
    config: RunConfig
    reporter: Reporter
    prior: Prior | None
    previews: Previews | None
    step: int = 0
    seconds: float = 0.0
    l_det_seconds: float = 0.0
    check_seconds: float = 0.0
    last_l_det: float = math.nan
    fixed_weights: Tensor | None = None
    first_fire: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)
    save_cost: float = 0.0

    def __post_init__(self) -> None:
        config, captions = self.config, len(self.method.captions)
        self.optimiser = torch.optim.AdamW(
            self.method.parameters(),
            lr=config.effective_learning_rate,
            betas=(0.9, 0.999),
            weight_decay=0.01,
        )
        device = self.objective.model.device.type
        # fp16 gradients underflow without a scale; bf16 and fp32 have the range.
        self.scaler = torch.amp.GradScaler(device, enabled=config.precision == "fp16")
        self.watches = watches(config)
        self.parts = MicroBatches.of(self.objective.model, config.micro_batch, self.reporter)
        self.train_draws = self.objective.draws(config.seed, "train", captions)
        probe_draws = self.objective.draws(config.seed, "probe", captions)
        self.prior_draws = self.prior and self.prior.objective.draws(config.seed, "prior", 1)
        self.fixed = fixed_batch(probe_draws, config.eval_batch, config.fixed_batch)

    def restore(self) -> None:
        """Take up the last saved state, and drop what was recorded after it.

        What criteria have seen is the trace: it is shown to them again.
        """
        if not self.run.state_file.is_file():
            return
        state = torch.load(self.run.state_file, map_location="cpu", weights_only=True)
        for name in COUNTED:
            setattr(self, name, state.get(name, getattr(self, name)))
        self.method.load(state["tensors"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        for part in parts(self.run.train_directory):
            if first_step(part) > self.step:
                part.unlink()
        self.watches = shown(self.run.train_trace(), self.config)

    def run_to_end(self, stop: Any) -> str:
        config = self.config
        if config.stop != "none" and (told := self.watches[0].cannot_fire(config)):
            self.reporter.note(told)
        self.reporter.stage("training", config.steps, self.step)
        if not self.run.state_file.is_file():
            self.record_start()
        batches = ahead(self.training_batches(self.step + 1))
        while not self.stops and self.step < config.steps:
            if stop.is_set():
                self.save_state("interrupt")
                raise Interrupted(
                    f"training stopped at step {self.step} and was saved; the same command with "
                    f"--out {self.run.directory} --resume goes on"
                )
            started = time.monotonic()
            row = self.take_step(*next(batches))
            self.seconds += time.monotonic() - started
            row |= {"seconds": self.seconds, "l_det_seconds": self.l_det_seconds}
            self.rows.append(row | {"check_seconds": self.check_seconds})
            self.reporter.advance(self.step, f"L_det {self.last_l_det:.5f}")
            kept = self.step % config.checkpoint_every == 0 or self.first_fire
            if kept:
                self.save_checkpoint()
            since = time.monotonic() - self.saved_at
            # A run that goes on from an earlier state takes the same steps again.
            if since > self.save_cost / SAVE_SHARE and (kept or since > SAVE_SECONDS):
                self.save_state(None)
        batches.close()
        stopped_by = config.stop if self.stops else "steps"
        self.save_checkpoint()
        self.save_state(stopped_by)
        return stopped_by

    @property
    def stops(self) -> bool:
        """Whether the chosen criterion ends training here, short of the full number of steps."""
        return self.config.stop != "none" and self.watches[0].fires

    def record_start(self) -> None:
        """Row 0: L_det before training, and the checkpoint that every comparison starts from."""
        row = {"step": 0, "seconds": 0.0, "l_det_seconds": 0.0, "check_seconds": 0.0}
        row |= self.track() | self.check_now()
        self.show(row)
        self.rows.append(row)
        self.l_det_seconds = self.check_seconds = 0.0
        self.save_checkpoint()
        self.save_state(None)

    def training_batches(self, first: int) -> Iterator[tuple[Batch, Batch | None]]:
        """What each step from `first` on sees: photographs, and class images if any."""
        samples = range(self.config.train_batch_size)
        for step in range(first, self.config.steps + 1):
            of_class = self.prior_draws.batch(samples, step) if self.prior_draws else None
            yield self.train_draws.batch(samples, step), of_class

    def take_step(self, batch: Batch, of_class: Batch | None) -> dict[str, Any]:
        loss = self.losses(batch).mean()
        if self.prior and of_class:
            loss = loss + self.prior.weight * self.prior.losses(of_class).mean()
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        gradients = [p.grad for p in self.method.parameters() if p.grad is not None]
        grad_norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(
                self.method.parameters(), self.config.max_grad_norm, grad_norm
            )
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        row = {
            "step": self.step,
            "loss": loss.item(),
            "grad_norm": grad_norm.item(),
            "lr": self.optimiser.param_groups[0]["lr"],
        }
        if not math.isfinite(row["loss"]):
            self.save_trace()
            raise UserError(
                f"--learning-rate: the loss became {row['loss']} at step {self.step}; lower it "
                f"(now {self.config.learning_rate:g}), or use --precision fp32"
            )
        if evaluated("l_det", self.step, self.config):
            row |= self.track()
        if evaluated("clip_img", self.step, self.config):
            row |= self.check_now()
        self.first_fire = self.show(row)
        if "l_det" in row:
            row["dvar_ratio"] = self.dvar_ratio() if math.isfinite(row["l_det"]) else math.nan
        return row

    def show(self, row: dict[str, Any]) -> bool:
        """Show the criteria what was recorded; whether one of them fires for the first time."""
        seen = [watch for watch in self.watches if watch.column in row]
        return sum(watch.see(self.step, row[watch.column]) for watch in seen) > 0

    def dvar_ratio(self) -> float:
        """What DVAR, which is always watched, compares with its threshold."""
        found = [watch.criterion for watch in self.watches if watch.name == "dvar"]
        return found[0].ratio if isinstance(found[0], DVAR) else math.nan

    def losses(self, batch: Batch) -> Tensor:
        """The loss (B,) of each sample, under the live model."""
        captions = self.objective.captions(batch, self.method.captions)
        return self.objective.losses(batch, conditioning_of(self.objective.model, captions))

    @torch.no_grad()
    def track(self) -> dict[str, float]:
        """L_det now."""
        started = time.monotonic()
        losses = self.parts.losses(self.fixed.batch, self.losses).cpu().double()
        if self.fixed_weights is None:
            self.fixed_weights = torch.from_numpy(self.fixed.weights(losses.tolist()))
        self.last_l_det = (self.fixed_weights @ losses).item()
        self.l_det_seconds += time.monotonic() - started
        return {"l_det": self.last_l_det}

    def check_now(self) -> dict[str, float]:
        """The CLIP similarity of what is drawn now; nothing without `previews`."""
        if not self.previews:
            return {}
        started = time.monotonic()
        similarity = self.previews.similarity()
        self.check_seconds += time.monotonic() - started
        return {"clip_img": similarity}

    def save_checkpoint(self) -> None:
        path = self.run.checkpoint(self.step)
        if not path.is_dir():
            with written_whole(path) as beside:
                self.method.save(beside)

    def save_state(self, stopped_by: str | None) -> None:
        """Everything needed to go on. The trace goes first: its rows may outlive the state."""
        started = time.monotonic()
        self.save_trace()
        state = {name: getattr(self, name) for name in COUNTED} | {
            "tensors": self.method.trained(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with written_whole(self.run.state_file) as beside:
            torch.save(state, beside)
        stage = "training" if stopped_by in (None, "interrupt") else "trained"
        self.run.write_status(stage, self.step, stopped_by)
        self.saved_at = time.monotonic()
        self.save_cost = self.saved_at - started

    def save_trace(self) -> None:
        if self.rows:
            write_part(self.run.train_directory, TRAIN_COLUMNS, self.rows)
            self.rows = []
