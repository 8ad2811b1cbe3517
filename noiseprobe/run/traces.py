"""The traces of a run: their columns, how a part is written, how all parts are read.

A trace is a folder of Parquet parts, each named after the first step that it holds. A part appears
whole or not at all, so that a killed run leaves a trace that is shorter, never one that is broken.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import remove, written_whole
from noiseprobe.stopping.base import NonFiniteLossWarning

_OF_TRAINING = (
    *("loss", "grad_norm", "lr", "l_det", "dvar_ratio", "seconds", "l_det_seconds"),
    *("clip_img", "check_seconds", "l_val", "l_val_seconds"),
    *("paired", "paired_mean", "paired_se", "paired_seconds"),
    *("recent", "recent_se", "recent_seconds", "skipped"),
)
TRAIN_COLUMNS = {"step": "int64"} | dict.fromkeys(_OF_TRAINING, "float64")
"""One row per optimisation step.

`step` counts finished optimiser steps. Row k holds the loss and gradient norm of the k-th step
(taken before its update) and L_det after it, so that L_det at step k belongs to checkpoint k. Row 0
is the start: it has L_det alone. Where L_det was not evaluated, `l_det` and `dvar_ratio` are NaN.
`seconds` is the training time since step 0, without pauses between interruption and resumption.
It includes `l_det_seconds`, what L_det took so far, and `check_seconds`, what CLIP checks took so
far. `clip_img` is the CLIP similarity of drawn pictures to the photographs where a check was made,
else NaN.

`l_val` is the loss on held-out photographs after step k. `paired` is the loss of the k-th training
batch less the starting model's on the same draws, so that it belongs to the weights after step
k - 1; `paired_mean` is its running mean and `paired_se` the standard error of that
(`noiseprobe.stopping.PairedLoss`). `recent` is, where a stretch of steps ends, the mean loss of the
training batches of its second half less that under the weights with which it began, on the same
draws, and `recent_se` the standard error. `skipped` is 1 where the step was not taken, since its
loss or gradient was not finite, else 0. They are NaN where they were not evaluated, as is what
took no time; and what the versions before them did not record.
"""

TRACKED_COLUMNS = {"step": "int64", "name": "string", "sample": "int64", "loss": "float64"}
"""One row per sample and evaluation: `name` is the column of the training trace.

The samples are those of a fixed batch, or of `recent` those of a stretch's training batches. The
mean over them is what that column has.
"""

PROBE_COLUMNS = {
    "step": "int64",
    "setting": "string",
    "replicate": "int64",
    "sample": "int64",
    "image": "int64",
    "caption": "int64",
    "timestep": "float64",
    "loss": "float32",
}
"""One row per evaluated sample: checkpoint `step`, under `setting`, in redraw `replicate`.

`replicate` is 0 for the setting `deterministic` and 1…R for every other one. The parts also hold
one more redraw per checkpoint, `noiseprobe.draws.draws.FRESH` + its step, which that checkpoint
alone has: what a person sees who redraws each time (`Run.seen_trace`). `image` and `caption` are
the indices of the photograph and of the caption template that the sample was given. The trace of
the Sobol design has the same columns: `setting` is the row of the design and `replicate` the pair,
from 1.
"""

METRICS_COLUMNS = {"step": "int64", "metric": "string", "value": "float64"}
"""One row per measured metric and step."""


OF_A_TRACKER = "restore it from a copy, or remove it and go on without what it holds"
"""The mend of a damaged part of the trace that a `Tracker` wrote."""


def samples_of(tracked: pd.DataFrame, name: str) -> pd.DataFrame:
    """The losses of one tracked fixed batch: a row per step, a column per sample."""
    rows = tracked[tracked["name"] == name]
    return rows.pivot(index="step", columns="sample", values="loss")


def without_wrong(probe: pd.DataFrame) -> pd.DataFrame:
    """A probe trace without the samples of which a loss is not known, which is warned of.

    These are the samples that have no finite loss at some checkpoint under some setting, in any
    redraw: without them every mean is over the same samples. Where another redraw is finite, the
    sample is kept, and whoever averages leaves the redraw out. A checkpoint without any finite
    loss, as after a training has diverged, tells nothing of samples, and stays. So does everything
    where no sample would be left.

    Warns:
        NonFiniteLossWarning: some loss is NaN or infinite.
    """
    finite = pd.Series(np.isfinite(probe["loss"].to_numpy()), probe.index)
    if finite.all():
        return probe
    told = finite.groupby(probe["step"]).transform("any")
    known = finite.groupby([probe[name] for name in ("step", "setting", "sample")]).transform("any")
    lost = probe.loc[told & ~known, "sample"].unique()
    count = probe["sample"].nunique()
    warnings.warn(
        f"{int((~finite).sum())} of {len(probe)} losses of the probe are not finite; "
        f"{len(lost)} of {count} samples are left out, and of the others the redraws that have one",
        NonFiniteLossWarning,
        stacklevel=2,
    )
    return probe[~probe["sample"].isin(lost)] if len(lost) < count else probe


def part_path(directory: Path, first_step: int) -> Path:
    """Where the part that begins at `first_step` lies in the trace folder `directory`."""
    return directory / f"part-{first_step:08d}.parquet"


def write_part(
    directory: Path, columns: dict[str, str], rows: pd.DataFrame | Sequence[dict[str, Any]]
) -> None:
    """Write `rows` (at least one, sorted by step) as one part with the given `columns`."""
    frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    with written_whole(part_path(directory, int(frame["step"].iloc[0]))) as beside:
        frame.to_parquet(beside, index=False)


def drop_after(directory: Path, step: int) -> None:
    """Remove the parts that begin after `step`."""
    for part in parts(directory):
        if first_step(part) > step:
            remove(part)


def parts(directory: Path) -> list[Path]:
    """All parts of the trace in `directory`, in the order of their steps."""
    # Names have eight digits at least, and those of very late steps more.
    return sorted(directory.glob("part-*.parquet"), key=lambda part: (len(part.name), part.name))


def first_step(part: Path) -> int:
    """The step that a part's file name says it begins with."""
    return int(part.stem.removeprefix("part-"))


def drop_damaged(directory: Path) -> list[str]:
    """Remove the parts that are not as they were written; what was wrong with each."""
    told = []
    for part in parts(directory):
        if wrong := _damage(part):
            remove(part)
            told.append(f"'{part}' {wrong}")
    return told


def _damage(part: Path) -> str:
    if manifest.known_entry(part) is not None:
        return next((what for _, what in manifest.wrong_in(part)), "")
    try:
        pd.read_parquet(part, columns=["step"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return "is damaged"
    return ""


def gap_in(steps: NDArray[np.int64], *, every: bool) -> str:
    """What is wrong with the steps of a training trace, (n,); empty where nothing is.

    They ascend, and where `every` step has a row, from 0, none is missing.
    """
    jumps = np.diff(steps)
    if (jumps <= 0).any():
        return f"step {steps[int(np.argmax(jumps <= 0)) + 1]} is there twice or too late"
    if every and len(steps) and steps[0] != 0:
        return f"the steps before {steps[0]} are missing"
    if every and (jumps > 1).any():
        return f"the step after {steps[int(np.argmax(jumps > 1))]} is missing"
    return ""


def read_trace(directory: Path, columns: dict[str, str], mend: str | None = None) -> pd.DataFrame:
    """The whole trace in `directory`, sorted by step; empty with the right columns if none.

    Where a part is damaged, raises a `UserError` that names it and tells the `mend`; without one,
    whatever the reader of Parquet raises.
    """
    frames = [read_part(part, columns, mend) for part in parts(directory)]
    if not frames:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
    return pd.concat(frames, ignore_index=True)


def read_part(part: Path, columns: dict[str, str], mend: str | None = None) -> pd.DataFrame:
    """One part; see `read_trace`."""
    manifest.check(part, mend or "")
    try:
        # Files of some kilobytes, of which there are many: threads and casts take longer than they.
        with pq.ParquetFile(part) as file:
            frame = file.read(use_threads=False).to_pandas().reindex(columns=list(columns))
        return frame.astype({name: to for name, to in columns.items() if frame[name].dtype != to})
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        if mend is None:
            raise
        raise UserError(f"'{part}' is damaged; {mend}") from error
