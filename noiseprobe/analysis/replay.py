"""What a criterion would have done: replayed over recorded losses, DVAR and any other."""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.stopping import (
    DVAR,
    NEVER,
    NonFiniteLossWarning,
    as_losses,
    build,
    completed,
    criterion_named,
    dvar_grid,
    dvar_replayed,
    outcome,
)

_WARNED_OF: WeakValueDictionary[int, Series] = WeakValueDictionary()
"""The series whose gaps were told of, by id; arrays cannot be hashed."""


@dataclass(frozen=True)
class CriterionReplay:
    """Where a criterion fires in one recorded trace; the fields are keys of the JSON document.

    Attributes:
        trace: the name of the series.
        tag: the name of what was recorded in it, such as `l_det`.
        criterion: the criterion's name in `noiseprobe.stopping.CRITERIA`.
        params: all its parameters.
        points: how many points were recorded, non-finite ones included.
        every: for how many steps each stands, so that parameters count steps; 1 where each counts.
        stop_index: 0-based index of the point at which it fires; None if it never does.
        stop_step: the step of that point; None if it never fires.
        kept_step: the step whose weights it would keep: of the best point up to the stop, if it
            keeps a best, or else of the stop; without a stop, that of the whole trace.
        saved_fraction: share of the recorded steps that stopping would have saved,
            (last step − stop step) / (last step − first step); 0 if it never fires.
        could_fire: False where there are too few losses for it, or no step is late enough.
        best_step: the step of the best value, the first of equal ones; None where none is finite.
        best: that value: the lowest, or of a similarity the highest.
        loss_at_stop: the value at `stop_step`; None if it never fires.
        loss_at_keep: the value at `kept_step`; None where it is not finite.
    """

    trace: str
    tag: str
    criterion: str
    params: dict[str, float]
    points: int
    every: int
    stop_index: int | None
    stop_step: int | None
    kept_step: int
    saved_fraction: float
    could_fire: bool
    best_step: int | None
    best: float | None
    loss_at_stop: float | None
    loss_at_keep: float | None


@dataclass(frozen=True)
class Replay:
    """Where DVAR fires in one recorded trace; the fields are the keys of the JSON document.

    Attributes:
        trace: the name of the series.
        points: how many points were recorded, non-finite ones included.
        window: the window of DVAR, in points, or in steps where a run has a point at every few of
            them; below 1, a share of those so far.
        threshold: the ratio below which DVAR fires.
        stop_index: 0-based index of the point at which it fires; None if it never does.
        stop_step: the step of that point; None if it never fires.
        ratio: the ratio at the stop, or else at the last finite point; None where undefined.
        saved_fraction: share of the recorded steps that stopping would have saved,
            (last step − stop step) / (last step − first step); 0 if it never fires.
    """

    trace: str
    points: int
    window: float
    threshold: float
    stop_index: int | None
    stop_step: int | None
    ratio: float | None
    saved_fraction: float


def replay(series: Series, window: float, threshold: float) -> Replay:
    """Replay DVAR over `series`; a trace shorter than `window` never fires.

    Raises:
        UserError: `window` or `threshold` is outside its range.

    Warns:
        NonFiniteLossWarning: the series holds NaN or infinite values; they are left out.

    Examples:
        >>> losses = np.array([0.9, 0.5, 0.3, 0.25, 0.25, 0.25])
        >>> series = Series("log.csv", np.arange(0, 60, 10), losses, "loss")
        >>> found = replay(series, window=3, threshold=0.1)
        >>> found.stop_index, found.stop_step, found.saved_fraction
        (4, 40, 0.2)
    """
    warn_of_skipped(series)
    stop, ratios = dvar_replayed(series.values, window, threshold, series.every)
    finite = np.flatnonzero(np.isfinite(series.values))
    at = stop if stop is not None else (finite[-1] if len(finite) else None)
    ratio = math.nan if at is None else float(ratios[at])
    return Replay(
        trace=series.name,
        points=len(series.values),
        window=DVAR(window).window,
        threshold=float(threshold),
        stop_index=stop,
        stop_step=None if stop is None else int(series.steps[stop]),
        ratio=None if math.isnan(ratio) else ratio,
        saved_fraction=0.0 if stop is None else _saved_fraction(series, stop),
    )


def replay_criterion(
    series: Series, criterion: str, params: Mapping[str, float] | None = None
) -> CriterionReplay:
    """Replay the criterion of that name over `series`, with its defaults where `params` is silent.

    Raises:
        UserError: there is no such criterion or parameter, or a value is outside its range.

    Warns:
        NonFiniteLossWarning: the series holds NaN or infinite values; they are no evidence.

    Examples:
        >>> losses = np.array([0.9, 0.5, 0.3, 0.31, 0.32, 0.33])
        >>> series = Series("log.csv", np.arange(0, 60, 10), losses, "loss")
        >>> found = replay_criterion(series, "patience", {"patience": 2})
        >>> found.stop_step, found.kept_step, found.saved_fraction
        (40, 20, 0.2)
    """
    chosen = completed(criterion, params)
    new = build(criterion, chosen, series.every)
    found = outcome(new, seen_by(criterion, series), series.steps)
    warn_of_skipped(series)
    stop, best = found.stop_index, best_index(series)
    return CriterionReplay(
        trace=series.name,
        tag=series.column,
        criterion=criterion,
        params=chosen,
        points=len(series.values),
        every=series.every,
        stop_index=stop,
        stop_step=None if stop is None else int(series.steps[stop]),
        kept_step=int(series.steps[found.kept_index]),
        saved_fraction=0.0 if stop is None else _saved_fraction(series, stop),
        could_fire=found.could_fire,
        best_step=None if best is None else int(series.steps[best]),
        best=_value(series, best),
        loss_at_stop=_value(series, stop),
        loss_at_keep=_value(series, found.kept_index),
    )


def seen_by(criterion: str, series: Series) -> NDArray[np.float64]:
    """What a criterion looks at in a series, lower being better: (n,), or (n, B) of samples."""
    samples = series.samples if criterion_named(criterion).per_sample else None
    return as_losses(series.column, series.values if samples is None else samples)


def check_samples(traces: Sequence[Series], criteria: Sequence[str]) -> None:
    """Raise `UserError` if a criterion looks at the losses of samples, and a trace has no such."""
    for name, series in itertools.product(criteria, traces):
        if not criterion_named(name).per_sample:
            continue
        recent = name == "recent-gain"
        if series.samples is None:
            has = "recent with --track recent" if recent else "them of l_det and l_val"
            raise UserError(
                f"--criterion {name}: it needs the losses of each sample, and {series.name} has "
                f"the mean alone of {series.column}; runs have {has}, for --tag"
            )
        if recent != (series.column == "recent"):
            looks = "recent" if recent else "l_det, l_val or another fixed batch"
            raise UserError(
                f"--criterion {name}: it looks at {looks}, and {series.name} has {series.column}; "
                "choose with --tag"
            )


def best_index(series: Series) -> int | None:
    """Where the series is best, the first of equal values; None where none is finite."""
    losses = as_losses(series.column, series.values)
    finite = np.isfinite(losses)
    return int(np.argmin(np.where(finite, losses, np.inf))) if finite.any() else None


def _value(series: Series, index: int | None) -> float | None:
    value = math.nan if index is None else float(series.values[index])
    return value if math.isfinite(value) else None


def replayed(series: Series, criterion: str, params: Mapping[str, float]) -> dict[str, Any]:
    """What `dvar-replay --json` prints: the fields of `CriterionReplay`; DVAR has `Replay`'s too.

    Raises:
        UserError: there is no such criterion or parameter, or a value is outside its range.
    """
    found = asdict(replay_criterion(series, criterion, params))
    if criterion != "dvar":
        return found
    return asdict(replay(series, found["params"]["window"], found["params"]["threshold"])) | found


def grid_of(series: Series) -> dict[str, Any]:
    """What `dvar-replay --grid --json` prints: the stop steps over a default grid."""
    windows, thresholds = default_grid(len(series.values) * series.every)
    stops = replay_grid(series, windows, thresholds)
    return {
        "trace": series.name,
        "tag": series.column,
        "thresholds": thresholds,
        "windows": list(windows),
        "stop_steps": stops.astype(object).where(stops.notna(), None).to_numpy().tolist(),
    }


def replay_grid(
    series: Series, windows: Sequence[float], thresholds: Sequence[float]
) -> pd.DataFrame:
    """The step at which DVAR fires for every window (rows) and threshold (columns).

    Returns:
        A table of Int64, <NA> where DVAR never fires.

    Raises:
        UserError: a window or a threshold is outside its range.

    Warns:
        NonFiniteLossWarning: the series holds NaN or infinite values; they are left out.
    """
    return _table(
        *_stops(series, windows, thresholds), pd.Index(windows, name="window"), thresholds
    )


def replay_grids(
    traces: Sequence[Series], windows: Sequence[float], thresholds: Sequence[float]
) -> pd.DataFrame:
    """The grids of many traces as one: as `replay_grid`, with the name of the series before it."""
    found = [_stops(series, windows, thresholds) for series in traces]
    steps, never = (np.concatenate(each) for each in zip(*found, strict=True))
    names = np.repeat([series.name for series in traces], len(windows))
    rows = pd.MultiIndex.from_arrays(
        [names, np.tile(np.asarray(windows), len(traces))], names=["trace", "window"]
    )
    return _table(steps, never, rows, thresholds)


def _stops(
    series: Series, windows: Sequence[float], thresholds: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The step of each stop, and where there is none, (windows, thresholds) both."""
    warn_of_skipped(series)
    stops = dvar_grid(series.values, windows, thresholds, series.every)
    # Where it never fires, the index is -1, which picks what is appended.
    return np.append(series.steps, 0)[stops], stops == NEVER


def _table(
    steps: NDArray[np.int64], never: NDArray[np.bool_], rows: pd.Index, thresholds: Sequence[float]
) -> pd.DataFrame:
    columns = {
        place: pd.arrays.IntegerArray(steps[:, place].copy(), never[:, place].copy())
        for place in range(len(thresholds))
    }
    table = pd.DataFrame(columns, index=rows)
    return table.set_axis(pd.Index(thresholds, name="threshold"), axis="columns")


def default_grid(points: int) -> tuple[list[float], list[float]]:
    """Windows and thresholds worth trying on a trace of `points` points.

    Windows are 5, 10, 20, 50, 100, … up to half of the trace, as a longer one holds most of what it
    is compared with, and then shares of what was seen so far. The thresholds run from 0.01 to 0.5.

    Examples:
        >>> default_grid(300)[0]
        [5, 10, 20, 50, 100, 0.2, 0.3, 0.5, 0.7]
    """
    counts = [digit * 10**power for power in range(len(str(points))) for digit in (1, 2, 5)]
    fitting = [window for window in counts if 5 <= window <= points // 2]
    shares = [window for window in DVAR.grid["window"] if window < 1]
    return [*(fitting or [2]), *shares], list(DVAR.grid["threshold"])


def _saved_fraction(series: Series, stop: int) -> float:
    first, last = int(series.steps[0]), int(series.steps[-1])
    return (last - int(series.steps[stop])) / (last - first) if last > first else 0.0


def warn_of_skipped(series: Series) -> None:
    """Warn of what is no number, once per series however many criteria are replayed over it."""
    skipped = int(np.count_nonzero(~np.isfinite(series.values)))
    if skipped and _WARNED_OF.get(id(series)) is not series:
        warnings.warn(
            f"{series.name}: left out {skipped} of {len(series.values)} values of "
            f"{series.column}, which are NaN, infinite or empty",
            NonFiniteLossWarning,
            stacklevel=3,
        )
        _WARNED_OF[id(series)] = series
