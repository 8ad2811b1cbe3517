"""What DVAR would have done: a criterion replayed over recorded losses."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from noiseprobe.sources import Series
from noiseprobe.stopping import NonFiniteLossWarning, dvar_ratios, dvar_stops

_THRESHOLDS = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5]


@dataclass(frozen=True)
class Replay:
    """Where DVAR fires in one recorded trace; the fields are the keys of the JSON document.

    Attributes:
        trace: the name of the series.
        points: how many points were recorded, non-finite ones included.
        window: the window of DVAR, in points.
        threshold: the ratio below which DVAR fires.
        stop_index: 0-based index of the point at which it fires; None if it never does.
        stop_step: the step of that point; None if it never fires.
        ratio: the ratio at the stop, or else at the last finite point; None where undefined.
        saved_fraction: share of the recorded steps that stopping would have saved,
            (last step − stop step) / (last step − first step); 0 if it never fires.
    """

    trace: str
    points: int
    window: int
    threshold: float
    stop_index: int | None
    stop_step: int | None
    ratio: float | None
    saved_fraction: float


def replay(series: Series, window: int, threshold: float) -> Replay:
    """Replay DVAR over `series`; a trace shorter than `window` never fires.

    Raises:
        UserError: `window` is below 2, or `threshold` is not finite and above 0.

    Warns:
        NonFiniteLossWarning: the series holds NaN or infinite values; they are left out.

    Example:
        >>> losses = np.array([0.9, 0.5, 0.3, 0.25, 0.25, 0.25])
        >>> series = Series("log.csv", np.arange(0, 60, 10), losses, "loss")
        >>> found = replay(series, window=3, threshold=0.1)
        >>> found.stop_index, found.stop_step, found.saved_fraction
        (4, 40, 0.2)
    """
    _warn_of_skipped(series)
    (stop,) = dvar_stops(series.values, window, [threshold])
    ratios = dvar_ratios(series.values, window)
    finite = np.flatnonzero(np.isfinite(series.values))
    at = stop if stop is not None else (finite[-1] if len(finite) else None)
    ratio = math.nan if at is None else float(ratios[at])
    return Replay(
        trace=series.name,
        points=len(series.values),
        window=int(window),
        threshold=float(threshold),
        stop_index=stop,
        stop_step=None if stop is None else int(series.steps[stop]),
        ratio=None if math.isnan(ratio) else ratio,
        saved_fraction=0.0 if stop is None else _saved_fraction(series, stop),
    )


def replay_grid(
    series: Series, windows: Sequence[int], thresholds: Sequence[float]
) -> pd.DataFrame:
    """The step at which DVAR fires for every window (rows) and threshold (columns).

    Returns:
        A table of Int64, <NA> where DVAR never fires.

    Raises:
        UserError: a window is below 2, or a threshold is not finite and above 0.

    Warns:
        NonFiniteLossWarning: the series holds NaN or infinite values; they are left out.
    """
    _warn_of_skipped(series)
    rows = [
        [
            pd.NA if stop is None else int(series.steps[stop])
            for stop in dvar_stops(series.values, window, thresholds)
        ]
        for window in windows
    ]
    return pd.DataFrame(
        rows,
        index=pd.Index(windows, name="window"),
        columns=pd.Index(thresholds, name="threshold"),
        dtype="Int64",
    )


def default_grid(points: int) -> tuple[list[int], list[float]]:
    """Windows and thresholds worth trying on a trace of `points` points.

    Windows are 5, 10, 20, 50, 100, … up to half of the trace: a longer one holds most of what it is
    compared with. The thresholds run from 0.01 to 0.5.

    Example:
        >>> default_grid(300)[0]
        [5, 10, 20, 50, 100]
    """
    series = [digit * 10**power for power in range(len(str(points))) for digit in (1, 2, 5)]
    windows = [window for window in series if 5 <= window <= points // 2]
    return windows or [2], list(_THRESHOLDS)


def _saved_fraction(series: Series, stop: int) -> float:
    first, last = int(series.steps[0]), int(series.steps[-1])
    return (last - int(series.steps[stop])) / (last - first) if last > first else 0.0


def _warn_of_skipped(series: Series) -> None:
    skipped = int(np.count_nonzero(~np.isfinite(series.values)))
    if skipped:
        warnings.warn(
            f"{series.name}: left out {skipped} of {len(series.values)} values of "
            f"{series.column}, which are NaN, infinite or empty",
            NonFiniteLossWarning,
            stacklevel=3,
        )
