"""Where `GainInterval` on the paired loss and DVAR on an L_det of the same price stop a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.paired.curves import Recorded
from experiments.paired.record import LAST, choosing
from noiseprobe.run.defaults import BUNDLED_MODEL, defaults_of
from noiseprobe.stopping import CRITERIA, build, completed, outcome

NAMES = ("gain-interval", "dvar")
ALLOWED = 0.1  # of the whole gain may be forgone on average on the concepts for choosing

Params = tuple[float, ...]


def stop(run: Recorded, name: str, params: Mapping[str, float]) -> dict[str, float]:
    """The step at which a criterion ends the run, and the share of the whole gain it forgoes."""
    if name == "dvar":
        values, first = run.losses["l_det"].mean(axis=1), 0
    else:
        values, first = run.paired.mean(axis=1), 1  # known after the step of its batch
    found = outcome(build(name, params), values).stop_index
    step = LAST if found is None else min(found + first, LAST)
    return {
        "step": step,
        "forgone": float(1 - run.gain_at(step) / run.whole),
        "fires": found is not None,
    }


def grid(name: str) -> Iterator[dict[str, float]]:
    """Every combination of a criterion's grid."""
    values = CRITERIA[name].grid
    for chosen in itertools.product(*values.values()):
        yield completed(name, dict(zip(values, chosen, strict=True)))


def chosen(runs: Sequence[Recorded], name: str) -> dict[str, float]:
    """The parameters that stop earliest among those that forgo few; else those that forgo least."""
    tried = []
    for params in grid(name):
        stops = [stop(run, name, params) for run in runs]
        step, forgone = (float(np.mean([each[of] for each in stops])) for of in ("step", "forgone"))
        tried.append((forgone > ALLOWED, step if forgone <= ALLOWED else forgone, step, params))
    return min(tried, key=lambda each: each[:3])[3]


def usual(method: str, name: str) -> dict[str, float]:
    """The package's defaults."""
    own = defaults_of(BUNDLED_MODEL, method) if name == "dvar" else {}
    return completed(name, {key: own[key] for key in ("window", "threshold") if key in own})


def stops(runs: Mapping[tuple[str, str], Recorded]) -> list[dict[str, Any]]:
    """A row per run, criterion and way in which its parameters came about."""
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(method for method, _ in runs):
        own = {name: run for (of, name), run in runs.items() if of == method}
        known = [run for name, run in own.items() if name in choosing()]
        for criterion in NAMES:
            ways = {"default": usual(method, criterion)}
            if known:
                ways["chosen"] = chosen(known, criterion)
            for way, params in ways.items():
                shown = " ".join(f"{key}={value:g}" for key, value in params.items())
                for name, run in own.items():
                    part = "choosing" if name in choosing() else "testing"
                    row = {"method": method, "concept": name, "part": part}
                    row |= {"criterion": criterion, "way": way, "params": shown}
                    rows.append(row | stop(run, criterion, params))
    return rows
