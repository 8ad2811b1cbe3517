"""Which share of what was seen so far a window should be where nothing is known of the log.

A thinned trace imitates a log that was written seldom: every 5th value of L_det, every 10th, every
25th. The share of each criterion is chosen on half of the concepts and confirmed on the other half,
and on the fresh runs. Its other parameters stay at their defaults.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from noiseprobe.analysis.regret import Judged, paired, regret, summary
from noiseprobe.cli.tables import markdown, with_interval
from noiseprobe.stopping import CRITERIA, completed
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
    concepts = len({run.origin for run in [*choosing, *confirming]})
    densities = f"every {EVERY[1]}th, {EVERY[2]}th and {EVERY[3]}th"
    lines = [
        "## Windows for any log",
        "",
        "A log of no run of ours may hold a loss at every step or 50 of them in all. Its windows "
        "are shares of what was seen so far (`scale_free` in `noiseprobe criteria --json`), chosen "
        f"here: on the runs of half of the {concepts} concepts of the comparison, with every value "
        f"of L_det and with {densities} alone. The rule: all other parameters stay as they are; of "
        f"the shares with which a criterion fires on {FIRES:.0%} or more of the runs at each "
        "density, the one with the least mean regret. It was set with a look at this half and none "
        "at the other. In each cell: how often it fires, and its regret. Intervals are over "
        "concepts.",
    ]
    chosen = {}
    for name in WINDOWED:
        found = tried(choosing, name, min_gain)
        chosen[name] = best(found)
        lines += ["", f"### {name}", "", _grid(found, chosen[name])]
    rows = confirmed(chosen, {"other": confirming, "fresh": of_concepts(fresh)}, min_gain)
    return [
        *lines,
        "",
        "### On other concepts",
        "",
        "The chosen shares, and below them each criterion's own default, a number of values. Left: "
        "the other half of the concepts; right: the fresh runs.",
        "",
        _confirmed_table(rows),
        "",
        _verdict(rows),
    ]


def _grid(found: Mapping[float, Tried], chosen: float) -> str:
    cells = [["window", *map(_density, EVERY), "mean regret", ""]]
    for share, each in found.items():
        pairs = zip(each.fires, each.regret, strict=True)
        row = [f"{fires:.0%}, {loss:.2f}" for fires, loss in pairs]
        note = "chosen" if share == chosen else "" if each.qualifies else "fires too seldom"
        cells.append([shown_window(share), *row, f"{each.mean:.2f}", note])
    return markdown(cells, left=(0, 6))


def confirmed(
    chosen: Mapping[str, float], sets: Mapping[str, Sequence[Judged]], min_gain: float
) -> pd.DataFrame:
    """One row per data set, criterion, window (chosen, then the default) and density.

    Columns: set, criterion, window, every, fires, regret, less (regret less that of `never`), the
    last two with `_low` and `_high`.
    """
    rows = []
    for name, share in chosen.items():
        for window in (share, completed(name)["window"]):
            for every, (label, runs) in itertools.product(EVERY, sets.items()):
                sparse = [thinned(run, every) for run in runs]
                raw = regret(sparse, {name: {"window": window}, "never": {}}, min_gain=min_gain)
                (own,) = summary(raw[raw["criterion"] == name]).to_dict("records")
                (less,) = paired(raw, "never").to_dict("records")
                place = {"set": label, "criterion": name, "window": window, "every": every}
                ends = ("", "_low", "_high")
                rows.append(
                    place
                    | {"fires": 1 - own["never"]}
                    | {f"regret{end}": own[f"regret{end}"] for end in ends}
                    | {f"less{end}": less[f"regret{end}"] for end in ends}
                )
    return pd.DataFrame(rows)


def _confirmed_table(rows: pd.DataFrame) -> str:
    form = "{} ({} to {})"
    heads = ["criterion", "window", "values", "fires", "regret", "less never's"]
    cells = [[*heads, "fires (fresh)", "regret (fresh)", "less never's (fresh)"]]
    for _, of_both in rows.groupby(["criterion", "window", "every"], sort=False):
        both = of_both.to_dict("records")
        line = [both[0]["criterion"], shown_window(both[0]["window"]), _density(both[0]["every"])]
        for row in both:
            line.append(f"{row['fires']:.0%}")
            line += [
                with_interval(row, "regret", ".2f", form),
                with_interval(row, "less", "+.2f", form),
            ]
        cells.append(line)
    return markdown(cells, left=(0, 1, 2))


def _verdict(rows: pd.DataFrame) -> str:
    """How often a chosen share differs from going on by an interval without 0."""
    shares = rows[rows["window"] < 1]
    told = []
    for label, words in (("other", "of the other half"), ("fresh", "of the fresh runs")):
        own = shares[shares["set"] == label]
        worse, better = (own["less_low"] > 0).sum(), (own["less_high"] < 0).sum()
        told.append(
            f"in {worse} of {len(own)} rows {words} stopping by a chosen share is worse than going "
            f"on to the last step, and in {better} better"
        )
    return f"By intervals that exclude 0, {'; '.join(told)}."


def _density(every: int) -> str:
    return f"every {every}th" if every > 1 else "all values"
