"""Which share of what was seen so far a window should be where nothing is known of the log.

A thinned trace imitates a log that was written seldom: every 5th value of L_det, every 10th, every
25th. The share of each criterion is chosen on half of the concepts and confirmed on the other half,
and on the fresh runs. Its other parameters stay at their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from noiseprobe.analysis.regret import Judged, paired, regret, summary
from noiseprobe.cli.tables import markdown, with_interval
from noiseprobe.stopping import CRITERIA
from noiseprobe.stopping.window import shown_window

EVERY = (1, 5, 10, 25)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
FIRES = 0.5
"""A window on which a criterion fires less often than this at any density is no default."""
WINDOWED = tuple(name for name, criterion in CRITERIA.items() if criterion.scale_free)
CHOSEN_BY = 0
"""Seed of the lot by which concepts are in one half or the other."""


@dataclass(frozen=True)
class Tried:
    """What a criterion does with one share: means over concepts, for each of `EVERY`.

    `fires` is the share of runs on which it fires, `regret` that of its stop.
    """

    fires: tuple[float, ...]
    regret: tuple[float, ...]

    @property
    def qualifies(self) -> bool:
        """Whether it fires often enough at each density."""
        return min(self.fires) >= FIRES

    @property
    def mean(self) -> float:
        """Its regret over all densities, of which each counts alike."""
        return float(np.mean(self.regret))


def halves(by_method: Mapping[str, Sequence[Judged]]) -> tuple[list[Judged], list[Judged]]:
    """The runs of half of the concepts, and those of the others; a concept is their origin."""
    runs = of_concepts(by_method)
    concepts = np.array(sorted({run.origin for run in runs}))
    order = np.random.default_rng(CHOSEN_BY).permutation(len(concepts))
    first = set(concepts[order[: len(concepts) // 2]].tolist())
    return [run for run in runs if run.origin in first], [
        run for run in runs if run.origin not in first
    ]


def of_concepts(by_method: Mapping[str, Sequence[Judged]]) -> list[Judged]:
    """All runs, those of one concept with one origin: intervals resample concepts."""
    return [
        replace(run, origin=run.name.rpartition("/")[2])
        for runs in by_method.values()
        for run in runs
    ]


def thinned(run: Judged, every: int) -> Judged:
    """The run as if its losses had been written at every `every`-th step alone."""
    kept = run.trace.steps % every == 0
    trace = replace(run.trace, steps=run.trace.steps[kept], values=run.trace.values[kept])
    return replace(run, trace=trace)


def tried(runs: Sequence[Judged], name: str, min_gain: float) -> dict[float, Tried]:
    """What the criterion does with each of `SHARES`."""
    found = {}
    for share in SHARES:
        means = []
        for every in EVERY:
            sparse = [thinned(run, every) for run in runs]
            raw = regret(sparse, {name: {"window": share}}, min_gain=min_gain)
            known = raw[raw["regret"].notna()]
            means.append(known.groupby("origin")[["fired", "regret"]].mean().mean())
        found[share] = Tried(
            *(tuple(float(mean[key]) for mean in means) for key in ("fired", "regret"))
        )
    return found


def best(found: Mapping[float, Tried]) -> float:
    """The share that qualifies with the least regret; where none does, that which fires most."""
    good = {share: each for share, each in found.items() if each.qualifies}
    if good:
        return min(good, key=lambda share: good[share].mean)
    return max(found, key=lambda share: min(found[share].fires))


def section(
    by_method: Mapping[str, Sequence[Judged]],
    fresh: Mapping[str, Sequence[Judged]],
    min_gain: float,
) -> list[str]:
    """The findings as lines of Markdown."""
    choosing, confirming = halves(by_method)
    lines = [
        "## Windows for any log",
        "",
        "A log of no run of ours may hold a loss at every step or 50 of them in all. Its window is a "
        "share of what was seen so far (`scale_free` in `noiseprobe criteria --json`), chosen here: "
        f"the runs of half of the {len({run.origin for run in [*choosing, *confirming]})} concepts "
        f"of the comparison, with every value of L_det and with every {EVERY[1]}th, {EVERY[2]}th and "
        f"{EVERY[3]}th alone. The rule, fixed before the other half was looked at: all other "
        "parameters stay as they are; of the shares with which a criterion fires on "
        f"{FIRES:.0%} or more of the runs at each density, the one with the least mean regret. In "
        "each cell: how often it fires, and its regret. Intervals are over concepts.",
    ]
    heads = ["window", *(f"every {every}" if every > 1 else "all values" for every in EVERY)]
    chosen = {}
    for name in WINDOWED:
        found = tried(choosing, name, min_gain)
        chosen[name] = best(found)
        cells = [[*heads, "mean regret", ""]]
        for share, each in found.items():
            pairs = zip(each.fires, each.regret, strict=True)
            row = [f"{fires:.0%}, {loss:.2f}" for fires, loss in pairs]
            note = (
                "chosen" if share == chosen[name] else "" if each.qualifies else "fires too seldom"
            )
            cells.append([shown_window(share), *row, f"{each.mean:.2f}", note])
        lines += ["", f"### {name}", "", markdown(cells, left=(0, 6))]
    lines += [
        "",
        "### On other concepts",
        "",
        "The chosen shares, and beside them `never`, which goes on to the last step, and each "
        "criterion's own default, a number of values. Left: the other half of the concepts; right: "
        "the fresh runs.",
        "",
        confirmed(chosen, confirming, of_concepts(fresh), min_gain),
    ]
    return lines


def confirmed(
    chosen: Mapping[str, float],
    confirming: Sequence[Judged],
    fresh: Sequence[Judged],
    min_gain: float,
) -> str:
    """A table of the chosen shares and the default windows, by criterion and density."""
    heads = ["criterion", "window", "values", "fires", "regret", "less never's"]
    cells = [[*heads, "fires (fresh)", "regret (fresh)", "less never's (fresh)"]]
    for name, share in chosen.items():
        own = CRITERIA[name]().window  # type: ignore[attr-defined]
        for window in (share, own):
            for every in EVERY:
                row = [name, shown_window(window), f"every {every}" if every > 1 else "all"]
                for runs in (confirming, fresh):
                    sparse = [thinned(run, every) for run in runs]
                    raw = regret(sparse, {name: {"window": window}, "never": {}}, min_gain=min_gain)
                    row += _shown(raw, name)
                cells.append(row)
    return markdown(cells, left=(0, 1, 2))


def _shown(raw: pd.DataFrame, name: str) -> list[str]:
    """How often the criterion fires, its regret, and that less the regret of going on."""
    own = summary(raw).set_index("criterion").loc[name]
    (less,) = paired(raw, "never").to_dict("records")
    form = "{} ({} to {})"
    return [
        f"{1 - own['never']:.0%}",
        with_interval(own, "regret", ".2f", form),
        with_interval(less, "regret", "+.2f", form),
    ]
