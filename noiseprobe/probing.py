"""The probe engine: every checkpoint's loss with only the factors of a setting drawn anew.

All rows of a checkpoint (settings × replicates × samples) go through the denoiser as one stream of
micro-batches. The loss is one number per sample, so that how the rows are cut changes it by float
rounding alone; what was drawn for a row does not change at all.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from noiseprobe.config import RunConfig
from noiseprobe.errors import Interrupted
from noiseprobe.factors import Batch, Draws, Setting, parse_settings
from noiseprobe.methods.base import Method
from noiseprobe.objective import Objective, ahead
from noiseprobe.progress import Reporter, Silent, stop_request
from noiseprobe.run import Run
from noiseprobe.traces import PROBE_COLUMNS, part_path, write_part


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
    reporter = reporter or Silent()
    started = time.monotonic()
    every = list(run.checkpoint_steps() if steps is None else steps)
    todo = [step for step in every if not part_path(run.probe_directory, step).is_file()]
    draws = objective.draws(config.seed, "probe", len(method.captions))
    rows = plan_rows(parse_settings(config.settings), config.replicates, config.probe_batch)
    reporter.stage("probing", len(every), len(every) - len(todo))
    with stop_request() as stop:
        for done, step in enumerate(todo, start=len(every) - len(todo) + 1):
            method.load(method.read(run.checkpoint(step)))
            trace = evaluate(objective, method, draws, rows, config.micro_batch)
            trace.insert(0, "step", step)
            write_part(run.probe_directory, PROBE_COLUMNS, trace)
            reporter.advance(done, f"checkpoint {step}")
            if stop.is_set() and step != todo[-1]:
                raise Interrupted(
                    f"probing stopped after {done} of {len(every)} checkpoints; go on with "
                    f"noiseprobe run --out {run.directory} --resume"
                )
    return time.monotonic() - started


@torch.no_grad()
def evaluate(
    objective: Objective, method: Method, draws: Draws, rows: Rows, micro_batch: int
) -> pd.DataFrame:
    """The loss of every row under the live model, with what was drawn for it.

    Columns: those of the probe trace but `step`. Each caption is encoded once.
    """
    known: dict[str, Tensor] = {}
    losses, drawn = [], []
    for batch in ahead(_micro_batches(draws, rows, micro_batch)):
        captions = objective.captions(batch, method.captions)
        if new := sorted(set(captions) - known.keys()):
            known |= zip(new, objective.model.encode_captions(new), strict=True)
        conditioning = torch.stack([known[caption] for caption in captions])
        losses.append(objective.losses(batch, conditioning))
        drawn.append((batch.images, batch.captions, batch.timesteps))
    image, caption, timestep = (np.concatenate(column) for column in zip(*drawn, strict=True))
    return pd.DataFrame(
        {
            "setting": [setting.name for setting in rows.settings],
            "replicate": rows.replicates,
            "sample": rows.samples,
            "image": image,
            "caption": caption,
            "timestep": timestep,
            "loss": torch.cat(losses).cpu().numpy(),
        }
    )


def _micro_batches(draws: Draws, rows: Rows, size: int) -> Iterator[Batch]:
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        yield draws.batch(rows.samples[part], rows.replicates[part], rows.settings[part])
