"""The training driver: optimises a method's parameters, tracks losses, checkpoints, stops."""

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from noiseprobe.core.errors import Interrupted
from noiseprobe.core.files import written_whole
from noiseprobe.core.progress import Reporter, Silent, stop_request
from noiseprobe.draws.draws import Batch
from noiseprobe.pictures.sampling import BrokenPicture
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import TRAIN_COLUMNS, drop_after, write_part
from noiseprobe.stopping import DVAR, bare
from noiseprobe.training.changes import Changes
from noiseprobe.training.earlier import EarlierWeights
from noiseprobe.training.fixed_losses import fixed_losses_of
from noiseprobe.training.guarding import Guard, WithLosses, quiet
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import MicroBatches, Objective, ahead
from noiseprobe.training.observing import Nobody, Observer
from noiseprobe.training.prior import Prior
from noiseprobe.training.states import load_state, save_state
from noiseprobe.training.stepping import Seen, Stepper
from noiseprobe.training.team import ALONE, Team
from noiseprobe.training.tracker import Tracker
from noiseprobe.training.watching import distinct, evaluated, keeper, show_recorded, watches

if TYPE_CHECKING:  # half a second, where no pictures are drawn
    from noiseprobe.pictures.likeness import Previews

COUNTED = ("step", "seconds", "fixed_weights", "best_step", "best")
"""What the driver keeps beside tensors, and goes on with."""

TOGETHER = 16
"""On a GPU, the numbers of so many steps are read at once, unless something is due before."""

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
    previews: "Previews | None" = None,
    held_out: Objective | None = None,
    team: Team = ALONE,
    observer: Observer | None = None,
) -> str:
    """Train until the criterion fires; returns what ended it: the criterion's name, or `steps`.

    Every criterion that can be watched is: a checkpoint is also written where one first fires, so
    that one run answers for all.

    With a `prior`, its weighted loss is added to that on the photographs at every step; what is
    tracked is on the photographs alone. `held_out` is the objective on those that are not trained
    on. Where the best step is kept, its weights are a checkpoint at the end.

    Where a `team` trains, every process of it calls this with the same arguments but `reporter`,
    `previews` and `observer`, which only the leader needs; it alone writes into `run`.

    Goes on after the last saved state of `run`, if there is one: every draw is a function of the
    step, so that the weights are those of an uninterrupted run. Raises `Interrupted` on Ctrl-C,
    after the state was saved. Where a number is NaN or infinite it raises `UserError`, or with
    `on_nan` = "skip" takes no such step (`noiseprobe.training.guarding`).
    """
    told = reporter or Silent(), observer or Nobody()
    driver = _Driver(run, objective, method, config, *told, prior, previews, held_out, team)
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
    observer: Observer
    prior: Prior | None
    previews: "Previews | None"
    held_out: Objective | None
    team: Team = ALONE
    step: int = 0
    seconds: float = 0.0
    tracked: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    best_step: int | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    keep_this: bool = False
    goes_on: bool = False
    again: deque[Seen] = field(default_factory=deque)
    rows: list[dict[str, Any]] = field(default_factory=list)
    latest: dict[str, float] = field(default_factory=dict)
    saved_at: float = field(default_factory=time.monotonic)
    save_cost: float = 0.0

    def __post_init__(self) -> None:
        config, captions = self.config, len(self.method.captions)
        self.stepper = Stepper(self.objective, self.method, self.prior, config, self.team)
        self.watches = watches(config)
        self.keeper = keeper(self.watches, config)
        self.shown_to = distinct(self.watches, self.keeper)
        self.parts = MicroBatches.of(self.objective.model, config.micro_batch, self.reporter)
        self.parts.team = self.team
        self.train_draws = self.objective.draws(config.seed, "train", captions)
        self.prior_draws = self.prior and self.prior.objective.draws(config.seed, "prior", 1)
        self.fixed = fixed_losses_of(
            self.objective, self.held_out, self.method.captions, config, self.parts
        )
        self.tracker = Tracker(self.fixed, watch="l_det", every=config.eval_every)
        self.earlier = EarlierWeights(self.method, config, self.run, self.losses_in_parts)
        self.spent = {"l_det_seconds": 0.0, "check_seconds": 0.0}
        self.spent |= {"l_val_seconds": 0.0} if self.held_out else {}
        self.guard = Guard(self.run, self.objective, self.prior, self.method, config, self.reporter)

    @property
    def fixed_weights(self) -> Tensor | None:
        """How the losses of L_det's batch are weighted, once that is known."""
        return self.fixed["l_det"].weights

    @fixed_weights.setter
    def fixed_weights(self, weights: Tensor | None) -> None:
        self.fixed["l_det"].weights = weights

    def restore(self) -> None:
        """Take up the last saved state, and drop what was recorded after it.

        What criteria have seen is the trace: it is shown to them again.
        """
        state = load_state(self.run, self.reporter)
        self.team.wait()  # all have read the same
        if state is None:
            self.drop_after(-1)
            return
        self.goes_on = True
        for name in COUNTED:
            setattr(self, name, state.get(name, getattr(self, name)))
        self.spent = {name: state.get(name, 0.0) for name in self.spent}
        self.tracker.seconds = {name: self.spent[f"{name}_seconds"] for name in self.fixed}
        if "earlier" in state:
            self.earlier.load_state_dict(state["earlier"])
        self.guard.skipped, self.guard.in_a_row = state.get("skips", (0, 0))
        self.method.load(state["tensors"])
        self.stepper.load_state_dict(state)
        self.drop_after(self.step)
        with quiet():
            show_recorded(
                self.shown_to, self.run.train_trace(), self.run.tracked_trace(), self.config
            )

    def drop_after(self, step: int) -> None:
        """Drop what the traces have of later steps; all go on when that is done."""
        if self.team.leads:
            for directory in (self.run.train_directory, self.run.tracked_directory):
                drop_after(directory, step)
        self.team.wait()

    def run_to_end(self, stop: Any) -> str:
        config = self.config
        if config.stop != "none" and (told := self.watches[0].cannot_fire(config)):
            self.reporter.note(told)
        self.changes = Changes(self.objective.model, self.method, self.reporter)
        self.observer.begin()
        self.reporter.stage("training", config.steps, self.step)
        if not self.goes_on:
            self.record_start()
        batches = ahead(self.training_batches(self.step + 1))
        while not self.stops and self.step < config.steps:
            if self.team.any(stop.is_set()):
                self.save_state("interrupt")
                self.team.wait()  # a launcher ends the others when one of them has ended
                raise Interrupted(
                    f"training stopped at step {self.step} and was saved; the same command with "
                    f"--out {self.run.directory} --resume goes on"
                )
            self.take_steps(batches)
            self.reporter.advance(self.step, self.shown_loss)
            self.guard.settle(self.step, lambda: self.save_state(None))
            kept = self.step % config.checkpoint_every == 0 or self.keep_this
            if kept:
                self.save_checkpoint()
            since = time.monotonic() - self.saved_at
            # A run that goes on from an earlier state takes the same steps again.
            due = since > self.save_cost / SAVE_SHARE and (kept or since > SAVE_SECONDS)
            if due and self.step < config.steps:  # the last one is saved below
                self.save_state(None)
        batches.close()
        stopped_by = config.stop if self.stops else "steps"
        self.save_checkpoint()
        self.changes.look()
        self.guard.end()
        self.save_best()
        self.save_state(stopped_by)
        self.team.wait()  # nobody leaves before all is written
        return stopped_by

    @property
    def shown_loss(self) -> str:
        """The tracked loss beside the progress: the held-out one, if there is one."""
        name = "l_val" if self.held_out else "l_det"
        return f"{name} {self.latest[name]:.5f}" if name in self.latest else ""

    @property
    def stops(self) -> bool:
        """Whether the chosen criterion ends training here, short of the full number of steps."""
        return self.config.stop != "none" and self.watches[0].fires

    def record_start(self) -> None:
        """Row 0: L_det before training, and the checkpoint that every comparison starts from."""
        row = {"step": 0} | self.spent | self.earlier.spent
        row |= self.track() | self.check_now()
        self.show(row)
        self.record(row)
        self.spent = dict.fromkeys(self.spent, 0.0)
        self.tracker.seconds = dict.fromkeys(self.fixed, 0.0)
        self.save_checkpoint()
        self.save_state(None)
        self.guard.settle(0, lambda: None)

    def record(self, row: dict[str, Any]) -> None:
        """Keep what a step gave, with the time that all took so far, and show it."""
        self.rows.append({"seconds": self.seconds} | self.spent | self.earlier.spent | row)
        self.observer.row(row)

    def training_batches(self, first: int) -> Iterator[Seen]:
        """What each step from `first` on sees: photographs, and class images if any."""
        samples = range(self.config.samples_per_step)
        for step in range(first, self.config.steps + 1):
            of_class = self.prior_draws.batch(samples, step) if self.prior_draws else None
            yield self.train_draws.batch(samples, step), of_class

    def take_steps(self, batches: Iterator[Seen]) -> None:
        """Take and record the next step; on a GPU some of them, up to one after which more is due.

        From a wrong number on, they are then done over one by one.
        """
        started, first, self.keep_this = time.monotonic(), self.step + 1, False
        count = self.steps_together()
        if count == 1:
            seen = self.again.popleft() if self.again else next(batches)
            earlier = self.earlier.evaluate(self.step, seen[0])
            row, losses = self.take_step(seen)
            return self.finish(row, seen[0], losses, earlier, started)
        given: list[Seen] = []
        earlier = {}

        def seen_next() -> Iterator[Seen]:
            for step in range(first, first + count):
                given.append(next(batches))
                if step == first + count - 1:  # before that no other value is due
                    earlier.update(self.earlier.evaluate(step - 1, given[-1][0]))
                yield given[-1]

        computed, read = self.stepper.together(seen_next(), first)
        each_took = (time.monotonic() - started) / count
        for place, (found, numbers) in enumerate(zip(computed, read, strict=True)):
            if not all(map(math.isfinite, numbers)):
                self.again.extend(given[place:])
                self.seconds += each_took * (count - place)
                return
            self.step = first + place
            self.guard.in_a_row = 0
            self.changes.step(found.rate, found.norms)
            row = found.row(self.step, numbers)
            if place == count - 1:
                last = time.monotonic() - each_took
                return self.finish(row, given[-1][0], found.losses, earlier, last)
            self.seconds += each_took
            self.record(row)

    def steps_together(self) -> int:
        """How many of the next steps may be taken before their numbers are read."""
        if not self.reads_late or self.again:
            return 1
        last = min(self.step + TOGETHER, self.config.steps)
        due = (step for step in range(self.step + 1, last) if self.due_after(step))
        return next(due, last) - self.step

    @cached_property
    def reads_late(self) -> bool:
        """Whether steps may be taken before their numbers are read: nobody looks at each."""
        watched = {watch.column for watch in self.shown_to} & {"loss", "grad_norm"}
        return self.stepper.reads_late and not watched and not self.config.tracks("recent")

    def due_after(self, step: int) -> bool:
        """Whether something is evaluated or kept after a step."""
        columns = [*self.fixed, "clip_img", *(["paired"] if self.earlier.start else [])]
        return step % self.config.checkpoint_every == 0 or any(
            evaluated(column, step, self.config) for column in columns
        )

    def take_step(self, seen: Seen) -> tuple[dict[str, Any], Tensor]:
        """Take one step, or say why not; its row of the trace, and the losses (B,) of its batch."""
        found = self.stepper.compute(seen, self.step + 1)
        # One fetch for both; whether the step can be taken is known before it is.
        row = found.row(self.step + 1, found.numbers.tolist())
        if not self.stepper.can_be_taken(row):
            row["skipped"] = 1.0
            self.refuse_step(row, (seen[0], found.losses), (seen[1], found.others))
        else:
            self.stepper.apply(found)
            self.guard.in_a_row = 0
            if math.isfinite(row["grad_norm"]):  # else fp16's scaler did not take it
                self.changes.step(found.rate, found.norms)
        self.step += 1
        return row, found.losses

    def finish(
        self,
        row: dict[str, Any],
        batch: Batch,
        losses: Tensor,
        earlier: dict[str, Tensor],
        started: float,
    ) -> None:
        """Do all that is due after a step, which began at `started`, and record its row."""
        row |= self.track() | self.against_earlier(losses, earlier, batch)
        if evaluated("clip_img", self.step, self.config):
            row |= self.check_now()
        fired = self.show(row)
        # The weights under which a number was not finite are kept where that happens first.
        self.keep_this = fired or (row["skipped"] > 0 and self.guard.skipped == 1)
        if "l_det" in row:
            row["dvar_ratio"] = self.dvar_ratio() if math.isfinite(row["l_det"]) else math.nan
        self.seconds += time.monotonic() - started
        self.record(row)

    def refuse_step(
        self, row: dict[str, Any], photographs: WithLosses, class_images: WithLosses
    ) -> None:
        """Take no step and say why; raises `UserError` where training stops there."""
        self.stepper.refuse()
        # Without new rows, this very state is saved already.
        save = partial(self.save_state, None) if self.rows else lambda: None
        self.guard.refuse(self.step, row, photographs, class_images, save)

    def against_earlier(
        self, losses: Tensor, earlier: dict[str, Tensor], batch: Batch
    ) -> dict[str, float]:
        """What is tracked of a batch and its `losses` (B,), beside those of earlier weights."""
        with quiet():
            row = self.earlier.row(self.step, losses, earlier)
        steps = self.config.recent_steps
        begun = {"paired": 0, "recent": (self.step - 1) // steps * steps}
        for name, wrong in self.earlier.wrong.items():
            self.guard.note_earlier(name, self.step, begun[name], batch, wrong)
        if "recent" in row and len(self.earlier.differences):
            self.tracked["recent"] = self.earlier.differences
            self.tracker.record(self.step, {"recent": self.earlier.differences})
        return row

    def show(self, row: dict[str, Any]) -> bool:
        """Show the criteria what was recorded; whether one of them fires for the first time."""
        first = False
        with quiet():
            for watch in self.shown_to:
                if watch.column in row:
                    value = self.tracked.get(watch.column, row[watch.column])
                    first |= watch.see(self.step, value)
        self.keep_best()
        return first

    def keep_best(self) -> None:
        """Keep the weights where the best step is this one."""
        if self.config.keeps_best and self.keeper.best_step == self.step != self.best_step:
            self.best_step, self.best = self.step, self.method.copies()

    def dvar_ratio(self) -> float:
        """What DVAR, which is always watched, compares with its threshold."""
        found = [bare(watch.criterion)[0] for watch in self.watches if watch.name == "dvar"]
        return found[0].ratio if isinstance(found[0], DVAR) else math.nan

    def losses(self, batch: Batch) -> Tensor:
        """The loss (B,) of each sample, under the live model."""
        return self.objective.losses(batch, self.objective.captions(batch, self.method.captions))

    def losses_in_parts(self, batch: Batch) -> Tensor:
        """The same, (B,), in micro-batches that fit."""
        return self.parts.losses(batch, self.losses)

    def track(self) -> dict[str, float]:
        """L_det now, and the held-out loss, as far as they are due."""
        due = [name for name in self.fixed if evaluated(name, self.step, self.config)]
        self.tracked = self.tracker.measure(self.step, due) if due else {}
        self.spent |= {f"{name}_seconds": spent for name, spent in self.tracker.seconds.items()}
        found = {name: float(losses.mean()) for name, losses in self.tracked.items()}
        for name, losses in self.tracked.items():
            self.guard.note_tracked(name, self.step, self.fixed[name], losses)
        self.latest |= found
        return found

    def check_now(self) -> dict[str, float]:
        """The CLIP similarity of what is drawn now; nothing without `previews`.

        Of a team, the leader has them, and tells the others.
        """
        if not self.config.draws_pictures or (self.team.leads and not self.previews):
            return {}
        started = time.monotonic()
        similarity = math.nan
        try:
            if self.previews:
                similarity = self.previews.similarity()
                self.observer.pictures(self.step, self.previews.pictures)
        except BrokenPicture as error:
            self.guard.pending.append(f"clip_img became nan at step {self.step}: {error}")
        self.spent["check_seconds"] += time.monotonic() - started
        return {"clip_img": self.team.of_the_leader(similarity)}

    def save_checkpoint(self) -> None:
        path = self.run.checkpoint(self.step)
        if self.team.leads and not path.is_dir():
            self.guard.require_finite_weights(self.step, frozen=False)
            self.changes.look()
            with written_whole(path) as beside:
                self.method.save(beside)

    def save_best(self) -> None:
        """A checkpoint of the best step, if it is kept; its weights were held in memory."""
        if self.best_step is None or not self.team.leads:
            return
        if self.run.checkpoint(self.best_step).is_dir():
            return
        path = self.run.checkpoint(self.best_step)
        with written_whole(path) as beside, self.method.holding(self.best):
            self.method.save(beside)

    def save_state(self, stopped_by: str | None) -> None:
        """Everything needed to go on. The trace goes first: its rows may outlive the state."""
        if not self.team.leads:
            self.rows = []
            return
        started = time.monotonic()
        self.save_trace()
        self.guard.require_finite_weights(self.step, frozen=False)
        state = (
            {name: getattr(self, name) for name in COUNTED}
            | self.spent
            | {
                "skips": (self.guard.skipped, self.guard.in_a_row),
                "earlier": self.earlier.state_dict(),
                "tensors": self.method.trained(),
            }
            | self.stepper.state_dict()
        )
        save_state(self.run, state)
        stage = "training" if stopped_by in (None, "interrupt") else "trained"
        self.run.write_status(stage, self.step, stopped_by)
        self.saved_at = time.monotonic()
        self.save_cost = self.saved_at - started

    def save_trace(self) -> None:
        if self.rows:
            write_part(self.run.train_directory, TRAIN_COLUMNS, self.rows)
            self.rows = []
        self.tracker.write_samples(self.run.tracked_directory)
