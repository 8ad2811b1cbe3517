"""How a window and threshold that were picked do on concepts that they were not picked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.comparison.runs import DVAR, PUBLISHED
from experiments.comparison.tuning import by_method, curves_of, pick
from experiments.curves import KEPT, Curves, grid
from noiseprobe.analysis.bootstrap import bootstrap_interval, ratio_of_sums
from noiseprobe.cli.tables import markdown
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import Layout
from noiseprobe.run.directory import Run
from noiseprobe.stages.sweep import Sweep

Cell = tuple[int, float]
"""A window and a threshold."""


@dataclass(frozen=True)
class Round:
    """The candidates of each method, and how each does on concepts that none was chosen on."""

    candidates: dict[str, dict[str, Cell]]
    rows: dict[str, dict[str, Confirmed]]

    @classmethod
    def of(cls, candidates: dict[str, dict[str, Cell]], confirming: Sweep) -> Round:
        """Try the candidates of each method on its runs in a sweep."""
        runs = by_method(confirming)
        rows = {}
        for method, cells in candidates.items():
            curves = curves_of(runs[method])
            rows[method] = {name: confirmed(curves, *cell) for name, cell in cells.items()}
        return cls(candidates, rows)

    @property
    def unsettled(self) -> list[str]:
        """The methods of which no candidate qualifies."""
        return [
            method
            for method, rows in self.rows.items()
            if not any(row.qualifies for row in rows.values())
        ]

    def table(self) -> str:
        """The rows as a Markdown table."""
        heads = ["method", "candidate", "window", "threshold", "fires", "median step", "range"]
        cells = [[*heads, "kept", "taken"]]
        for method, rows in self.rows.items():
            better = taken(rows)
            for name, row in rows.items():
                window, threshold = self.candidates[method][name]
                fires, kept = f"{row.fires} of {row.concepts}", f"{row.kept:.0%}"
                steps = [f"{row.median:.0f}", f"{row.first:.0f} to {row.last:.0f}"]
                kept += f" ({row.low:.0%} to {row.high:.0%})"
                chosen = [method, name, str(window), f"{threshold:g}"]
                cells.append([*chosen, fires, *steps, kept, "yes" if name == better else ""])
        return markdown(cells, left=(0, 1, 8))


def first_round(tuned: Sweep, confirming: Sweep, layout: Layout) -> Round:
    """What the published layout has (`DVAR`), and what the rule picks for this one."""
    candidates = {}
    seen = by_method(tuned)
    for method in by_method(confirming):
        cells = {"comparison": DVAR[method]}
        if picked := picked_on(seen.get(method, [])):
            cells[f"{layout} pick"] = picked
        candidates[method] = cells
    return Round.of(candidates, confirming)


def second_round(first: Round, seen: Sequence[Sweep], confirming: Sweep) -> Round:
    """What the first took of the unsettled methods, and what is picked on all seen since."""
    candidates = {}
    for method in first.unsettled:
        cells = {"taken above": first.candidates[method][taken(first.rows[method])]}
        runs = [run for sweep in seen for run in by_method(sweep).get(method, [])]
        if picked := picked_on(runs):
            cells["picked anew"] = picked
        candidates[method] = cells
    return Round.of(candidates, confirming)


def picked_on(runs: list[Run]) -> Cell | None:
    """What the rule of `TUNING.md` picks on these runs."""
    return pick(grid(curves_of(runs)), len(runs)) if runs else None


def write_confirmed(rounds: Sequence[Round], layout: Layout, directory: Path) -> None:
    """Write how the candidates of one round or two do, to `CONFIRMED-LAYOUT.md`."""
    lines = [
        "# Window and threshold of DVAR, on other concepts",
        "",
        f"Made by `python -m experiments.comparison confirm --layout {layout}`. Two candidates for "
        f"a {layout} fixed batch, on concepts that neither was chosen on: what the "
        f"comparison has, chosen for a {PUBLISHED} one (`TUNING.md`), and what the rule picks for "
        f"this one (`TUNING-{layout}.md`). Each concept has a seed of its own, and with it a fixed "
        "batch that nothing was chosen on. The rule, fixed before these runs were made: of those "
        f"that fire on each concept and keep {KEPT:.0%} of the gain or more, the one with the "
        "smaller median step; where neither does, the one that keeps more. Kept: the gain in CLIP "
        "similarity at the stop over that at the last step, means over concepts, with a 95% "
        "bootstrap interval over concepts.",
        "",
        rounds[0].table(),
    ]
    for later in rounds[1:]:
        lines += [
            "",
            "## Picked anew",
            "",
            "Where neither kept enough: the rule's pick on both sets of concepts together, tried "
            "beside what was taken above on twelve more, again with seeds of their own.",
            "",
            later.table(),
        ]
    with written_whole(directory / f"CONFIRMED-{layout}.md") as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Confirmed:
    """How DVAR with one window and threshold does on some concepts.

    `median`, `first` and `last` are of the steps where it stops, the last step of the run where it
    does not fire. `kept` is the mean gain in similarity by then over that of the whole run, `low`
    to `high` its 95% bootstrap interval over concepts.
    """

    concepts: int
    fires: int
    median: float
    first: float
    last: float
    kept: float
    low: float
    high: float

    @property
    def qualifies(self) -> bool:
        """Whether it fires on all concepts and keeps enough."""
        return self.fires == self.concepts and self.kept >= KEPT


def confirmed(curves: Curves, window: int, threshold: float) -> Confirmed:
    """How DVAR with this window and threshold does on the concepts of `curves`."""
    stops = curves.stops(window, threshold)
    ended = stops.fillna(curves.l_det.columns[-1])
    first, whole = curves.similarity.iloc[:, 0], curves.similarity.iloc[:, -1]
    gains = np.stack([curves.similarity_at(stops) - first, whole - first], axis=1)
    return Confirmed(
        len(stops),
        int(stops.notna().sum()),
        float(ended.median()),
        float(ended.min()),
        float(ended.max()),
        float(ratio_of_sums(*gains.T)),
        *bootstrap_interval(gains, ratio_of_sums),
    )


def taken(candidates: Mapping[str, Confirmed]) -> str:
    """The candidate that qualifies and stops soonest; where none does, that which keeps most."""
    good = {name: row for name, row in candidates.items() if row.qualifies}
    if good:
        return min(good, key=lambda name: good[name].median)
    return max(candidates, key=lambda name: candidates[name].kept)
