"""Where criteria on losses against earlier weights stop a run, and DVAR on an L_det."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.paired.curves import Recorded
from experiments.paired.record import LAG, LAST, OVER, choosing
from noiseprobe.run.defaults import BUNDLED_MODEL, defaults_of
from noiseprobe.stopping import CRITERIA, build, completed, outcome

NAMES = ("gain-interval", "recent-gain", "dvar")
ALLOWED = 0.1  # of the whole gain may be forgone on average on the concepts for choosing

Params = tuple[float, ...]


def stop(run: Recorded, name: str, params: Mapping[str, float]) -> dict[str, float]:
    """The step at which a criterion ends the run, and the share of the whole gain it forgoes."""
    values, steps = shown_to(name, run)
    found = outcome(build(name, params), values).stop_index
    step = LAST if found is None else int(steps[found])
    return {
        "step": step,
        "forgone": float(1 - run.gain_at(step) / run.whole),
        "fires": found is not None,
    }


def shown_to(name: str, run: Recorded) -> tuple[Any, Any]:
    """What a criterion looks at, and after which steps it is known."""
    if name == "dvar":
        return run.losses["l_det"].mean(axis=1), np.arange(LAST + 1)
    if name == "recent-gain":
        return stretches(run), np.arange(LAG, LAST + 1, LAG)
    return run.paired.mean(axis=1), np.arange(1, LAST + 1)


def stretches(run: Recorded) -> NDArray[np.float64]:
    """The differences (stretches, n) of every second batch of the second half of each."""
    earlier = dict(zip(run.steps["lagging"].tolist(), run.losses["lagging"], strict=True))
    earlier |= {step: run.losses["start"][step] for step in range(LAG)}
    return np.array(
        [
            np.concatenate(
                [
                    run.losses["train"][step] - earlier[step]
                    for step in range(end - OVER, end)
                    if step % 2
                ]
            )
            for end in range(LAG, LAST + 1, LAG)
        ]
    )


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
