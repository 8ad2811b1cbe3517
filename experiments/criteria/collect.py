"""The data set: what the runs of the comparison recorded, in one file that is committed.

`traces.parquet` holds one row per run and step: method, concept, step, loss, l_det, clip_img.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from noiseprobe.analysis.regret import Judged
from noiseprobe.core.files import written_whole
from noiseprobe.logs import Series
from noiseprobe.run.directory import Run

RECORDED = ["step", "loss", "l_det", "clip_img"]


def write_traces(runs: Sequence[Run], out: Path) -> None:
    """Write the traces of all runs; numbers as float32, in which L_det was computed."""
    tables = []
    for run in runs:
        config = run.config
        table = run.train_trace()[RECORDED].astype(dict.fromkeys(RECORDED[1:], np.float32))
        table = table.astype({"step": np.int32})
        table.insert(0, "concept", Path(config.concept).name)
        table.insert(0, "method", config.method)
        tables.append(table)
    with written_whole(out) as beside:
        pd.concat(tables, ignore_index=True).to_parquet(beside, index=False, compression="zstd")


def judged_by_method(file: Path, losses: str = "l_det") -> dict[str, list[Judged]]:
    """For each method, the losses of its runs with CLIP similarity as the judge."""
    table = pd.read_parquet(file)
    found: dict[str, list[Judged]] = {}
    for (method, concept), rows in table.groupby(["method", "concept"], sort=False):
        series = {
            tag: Series(
                f"{method}/{concept}",
                known["step"].to_numpy(np.int64),
                known[tag].to_numpy(np.float64),
                tag,
            )
            for tag in (losses, "clip_img")
            for known in [rows[rows[tag].notna()]]
        }
        judged = Judged(series[losses], series["clip_img"], maximize=True)
        found.setdefault(str(method), []).append(judged)
    return found
