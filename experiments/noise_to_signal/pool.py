"""A large pool of samples of one run, from which many different fixed batches can be taken.

Each sample has a fixed draw of its own and is evaluated under every setting, as `noiseprobe probe`
does it with 32 of them: so any 32 samples of the pool are what another fixed batch would have been.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import NAMED_SETTINGS
from noiseprobe.run.directory import Run
from noiseprobe.stages.probing import evaluate, plan_rows
from noiseprobe.training.preparing import prepare

AT_ONCE = 128
"""Samples that are evaluated at a time: their draws fit into memory."""


def evaluate_pool(run: Run, samples: int, replicates: int, steps: Sequence[int], out: Path) -> None:
    """Write the losses of `samples` samples at the checkpoints `steps` of `run` into `out`.

    A file per checkpoint and chunk of samples, written whole: the same call goes on where it was
    interrupted.
    """
    ready = prepare(run.config, run)
    draws = ready.objective.draws(run.config.seed, "probe", len(ready.method.captions))
    rows = plan_rows(NAMED_SETTINGS, replicates, samples)
    for step in steps:
        ready.method.load(ready.method.read(run.checkpoint(step)))
        for first in range(0, samples, AT_ONCE):
            path = out / f"{step:06d}-{first:06d}.parquet"
            if path.is_file():
                continue
            chosen = (rows.samples >= first) & (rows.samples < first + AT_ONCE)
            part = rows.part(np.flatnonzero(chosen))
            losses = evaluate(ready.objective, ready.method, draws, part)
            with written_whole(path) as beside:
                losses.assign(step=step).to_parquet(beside)
            print(path, flush=True)


def read_pool(out: Path) -> dict[str, NDArray[np.float64]]:
    """The losses by setting: (samples, checkpoints, replicates)."""
    frames = [pd.read_parquet(path) for path in sorted(out.glob("*.parquet"))]
    pool = pd.concat(frames, ignore_index=True)
    arrays = {}
    for setting, part in pool.groupby("setting"):
        table = part.pivot(index=["sample", "step"], columns="replicate", values="loss")
        samples = table.index.get_level_values("sample").nunique()
        arrays[str(setting)] = table.to_numpy("float64").reshape(samples, -1, table.shape[1])
    return arrays
