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
from noiseprobe.draws.factors import Batch, Draws
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.pictures.likeness import Previews
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import TRAIN_COLUMNS, first_step, parts, write_part
from noiseprobe.stopping import DVAR, ClipPlateau
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import Objective, ahead, conditioning_of
from noiseprobe.training.prior import Prior

FLUSH_SECONDS = 120.0
ENDINGS = ("dvar", "clip", "steps")
"""What can end training, so that it is done: a rule, or the last step."""


def train(
    run: Run,
    objective: Objective,
    method: Method,
    config: RunConfig,
    reporter: Reporter | None = None,
    prior: Prior | None = None,
    previews: Previews | None = None,
) -> str:
    """Train until the stopping rule fires; returns what stopped it: `dvar`, `clip` or `steps`.

    Every rule that can be watched is: a checkpoint is also written where DVAR first fires, and with
    `previews` where the CLIP rule does, so that one run answers for all.

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
    fires: dict[str, bool] = field(default_factory=lambda: {"dvar": False, "clip": False})
    fired: set[str] = field(default_factory=set)
    first_fire: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)

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
        self.criterion = DVAR(config.window, config.threshold)
        self.plateau = ClipPlateau(config.patience, config.eps)
        self.train_draws = self.objective.draws(config.seed, "train", captions)
        probe_draws = self.objective.draws(config.seed, "probe", captions)
        self.prior_draws: Draws | None = None
        if self.prior:
            self.prior_draws = self.prior.objective.draws(config.seed, "prior", 1)
        self.fixed = fixed_batch(probe_draws, config.eval_batch, config.fixed_batch)

    def restore(self) -> None:
        """Take up the last saved state, and drop what was recorded after it."""
        if not self.run.state_file.is_file():
            return
        state = torch.load(self.run.state_file, map_location="cpu", weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.l_det_seconds = state.get("l_det_seconds", 0.0)
        self.check_seconds = state.get("check_seconds", 0.0)
        self.fixed_weights = state.get("fixed_weights")
        self.method.load(state["tensors"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        for part in parts(self.run.train_directory):
            if first_step(part) > self.step:
                part.unlink()
        recorded = self.run.train_trace()
        for value in recorded["l_det"][recorded["step"] % self.config.eval_every == 0]:
            self.note_rule("dvar", self.criterion.update(value))
        if self.previews:
            for value in recorded["clip_img"][recorded["step"] % self.config.check_every == 0]:
                self.note_rule("clip", self.plateau.update(value))

    def run_to_end(self, stop: Any) -> str:
        config = self.config
        self.reporter.stage("training", config.steps, self.step)
        if not self.run.state_file.is_file():
            self.record_start()
        batches = ahead(self.training_batches(self.step + 1))
        started = time.monotonic() - self.seconds
        while not self.stops and self.step < config.steps:
            if stop.is_set():
                self.seconds = time.monotonic() - started
                self.save_state("interrupt")
                raise Interrupted(
                    f"training stopped at step {self.step} and was saved; the same command with "
                    f"--out {self.run.directory} --resume goes on"
                )
            row = self.take_step(*next(batches))
            self.seconds = row["seconds"] = time.monotonic() - started
            row |= {"l_det_seconds": self.l_det_seconds, "check_seconds": self.check_seconds}
            self.rows.append(row)
            self.reporter.advance(self.step, f"L_det {self.last_l_det:.5f}")
            if self.step % config.checkpoint_every == 0 or self.first_fire:
                self.save_checkpoint()
            elif time.monotonic() - self.saved_at > FLUSH_SECONDS:
                self.save_state(None)
        batches.close()
        stopped_by = config.stop if self.stops else "steps"
        self.save_checkpoint(stopped_by)
        return stopped_by

    @property
    def stops(self) -> bool:
        """Whether the chosen rule ends training here, short of the full number of steps."""
        return self.fires.get(self.config.stop, False)

    def note_rule(self, rule: str, fires: bool) -> None:
        """Take note of what a rule says now, and of whether it says so for the first time."""
        self.fires[rule] = fires
        self.first_fire |= fires and rule not in self.fired
        if fires:
            self.fired.add(rule)

    def record_start(self) -> None:
        """Row 0: L_det before training, and the checkpoint that every comparison starts from."""
        row = {"step": 0, "seconds": 0.0, "l_det_seconds": 0.0, "check_seconds": 0.0}
        self.rows.append(row | self.track() | self.check_now())
        self.l_det_seconds = self.check_seconds = 0.0
        self.save_checkpoint()

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
        self.first_fire = False
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
        if self.step % self.config.eval_every == 0:
            row |= self.track()
        if self.step % self.config.check_every == 0:
            row |= self.check_now()
        return row

    def losses(self, batch: Batch) -> Tensor:
        """The loss (B,) of each sample, under the live model."""
        captions = self.objective.captions(batch, self.method.captions)
        return self.objective.losses(batch, conditioning_of(self.objective.model, captions))

    @torch.no_grad()
    def track(self) -> dict[str, float]:
        """L_det now, and the DVAR ratio with it."""
        started = time.monotonic()
        losses = self.losses(self.fixed.batch).cpu().double()
        if self.fixed_weights is None:
            self.fixed_weights = torch.from_numpy(self.fixed.weights(losses.tolist()))
        self.last_l_det = (self.fixed_weights @ losses).item()
        self.note_rule("dvar", self.criterion.update(self.last_l_det))
        self.l_det_seconds += time.monotonic() - started
        ratio = self.criterion.ratio if math.isfinite(self.last_l_det) else math.nan
        return {"l_det": self.last_l_det, "dvar_ratio": ratio}

    def check_now(self) -> dict[str, float]:
        """The CLIP similarity of what is drawn now; nothing without `previews`."""
        if not self.previews:
            return {}
        started = time.monotonic()
        similarity = self.previews.similarity()
        self.note_rule("clip", self.plateau.update(similarity))
        self.check_seconds += time.monotonic() - started
        return {"clip_img": similarity}

    def save_checkpoint(self, stopped_by: str | None = None) -> None:
        path = self.run.checkpoint(self.step)
        if not path.is_dir():
            with written_whole(path) as beside:
                self.method.save(beside)
        self.save_state(stopped_by)

    def save_state(self, stopped_by: str | None) -> None:
        """Everything needed to go on. The trace goes first: its rows may outlive the state."""
        self.save_trace()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "l_det_seconds": self.l_det_seconds,
            "check_seconds": self.check_seconds,
            "fixed_weights": self.fixed_weights,
            "tensors": self.method.trained(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with written_whole(self.run.state_file) as beside:
            torch.save(state, beside)
        stage = "trained" if stopped_by in ENDINGS else "training"
        self.run.write_status(stage, self.step, stopped_by)
        self.saved_at = time.monotonic()

    def save_trace(self) -> None:
        if self.rows:
            write_part(self.run.train_directory, TRAIN_COLUMNS, self.rows)
            self.rows = []
