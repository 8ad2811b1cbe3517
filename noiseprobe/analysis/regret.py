"""How far from the best a criterion stops, by a judge that was recorded beside the losses.

A trace that goes on to its last step answers for every criterion at once: each is replayed over its
losses, and a judge, a validation loss or a similarity to the photographs, says what the weights at
the stop were worth. With best and first over the whole record of the judge,

    regret = (best − judge at the stop) / (best − first):

0 at the best, 1 where nothing was gained, more where it is worse than the start; whether the judge
is to be high or low does not change the formula.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.bootstrap import RESAMPLES, bootstrap_interval
from noiseprobe.analysis.replay import seen_by, warn_of_skipped
from noiseprobe.analysis.sources import Judged, params_on
from noiseprobe.core.errors import UserError
from noiseprobe.stopping import build, outcome

MEASURES = ("regret", "kept_regret", "steps_spent")
"""The columns of raw numbers that `summary` and `paired` average over traces."""


@dataclass(frozen=True)
class _Verdict:
    """What a judge says of each step: finite values alone, and the landmarks among them."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    first: float
    best: float
    best_step: int

    @classmethod
    def of(cls, judged: Judged) -> "_Verdict":
        finite = np.isfinite(judged.judge.values)
        steps, values = judged.judge.steps[finite], judged.judge.values[finite]
        if not len(values):
            return cls(steps, values, math.nan, math.nan, 0)
        place = int(np.argmax(values) if judged.maximize else np.argmin(values))
        return cls(steps, values, float(values[0]), float(values[place]), int(steps[place]))

    def at(self, step: int) -> float:
        """The last value at or before `step`; before the first, the first."""
        if not len(self.values):
            return math.nan
        known = int(np.searchsorted(self.steps, step, side="right"))
        return float(self.values[max(known - 1, 0)])

    def regret(self, step: int, min_gain: float) -> float:
        """The normalised regret of stopping at `step`; NaN if the best gains `min_gain` or less."""
        gain = self.best - self.first
        return (self.best - self.at(step)) / gain if abs(gain) > min_gain else math.nan


def regret(
    traces: Sequence[Judged],
    criteria: Mapping[str, Mapping[str, float]] | Sequence[str],
    *,
    min_gain: float = 0.0,
) -> pd.DataFrame:
    """One row per trace and criterion: where it stops, and what the judge says of that.

    A criterion that never fires is charged with the last step of the trace. The value at a step is
    the judge's last one at or before it, which is what was known then, or its first if there is
    none yet.

    Args:
        traces: losses with their judges, each under a name of its own.
        criteria: names of criteria, with parameters or, as a sequence, at their defaults. DVAR's
            are those of the run directory that the losses came from; of other losses, what a
            criterion has as `scale_free` stands before its defaults.
        min_gain: a trace whose judge gains no more than this has no regret. Beside a gain within
            the judge's own noise, any step looks far from the best.

    Returns:
        Columns: trace, origin (see `Judged`), criterion, params (as JSON), fired, could_fire (False
        where it has too few losses for it, or no step late enough), stop_step, kept_step (that of
        the best loss, for a criterion that keeps a best; else the stop), best_step (of the judge),
        judge (at the stop),
        judge_first, judge_best, regret (of the stop), kept_regret (of the kept step), and
        steps_spent (steps up to the stop over those up to the judge's best, both counted from the
        first that was recorded). The last three are NaN where the judge never improved on
        its first value by more than `min_gain`: such a trace has no regret.

    Raises:
        UserError: there is no trace, two of the same name, or one without losses; or a criterion or
            parameter is unknown or outside its range; or `min_gain` is.
    """
    named: Mapping[str, Mapping[str, float]] = (
        criteria if isinstance(criteria, Mapping) else {name: {} for name in criteria}
    )
    check(traces, min_gain)
    rows = [
        row_of(judged, name, params_on(judged, name, params), min_gain)
        for judged in traces
        for name, params in named.items()
    ]
    return pd.DataFrame(rows)


def check(traces: Sequence[Judged], min_gain: float = 0.0) -> None:
    """Raise `UserError` unless there are traces, with losses, each under a name of its own.

    Warns of losses that are NaN or infinite, which every criterion leaves out.
    """
    if not 0 <= min_gain < math.inf:
        raise UserError(f"--min-gain {min_gain}: give a number of 0 or more, such as 0.02")
    if not traces:
        raise UserError("no traces to judge; name sources that hold losses and a judge")
    names = set()
    for judged in traces:
        if judged.name in names:
            raise UserError(f"{judged.name}: given twice; give each source once")
        if not len(judged.trace.values):
            raise UserError(f"{judged.name}: no {judged.trace.column} was recorded; leave it out")
        names.add(judged.name)
        warn_of_skipped(judged.trace)


def row_of(
    judged: Judged, name: str, params: Mapping[str, float], min_gain: float = 0.0
) -> dict[str, object]:
    """The row of `regret` for one trace and the criterion `name` with all its parameters."""
    trace, verdict = judged.trace, _Verdict.of(judged)
    found = outcome(build(name, params, trace.every), seen_by(name, trace), trace.steps)
    stop = len(trace.steps) - 1 if found.stop_index is None else found.stop_index
    stop_step, kept_step = int(trace.steps[stop]), int(trace.steps[found.kept_index])
    start = min([int(trace.steps[0]), *verdict.steps[:1].tolist()])
    needed = verdict.best_step - start
    stopped_regret = verdict.regret(stop_step, min_gain)
    defined = needed > 0 and not math.isnan(stopped_regret)
    return {
        "trace": judged.name,
        "origin": judged.origin,
        "criterion": name,
        "params": json.dumps(dict(params)),
        "fired": found.stop_index is not None,
        "could_fire": found.could_fire,
        "stop_step": stop_step,
        "kept_step": kept_step,
        "best_step": verdict.best_step,
        "judge": verdict.at(stop_step),
        "judge_first": verdict.first,
        "judge_best": verdict.best,
        "regret": stopped_regret,
        "kept_regret": verdict.regret(kept_step, min_gain),
        "steps_spent": (stop_step - start) / needed if defined else math.nan,
    }


def summary(raw: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """One row per criterion, of what `regret` or `noiseprobe.analysis.tuning.tune` gave.

    Columns: criterion, traces (with a regret), left_out (without one: the judge never improved),
    origins (of how many origins these traces are), could_fire (on how many of the traces it had
    losses and steps enough), regret_median (which an origin that hardly improved does not rule, as
    it can the mean), then for each of `MEASURES` and for `never`, the share of those traces on
    which it does not fire, the mean with `_low` and `_high`, its 95% interval by percentile
    bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, §13.3).

    Traces of one origin are averaged first, and origins are averaged and resampled: a copy of a
    trace changes no number but that of traces. The same `seed` draws the same origins for all
    criteria.
    """
    raw, rows = _with_origins(raw), []
    for name, of_one in raw.groupby("criterion", sort=False):
        known = of_one[of_one["regret"].notna()]
        row: dict[str, object] = {"criterion": name, "traces": len(known)}
        row["left_out"] = len(of_one) - len(known)
        never = 1.0 - known["fired"].astype("float64")
        means = _by_origin(known.assign(never=never), [*MEASURES, "never"])
        row["origins"] = len(means)
        row["could_fire"] = int(known["could_fire"].sum())
        row["regret_median"] = float(means["regret"].median())
        for measure in means:
            row |= _with_interval(str(measure), means[measure].to_numpy(), resamples, seed)
        rows.append(row)
    return pd.DataFrame(rows)


def paired(
    raw: pd.DataFrame, against: str = "dvar", *, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """One row per other criterion: its measures less those of `against` on the same trace.

    Columns: criterion, against, traces (on which both have a regret), origins (of these), for each
    of `MEASURES` the mean difference with `_low` and `_high` as in `summary`, below 0 where the
    criterion does better than `against`; and `better` and `worse`, the shares on which its regret
    is lower and higher.

    Raises:
        UserError: `raw` has no criterion `against`.
    """
    names = list(dict.fromkeys(raw["criterion"]))
    if against not in names:
        raise UserError(f"--against {against}: choose one of {', '.join(names)}")
    raw = _with_origins(raw)
    origins = raw.drop_duplicates("trace").set_index("trace")["origin"]
    wide = raw.pivot(index="trace", columns="criterion", values=list(MEASURES))
    rows = []
    for name in [name for name in names if name != against]:
        differences = pd.DataFrame(
            {measure: wide[measure][name] - wide[measure][against] for measure in MEASURES}
        )
        known = differences[differences["regret"].notna()]
        row: dict[str, object] = {"criterion": name, "against": against, "traces": len(known)}
        ways = {"better": known["regret"] < 0, "worse": known["regret"] > 0}
        placed = known.assign(origin=origins, **ways)
        means = _by_origin(placed.sort_values("origin", kind="stable"), [*MEASURES, *ways])
        row["origins"] = len(means)
        for measure in MEASURES:
            row |= _with_interval(measure, means[measure].to_numpy(), resamples, seed)
        row |= {way: float(means[way].mean()) for way in ways}
        rows.append(row)
    return pd.DataFrame(rows)


def _with_origins(raw: pd.DataFrame) -> pd.DataFrame:
    """The raw numbers; each trace is its own origin where no column says otherwise."""
    return raw if "origin" in raw else raw.assign(origin=raw["trace"])


def _by_origin(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The means of the columns over the traces of each origin, in their order."""
    return rows.groupby("origin", sort=False)[columns].mean()


def _with_interval(
    name: str, values: NDArray[np.float64], resamples: int, seed: int
) -> dict[str, float]:
    """The mean of (origins,) values with its 95% interval; NaN where there are too few origins."""
    low, high = bootstrap_interval(values, resamples=resamples, seed=seed)
    mean = float(values.mean()) if len(values) else math.nan
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
