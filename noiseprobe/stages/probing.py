"""The probe engine: every checkpoint's loss with only the factors of a setting drawn anew.

All rows of a checkpoint (settings × replicates × samples) go through the denoiser as one stream of
micro-batches. The loss is one number per sample, so that how the rows are cut changes it by float
rounding alone; what was drawn for a row does not change at all. So a trace is added to: what was
measured is kept, and only rows that it lacks are evaluated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Reporter, Silent, stop_request
from noiseprobe.draws.draws import FRESH, Batch, Draws, Needed, Stream
from noiseprobe.draws.factors import FACTORS, Setting, parse_setting, parse_settings
from noiseprobe.draws.sobol import Design, sobol_design
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import PROBE_COLUMNS, drop_damaged, part_path, read_part, write_part
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import MicroBatches, Objective, ahead
from noiseprobe.training.wrong_numbers import (
    alone,
    broken_frozen,
    broken_trained,
    draws_of,
    wrong_in,
)

KEY = ["setting", "replicate", "sample"]

Sharing = Callable[..., None]
"""Lets other processes evaluate checkpoints: `noiseprobe.stages.sharing.Sharing`."""


@dataclass(frozen=True)
class Rows:
    """What is evaluated at a checkpoint: one setting, replicate and sample per row."""

    settings: list[Setting]
    replicates: NDArray[np.int64]
    samples: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.settings)

    def keys(self) -> list[tuple[str, int, int]]:
        """The setting, replicate and sample of each row, as the trace has them."""
        names = [setting.name for setting in self.settings]
        return list(zip(names, self.replicates.tolist(), self.samples.tolist(), strict=True))

    def part(self, rows: NDArray[np.int64]) -> "Rows":
        """Those rows alone."""
        chosen = [self.settings[row] for row in rows]
        return Rows(chosen, self.replicates[rows], self.samples[rows])

    def batch(self, draws: Draws, part: slice) -> Batch:
        """The draws of some rows."""
        return draws.batch(self.samples[part], self.replicates[part], self.settings[part])

    def needed(self, draws: Draws) -> Needed:
        """The draws that the rows need; fewer, for what is redrawn may come out as it was."""
        redrawn = [[factor in each.redrawn for factor in FACTORS] for each in self.settings]
        table = np.where(redrawn, self.replicates[:, None], 0)
        for index, factor in enumerate(FACTORS):
            table[:, index] = draws.earliest(factor, self.samples, table[:, index])
        keys = np.column_stack([table, self.samples])
        # In the order of the rows, so that what is evaluated together stays together.
        _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.argsort(order)[which.ravel()]
        return Needed(table[first[order]], self.samples[first[order]], place)


Plan = TypeVar("Plan", Rows, Design)


def plan_rows(settings: Sequence[Setting], replicates: int, batch: int) -> Rows:
    """Replicate 0 alone where nothing is redrawn, replicates 1 … `replicates` elsewhere.

    Each replicate evaluates the samples 0 … `batch` - 1. Rows are ordered as the settings are.
    """
    return _rows(
        [
            (setting, replicate)
            for setting in settings
            for replicate in (range(1, replicates + 1) if setting.redrawn else [0])
        ],
        batch,
    )


def _rows(redraws: Sequence[tuple[Setting, int]], batch: int) -> Rows:
    rows = [(*redraw, sample) for redraw in redraws for sample in range(batch)]
    each_setting, each_replicate, each_sample = zip(*rows, strict=True)
    return Rows(list(each_setting), np.array(each_replicate), np.array(each_sample))


def probe(
    run: Run,
    objective: Objective,
    method: Method,
    config: RunConfig,
    reporter: Reporter | None = None,
    steps: Sequence[int] | None = None,
    *,
    held_out: bool = False,
    sharing: Sharing | None = None,
) -> None:
    """Evaluate what the probe trace of `run` lacks, at the checkpoints of `steps` (default: all).

    With `held_out`, the `objective` is that on photographs that are not trained on, and the trace
    one of its own. Batches stay of one size: one that grew grows for all redraws that were measured
    before, and one never shrinks. Each checkpoint has one more redraw of each setting that no other
    has, the replicate `FRESH` + its step, however many replicates are asked. Raises `Interrupted`
    on Ctrl-C: the checkpoints that were finished are kept, and the next call goes on with the
    others. With `sharing`, other processes evaluate, several checkpoints at once.
    """
    stream: Stream = "held-out" if held_out else "probe"
    draws = objective.draws(config.seed, stream, len(method.captions))
    directory = run.held_out_directory if held_out else run.probe_directory
    settings = parse_settings(config.settings)

    def plan(before: pd.DataFrame, step: int) -> Rows:
        asked = plan_rows(settings, config.replicates, 1)
        redraws = dict.fromkeys(zip(asked.settings, asked.replicates.tolist(), strict=True))
        for name, replicate in before[KEY[:2]].drop_duplicates().itertuples(index=False):
            redraws.setdefault((parse_setting(name), int(replicate)))
        redrawn = [setting for setting, _ in redraws if setting.redrawn]
        redraws |= dict.fromkeys((setting, FRESH + step) for setting in redrawn)
        return _rows(list(redraws), max(config.probe_batch, _size(before, "sample")))

    of = "held-out" if held_out else "probe"
    one = Evaluation(run, objective, method, draws, config, of, reporter or Silent())
    again = f"noiseprobe probe {run.directory}{' --held-out' if held_out else ''}"
    _each_checkpoint(run, directory, plan, one, reporter, steps, again, sharing)


def probe_design(
    run: Run,
    objective: Objective,
    method: Method,
    config: RunConfig,
    reporter: Reporter | None = None,
    steps: Sequence[int] | None = None,
    sharing: Sharing | None = None,
) -> None:
    """Evaluate what the trace of the Sobol design lacks; as `probe` otherwise.

    A design of more pairs, or of larger batches, has the rows of the smaller one.
    """
    draws = objective.draws(config.seed, "probe", len(method.captions))

    def plan(before: pd.DataFrame, step: int) -> Design:
        pairs = max(config.design_replicates, int(before["replicate"].max()) if len(before) else 0)
        return sobol_design(draws, pairs, max(config.design_batch, _size(before, "sample")))

    one = Evaluation(run, objective, method, draws, config, "sobol", reporter or Silent())
    again = f"noiseprobe probe {run.directory} --design sobol"
    _each_checkpoint(run, run.sobol_directory, plan, one, reporter, steps, again, sharing)


def _size(trace: pd.DataFrame, column: str) -> int:
    return int(trace[column].max()) + 1 if len(trace) else 0


def _each_checkpoint(
    run: Run,
    directory: Path,
    plan: Callable[[pd.DataFrame, int], Plan],
    evaluate_one: "Evaluation",
    reporter: Reporter | None,
    steps: Sequence[int] | None,
    again: str,
    sharing: Sharing | None,
) -> None:
    """Bring the part of the trace in `directory` for each checkpoint up to its plan."""
    reporter = reporter or Silent()
    for wrong in drop_damaged(directory):
        reporter.note(f"warning: {wrong}; evaluated anew")
    every = list(run.checkpoint_steps() if steps is None else steps)
    todo: dict[int, tuple[pd.DataFrame, Plan, Plan]] = {}
    for step in every:
        before = _known(directory, step, again)
        whole = plan(before, step)
        known = set(before[KEY].itertuples(index=False, name=None))
        keys = whole.keys()
        missing = np.flatnonzero([key not in known for key in keys])
        if len(missing):
            lacking = whole if len(missing) == len(whole) else whole.part(missing)
            todo[step] = before, whole, lacking

    def keep(step: int, trace: pd.DataFrame) -> None:
        before, whole, _ = todo[step]
        if len(before):
            order = pd.MultiIndex.from_tuples(whole.keys(), names=KEY)
            trace = pd.concat([before, trace]).set_index(KEY).loc[order].reset_index()
        write_part(directory, PROBE_COLUMNS, trace.assign(step=step))

    plans = {step: lacking for step, (_, _, lacking) in todo.items()}
    if sharing and len(plans) > 1:
        config, of = evaluate_one.config, evaluate_one.of
        return sharing(run, config, of, plans, keep, reporter, again)
    reporter.stage("probing", len(every), len(every) - len(todo))
    with stop_request() as stop:
        for done, (step, lacking) in enumerate(plans.items(), len(every) - len(todo) + 1):
            evaluate_one.method.restore(run.checkpoint(step))
            keep(step, evaluate_one(lacking, step))
            reporter.advance(done, f"checkpoint {step}")
            if stop.is_set() and done < len(every):
                raise Interrupted(
                    f"probing stopped after {done} of {len(every)} checkpoints; go on with {again}"
                )


def _known(directory: Path, step: int, again: str) -> pd.DataFrame:
    """What the trace has of a checkpoint."""
    path = part_path(directory, step)
    if not path.is_file():
        return pd.DataFrame(columns=list(PROBE_COLUMNS))
    return read_part(path, PROBE_COLUMNS, f"delete it and probe again: {again}")


@dataclass(frozen=True)
class Evaluation:
    """Evaluates rows at the checkpoint that is loaded, and does as `on_nan` says of wrong losses.

    `of` is what `noiseprobe.reproduce` calls the probe.
    """

    run: Run
    objective: Objective
    method: Method
    draws: Draws
    config: RunConfig
    of: str
    reporter: Reporter

    def __call__(self, plan: Rows | Design, step: int) -> pd.DataFrame:
        """See `evaluate`; a loss that is not finite is NaN, or a `UserError` that names it."""
        trace = evaluate(
            self.objective, self.method, self.draws, plan, self.config.micro_batch, self.reporter
        )
        wrong = wrong_in(trace["loss"])
        if not len(wrong):
            return trace
        told = self._told(plan, step, wrong)
        if self.config.on_nan == "stop":
            raise UserError(f"--on-nan: {told}")
        self.reporter.note(f"warning: {told.partition('; to go on')[0]}; recorded as NaN")
        return trace.assign(loss=trace["loss"].mask(~np.isfinite(trace["loss"])))

    def _told(self, plan: Rows | Design, step: int, wrong: NDArray[np.int64]) -> str:
        many = f"{len(wrong)} of {len(plan)} losses at checkpoint {step} are not finite"
        broken = broken_trained(self.method) or broken_frozen(self.objective.model, self.method)
        leave = f"to go on without: noiseprobe probe {self.run.directory} --on-nan skip"
        if broken:
            return f"{many}, for its weights are not, such as {broken[0]}; {leave}"
        setting, replicate, sample = plan.keys()[wrong[0]]
        batch = plan.part(wrong[:1]).batch(self.draws, slice(0, 1))
        captions = self.objective.captions(batch, self.method.captions)
        keys: dict[str, str | int] = {"of": self.of, "setting": setting, "replicate": replicate}
        return (
            f"{many}, the first in setting {setting}, replicate {replicate}, sample {sample} "
            f"({draws_of(self.objective, batch, 0, captions)}; seed {self.draws.seed}, stream "
            f"{self.draws.stream}); it alone again: "
            f"{alone(self.run.directory, step, sample, **keys)}; {leave}"
        )


@torch.no_grad()
def evaluate(
    objective: Objective,
    method: Method,
    draws: Draws,
    plan: Rows | Design,
    micro_batch: int | None = None,
    reporter: Reporter | None = None,
) -> pd.DataFrame:
    """The loss of every row under the live model, with what was drawn for it.

    Columns: those of the probe trace but `step`; of a design, `setting` is the row's name and
    `replicate` its pair. Rows whose draws coincide are evaluated once, and so is each caption.
    """
    parts = MicroBatches.of(objective.model, micro_batch, reporter or Silent())
    own = objective.conditioner
    encoded = own if own.keep else Conditioner(objective.model, keep=True)
    losses, drawn = [], []

    def loss(batch: Batch) -> Tensor:
        return objective.losses(batch, objective.captions(batch, method.captions), encoded)

    needed = plan.needed(draws)
    size = parts.size  # which falls where memory is short, while the next rows are drawn already
    some = (slice(first, first + size) for first in range(0, len(needed.samples), size))
    for batch in ahead(needed.batch(draws, part) for part in some):
        losses.append(parts.losses(batch, loss))
        drawn.append((batch.images, batch.captions, batch.timesteps))
    columns = [np.concatenate(column) for column in zip(*drawn, strict=True)]
    columns.append(torch.cat(losses).cpu().numpy())
    found = dict(zip(("image", "caption", "timestep", "loss"), columns, strict=True))
    trace = pd.DataFrame(plan.keys(), columns=KEY)
    return trace.assign(**{name: values[needed.which] for name, values in found.items()})
