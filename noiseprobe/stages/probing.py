"""The probe engine: every checkpoint's loss with only the factors of a setting drawn anew.

All rows of a checkpoint (settings × replicates × samples) go through the denoiser as one stream of
micro-batches. The loss is one number per sample, so that how the rows are cut changes it by float
rounding alone; what was drawn for a row does not change at all.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseprobe.core.errors import Interrupted
from noiseprobe.core.progress import Reporter, Silent, stop_request
from noiseprobe.draws.draws import Batch, Draws
from noiseprobe.draws.factors import Setting, parse_settings
from noiseprobe.draws.sobol import Design, sobol_design
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import PROBE_COLUMNS, part_path, write_part
from noiseprobe.training.methods.base import Method
from noiseprobe.training.objective import Objective, ahead


@dataclass(frozen=True)
class Rows:
    """What is evaluated at a checkpoint: one setting, replicate and sample per row."""

    settings: list[Setting]
    replicates: NDArray[np.int64]
    samples: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.settings)


def plan_rows(settings: Sequence[Setting], replicates: int, batch: int) -> Rows:
    """Replicate 0 alone where nothing is redrawn, replicates 1 … `replicates` elsewhere.

    Each replicate evaluates the samples 0 … `batch` - 1. Rows are ordered as the settings are.
    """
    rows = [
        (setting, replicate, sample)
        for setting in settings
        for replicate in (range(1, replicates + 1) if setting.redrawn else [0])
        for sample in range(batch)
    ]
    each_setting, each_replicate, each_sample = zip(*rows, strict=True)
    return Rows(list(each_setting), np.array(each_replicate), np.array(each_sample))


def probe(
    run: Run,
    objective: Objective,
    method: Method,
    config: RunConfig,
    reporter: Reporter | None = None,
    steps: Sequence[int] | None = None,
) -> float:
    """Evaluate the checkpoints of `run` (default: all) that have no part in the probe trace yet.

    Returns the seconds it took. Raises `Interrupted` on Ctrl-C: the checkpoints that were finished
    are kept, and the next call goes on with the others.
    """
    draws = objective.draws(config.seed, "probe", len(method.captions))
    rows = plan_rows(parse_settings(config.settings), config.replicates, config.probe_batch)

    def one() -> pd.DataFrame:
        return evaluate(objective, method, draws, rows, config.micro_batch)

    again = f"noiseprobe probe {run.directory}"
    return _each_checkpoint(run, run.probe_directory, method, one, reporter, steps, again)


def probe_design(
    run: Run,
    objective: Objective,
    method: Method,
    config: RunConfig,
    reporter: Reporter | None = None,
    steps: Sequence[int] | None = None,
) -> float:
    """Evaluate the Sobol design at the checkpoints that have no part in its trace yet.

    As `probe` otherwise: the seconds it took, `Interrupted` on Ctrl-C.
    """
    draws = objective.draws(config.seed, "probe", len(method.captions))
    design = sobol_design(draws, config.design_replicates, config.design_batch)

    def one() -> pd.DataFrame:
        return evaluate_design(objective, method, draws, design, config.micro_batch)

    again = f"noiseprobe probe {run.directory} --design sobol"
    return _each_checkpoint(run, run.sobol_directory, method, one, reporter, steps, again)


def _each_checkpoint(
    run: Run,
    directory: Path,
    method: Method,
    evaluate_one: Callable[[], pd.DataFrame],
    reporter: Reporter | None,
    steps: Sequence[int] | None,
    again: str,
) -> float:
    """Write a part of the trace in `directory` for each checkpoint that lacks one; see `probe`."""
    reporter = reporter or Silent()
    started = time.monotonic()
    every = list(run.checkpoint_steps() if steps is None else steps)
    todo = [step for step in every if not part_path(directory, step).is_file()]
    reporter.stage("probing", len(every), len(every) - len(todo))
    with stop_request() as stop:
        for done, step in enumerate(todo, start=len(every) - len(todo) + 1):
            method.load(method.read(run.checkpoint(step)))
            trace = evaluate_one()
            trace.insert(0, "step", step)
            write_part(directory, PROBE_COLUMNS, trace)
            reporter.advance(done, f"checkpoint {step}")
            if stop.is_set() and step != todo[-1]:
                raise Interrupted(
                    f"probing stopped after {done} of {len(every)} checkpoints; go on with {again}"
                )
    return time.monotonic() - started


def evaluate(
    objective: Objective, method: Method, draws: Draws, rows: Rows, micro_batch: int
) -> pd.DataFrame:
    """The loss of every row under the live model, with what was drawn for it.

    Columns: those of the probe trace but `step`. Each caption is encoded once.
    """
    batches = (
        draws.batch(rows.samples[part], rows.replicates[part], rows.settings[part])
        for part in _parts(len(rows), micro_batch)
    )
    return pd.DataFrame(
        {
            "setting": [setting.name for setting in rows.settings],
            "replicate": rows.replicates,
            "sample": rows.samples,
            **_evaluated(objective, method, batches),
        }
    )


def evaluate_design(
    objective: Objective, method: Method, draws: Draws, design: Design, micro_batch: int
) -> pd.DataFrame:
    """The loss of every row of a design, of which those that coincide are evaluated once.

    Columns as `evaluate` has them: `setting` is the row's name, `replicate` its pair.
    """
    batches = (
        draws.batch(design.evaluated[part], design.replicates[part])
        for part in _parts(len(design.evaluated), micro_batch)
    )
    evaluated = _evaluated(objective, method, batches)
    return pd.DataFrame(
        {
            "setting": design.names,
            "replicate": design.pairs,
            "sample": design.samples,
            **{name: values[design.which] for name, values in evaluated.items()},
        }
    )


@torch.no_grad()
def _evaluated(
    objective: Objective, method: Method, batches: Iterable[Batch]
) -> dict[str, NDArray[Any]]:
    """What was drawn for each row of the batches, and its loss, as columns of the probe trace."""
    known: dict[str, Tensor] = {}
    losses, drawn = [], []
    for batch in ahead(batches):
        captions = objective.captions(batch, method.captions)
        if new := sorted(set(captions) - known.keys()):
            known |= zip(new, objective.model.encode_captions(new), strict=True)
        conditioning = torch.stack([known[caption] for caption in captions])
        losses.append(objective.losses(batch, conditioning))
        drawn.append((batch.images, batch.captions, batch.timesteps))
    image, caption, timestep = (np.concatenate(column) for column in zip(*drawn, strict=True))
    loss = torch.cat(losses).cpu().numpy()
    return {"image": image, "caption": caption, "timestep": timestep, "loss": loss}


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
