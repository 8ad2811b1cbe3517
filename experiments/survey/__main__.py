"""Measure on simulated raters whether the survey's intervals hold, and what it finds.

    python -m experiments.survey

Writes `coverage.csv`, `power.csv`, `components.csv`, `rules.csv`, `strengths.csv` and, made from
these, `RESULTS.md` beside this file; eight minutes on one core.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.survey.report import write_report
from experiments.survey.simulation import Population
from experiments.survey.studies import USUAL, caught, components, coverage, found, strengths
from noiseprobe.analysis.survey_design import Rule
from noiseprobe.core.files import written_whole

HERE = Path(__file__).parent

SIZES = ((20, 9, 4), (10, 5, 4), (40, 5, 4), (50, 18, 2), (12, 30, 2))
"""Raters, concepts, pairs of each; nine concepts is what was published for a method."""

KINDS = {
    "usual": USUAL,
    "usual, 4 forms": USUAL,
    "raters differ": {"rater": 0.8},
    "concepts differ": {"concept": 0.8},
    "none": {},
}
FORMS = {"usual, 4 forms": 4}
WINS = (0.5, 0.8, 0.94)
"""No preference, and about the two published for validation prompts."""

RULES = (Rule(3, 0), Rule(6, 1), Rule(10, 1))


def main() -> None:
    """Run every study and write what it found."""
    parser = argparse.ArgumentParser(prog="python -m experiments.survey", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=HERE)
    chosen = parser.parse_args()
    count = chosen.repetitions
    cells = [("usual", size, win) for size in SIZES for win in WINS]
    cells += [("usual, 4 forms", SIZES[0], win) for win in WINS]
    cells += [(kind, SIZES[0], 0.8) for kind in ("raters differ", "concepts differ", "none")]
    tables = {
        "coverage": pd.DataFrame(
            [
                {
                    **named(kind, size, win),
                    **coverage(Population(win, **KINDS[kind]), size, count, n, FORMS.get(kind, 1)),
                }
                for n, (kind, size, win) in enumerate(cells)
            ]
        ),
        "power": pd.DataFrame(
            [
                named("usual", size, win) | found(Population(win, **USUAL), size, count, n)
                for n, (size, win) in enumerate((s, w) for s in SIZES for w in (0.6, 0.7))
            ]
        ),
        "components": components(Population(0.6, **USUAL), SIZES[0], count, 0)
        .rename_axis("what")
        .reset_index(),
    }
    rules = pd.DataFrame(
        [
            {"trials": rule.trials, "missed": rule.missed, "attention": attention}
            | caught(rule, attention, max(count, 100), 0)
            for rule in RULES
            for attention in (0.99, 0.9)
        ]
    )
    some = max(count // 4, 2)
    held = strengths({"dvar": 0.5, "few": 0.2, "baseline": 0.0}, (20, 9, 3), some, 0)
    tables |= {"rules": rules, "strengths": pd.DataFrame([{"surveys": some, "held": held}])}
    tables["coverage"]["surveys"] = count
    for name, table in tables.items():
        with written_whole(chosen.out / f"{name}.csv") as beside:
            table.to_csv(beside, index=False, float_format="%.4g")
    write_report(chosen.out)


def named(kind: str, size: tuple[int, int, int], win: float) -> dict[str, Any]:
    """The labels of a row."""
    raters, concepts, pairs = size
    return {"kind": kind, "raters": raters, "concepts": concepts, "pairs": pairs, "win": win}


if __name__ == "__main__":
    main()
