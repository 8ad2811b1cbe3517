"""The comparison of criteria over recorded runs: one table, with its raw numbers.

Rows are those of Voronov et al. 2023, table 1: method and criterion (in the column `variant`); mean
and 95% bootstrap interval over concepts.
"""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.bootstrap import (
    RESAMPLES,
    Statistic,
    bootstrap_interval,
    ratio_of_sums,
)
from noiseprobe.analysis.stops import COMPARED, Stop, few_stop, has_l_det, stops
from noiseprobe.core.errors import UserError
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig

METRICS = ("train_clip_img", "val_clip_img", "val_clip_txt")
NAMES = {"baseline": "Baseline", "clip": "CLIP-s", "few": "Few iterations", "dvar": "DVAR"}


class UnfinishedRunWarning(UserWarning):
    """A run is left out of a comparison, since it has nothing to compare yet."""


def raw_numbers(runs: Sequence[Run], few: Mapping[str, float] | None = None) -> pd.DataFrame:
    """One row per run and criterion.

    Columns: method, concept, seed, variant, step (where the criterion ends the run), fired, minutes
    (of training up to there, with what it took itself), measured_step (the nearest checkpoint, or
    measured step where checkpoints were deleted), and each metric there, NaN where it was not
    measured. `few` is the number of steps of "few" by method; by default the average of the CLIP
    criterion over the runs of that method, where all of them have checks.

    Raises:
        UserError: no run is given, or none has L_det recorded.

    Warns:
        UnfinishedRunWarning: a run has no L_det recorded yet; it is left out.
    """
    known = _stops(runs)
    by_method: dict[str, list[str]] = {}
    for name, (_, config, _) in known.items():
        by_method.setdefault(config.method, []).append(name)
    rows = []
    for method, names in by_method.items():
        steps = (few or {}).get(method)
        if steps is None and all("clip" in known[name][2] for name in names):
            steps = float(np.mean([known[name][2]["clip"].step for name in names]))
        for name in names:
            run, config, found = known[name]
            if steps is not None:
                found = found | {"few": few_stop(run.train_trace(), steps)}
            metrics = run.metrics_trace()
            for variant in (each for each in COMPARED if each in found):
                stop = found[variant]
                measured = run.nearest_checkpoint(stop.step)
                here = metrics[metrics["step"] == measured].set_index("metric")["value"]
                rows.append(
                    {
                        "method": method,
                        "concept": config.concept.rstrip("/").rpartition("/")[2],
                        "seed": config.seed,
                        "variant": variant,
                        "step": stop.step,
                        "fired": stop.fired,
                        "minutes": stop.seconds / 60,
                        "measured_step": measured,
                    }
                    | {metric: here.get(metric, math.nan) for metric in METRICS}
                )
    return pd.DataFrame(rows)


def _stops(runs: Sequence[Run]) -> dict[str, tuple[Run, RunConfig, dict[str, Stop]]]:
    """The finished runs by name, with settings and where criteria end them; see `raw_numbers`.

    Of many runs the traces would not fit into memory: one at a time is read.
    """
    if not runs:
        raise UserError("no runs given; name run directories, or folders that hold some")
    found, missing = {}, []
    for run in runs:
        train = run.train_trace()
        if has_l_det(train):
            config = run.config
            found[str(run.directory)] = run, config, stops(train, config)
        else:
            missing.append(
                f"'{run.directory}' has no L_det recorded yet; "
                f"go on with noiseprobe train --out {run.directory} --resume"
            )
    if not found:
        more = f" (and {len(missing) - 1} more like it)" if len(missing) > 1 else ""
        raise UserError(missing[0] + more)
    for message in missing:
        warnings.warn(f"left out: {message}", UnfinishedRunWarning, stacklevel=3)
    return found


def table(raw: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """One row per method and criterion, of the rows that `raw_numbers` gave.

    Columns: method, variant, runs, then for each of the metrics, `step`, `minutes` and `speedup`
    its mean over concepts with `_low` and `_high`, the 95% percentile bootstrap interval. Seeds are
    averaged within a concept first. `speedup` is the baseline's total time over the criterion's, on
    the same concepts.
    """
    rows = []
    for method in [name for name in METHODS if name in set(raw["method"])]:
        of_method = raw[raw["method"] == method]
        baseline = _by_concept(of_method, "baseline")["minutes"]
        for variant in [name for name in COMPARED if name in set(of_method["variant"])]:
            values = _by_concept(of_method, variant)
            row: dict[str, object] = {"method": method, "variant": variant}
            row["runs"] = int((of_method["variant"] == variant).sum())
            for column in (*METRICS, "step", "minutes"):
                row |= _named(column, values[[column]].to_numpy(), np.mean, resamples, seed)
            times = np.stack([baseline.loc[values.index], values["minutes"]], axis=1)
            row |= _named("speedup", times, ratio_of_sums, resamples, seed)
            rows.append(row)
    return pd.DataFrame(rows)


def _by_concept(raw: pd.DataFrame, variant: str) -> pd.DataFrame:
    chosen = raw[raw["variant"] == variant]
    return chosen.groupby("concept")[[*METRICS, "step", "minutes"]].mean()


def _named(
    name: str, values: NDArray[np.float64], statistic: Statistic, resamples: int, seed: int
) -> dict[str, float]:
    """The statistic of (concepts, k) values, and its interval over resampled concepts."""
    low, high = bootstrap_interval(values, statistic, resamples, seed)
    return {name: float(statistic(*values.T)), f"{name}_low": low, f"{name}_high": high}
