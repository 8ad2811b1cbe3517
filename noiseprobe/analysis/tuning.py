"""Parameters of a criterion chosen on some traces and judged on others, never on the same.

What a criterion with chosen parameters is worth can only be seen on traces that had no part in the
choice (Stone, Cross-Validatory Choice and Assessment of Statistical Predictions, J. R. Stat. Soc. B
36, 1974). Traces of one origin (`noiseprobe.analysis.origins`) are on one side, and weigh as much
together as one of another.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.origins import SAME
from noiseprobe.analysis.regret import check, row_of
from noiseprobe.analysis.sources import Judged
from noiseprobe.core.errors import UserError
from noiseprobe.stopping import Grid, completed, criterion_named

LEAVE_ONE_OUT = "leave-one-out"


def combinations(name: str, grid: Grid | None = None) -> list[dict[str, float]]:
    """All parameters of the criterion `name` that `grid`, or else its own grid, spans, in order.

    Raises:
        UserError: there is no such criterion, or a parameter of `grid` is not one of its.

    Examples:
        >>> combinations("uprising", {"strips": (2, 4)})
        [{'strips': 2, 'length': 5}, {'strips': 4, 'length': 5}]
    """
    values = criterion_named(name).grid if grid is None else grid
    return [
        completed(name, dict(zip(values, chosen, strict=True)))
        for chosen in itertools.product(*values.values())
    ]


def tune(
    traces: Sequence[Judged],
    criteria: Sequence[str],
    how: str | float = LEAVE_ONE_OUT,
    *,
    grids: Mapping[str, Grid] | None = None,
    seed: int = 0,
    min_gain: float = 0.0,
) -> pd.DataFrame:
    """What `noiseprobe.analysis.regret.regret` returns, with parameters chosen on other traces.

    Of a criterion's grid, the parameters with the least mean regret over the origins for choosing
    count; among equals those that spend fewer steps, then the first. Traces without a regret have
    no say.

    Args:
        traces: losses with their judges, at least two.
        criteria: names of criteria.
        how: `leave-one-out`: parameters for each trace are chosen on all that are of another
            origin. Or a share between 0 and 1: they are chosen on this share of the origins, drawn
            by `seed`, and only the rest is reported.
        grids: for a criterion's name the values to try; by default the criterion's own `grid`.
        seed: draws the share.
        min_gain: as in `regret`.

    Raises:
        UserError: as `regret`; or `how` is neither, or leaves nothing to choose on or to report.
    """
    check(traces, min_gain)
    choosing = _others(_origins(traces), how, seed)
    chosen_by_name = {}
    for name in criteria:
        tried = _Tried.of(traces, name, (grids or {}).get(name), min_gain)
        for place, others in choosing.items():
            if tried.judged[place] and not tried.judged[others].any():
                raise UserError(
                    f"--tune {how}: {traces[place].name} alone has a regret, and nothing is left "
                    "to choose on; give more sources whose judge improves"
                )
        chosen_by_name[name] = {
            place: tried.rows[tried.best(others)][place] for place, others in choosing.items()
        }
    rows = [chosen_by_name[name][place] for place in choosing for name in criteria]
    return pd.DataFrame(rows)


def best_parameters(
    traces: Sequence[Judged],
    criteria: Sequence[str],
    *,
    grids: Mapping[str, Grid] | None = None,
    min_gain: float = 0.0,
) -> dict[str, dict[str, float]]:
    """By name of a criterion, the parameters that do best on `traces`: to be judged on others.

    Arguments, choice and errors are those of `tune`; what `noiseprobe.analysis.regret.regret` takes
    as its criteria is returned.
    """
    check(traces, min_gain)
    everything = np.arange(len(traces))
    found = {}
    for name in criteria:
        tried = _Tried.of(traces, name, (grids or {}).get(name), min_gain)
        found[name] = tried.params[tried.best(everything)]
    return found


@dataclass(frozen=True)
class _Tried:
    """What a criterion does on each trace, by its parameters: `rows[parameters][trace]`."""

    params: list[dict[str, float]]
    rows: list[list[dict[str, object]]]
    regrets: NDArray[np.float64]  # (parameters, traces)
    steps: NDArray[np.float64]
    origins: NDArray[np.int64]  # (traces,)

    @classmethod
    def of(
        cls, traces: Sequence[Judged], name: str, grid: Grid | None, min_gain: float
    ) -> "_Tried":
        params = combinations(name, grid)
        rows = [[row_of(judged, name, each, min_gain) for judged in traces] for each in params]
        regrets, steps = (
            np.array([[row[key] for row in of_one] for of_one in rows], dtype=np.float64)
            for key in ("regret", "steps_spent")
        )
        return cls(params, rows, regrets, steps, _origins(traces))

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which traces have a regret, (traces,)."""
        return np.asarray(np.isfinite(self.regrets).all(axis=0))

    def best(self, chosen: NDArray[np.int64]) -> int:
        """Which parameters have the least mean regret on these traces, then the fewest steps.

        Means are over origins, of which each counts alike. The first parameters, where none of the
        traces has a regret.
        """
        known = chosen[self.judged[chosen]]
        if not len(known):
            return 0
        alike = np.bincount(self.origins[known])[self.origins[known]]
        means = zip(
            *(
                np.average(of[:, known], axis=1, weights=1 / alike)
                for of in (self.regrets, self.steps)
            ),
            strict=True,
        )
        return min(enumerate(means), key=lambda each: each[1])[0]


def _origins(traces: Sequence[Judged]) -> NDArray[np.int64]:
    """The number of each trace's origin, (traces,), from 0 on in the order of the traces."""
    numbers = {name: place for place, name in enumerate(dict.fromkeys(e.origin for e in traces))}
    return np.array([numbers[judged.origin] for judged in traces])


def _others(
    origins: NDArray[np.int64], how: str | float, seed: int
) -> dict[int, NDArray[np.int64]]:
    """For each trace that is reported, the traces on which its parameters are chosen."""
    count = int(origins.max()) + 1
    if how == LEAVE_ONE_OUT:
        if len(origins) < 2:
            raise UserError("--tune leave-one-out: give two sources or more, to choose on others")
        if count < 2:
            raise UserError(
                f"--tune leave-one-out: all {len(origins)} traces are of one origin, {SAME}; give "
                "each training a folder of its own"
            )
        return {place: np.flatnonzero(origins != own) for place, own in enumerate(origins)}
    try:
        share = float(how)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise UserError(f"--tune {how}: give {LEAVE_ONE_OUT}, or a share of the traces such as 0.5")
    size = round(share * count)
    if not 0 < size < count:
        raise UserError(
            f"--tune {how}: {size} of {count} origins to choose on ({len(origins)} traces; those "
            f"of {SAME} are one); give more sources"
        )
    drawn = np.random.default_rng(seed).permutation(count)[:size]
    chosen = np.isin(origins, drawn)
    return {int(place): np.flatnonzero(chosen) for place in np.flatnonzero(~chosen)}
