"""Measure forms of the turn criterion on pools of held-out draws of real runs.

    python -m experiments.turn

Trains what is missing in `--runs`, two to five minutes each on one core, and writes `RESULTS.md`,
`runs.csv`, `simulated.csv`, `spacing.csv` and `dense.csv` beside this file.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from experiments.turn.forms import TURN
from experiments.turn.measure import CONFIDENCE, by_spacing, measured, simulated
from experiments.turn.pools import DENSE, pool_of, pools
from experiments.turn.report import write_report
from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.run.defaults import METHODS

CONCEPTS = ("banded-cup", "checked-house", "patched-dog")


def main() -> None:
    """Train what is missing, measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.turn", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/turn"))
    parser.add_argument("--concepts", nargs="+", default=[*CONCEPTS])
    parser.add_argument("--methods", nargs="+", default=[*METHODS])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent)
    chosen = parser.parse_args()
    with Terminal() as terminal:
        found = list(pools(chosen.runs, chosen.methods, chosen.concepts, terminal))
        place = chosen.runs / "dense"
        dense = pool_of(place, "dreambooth", "banded-cup", terminal, **DENSE)
    runs = pd.concat([measured(pool) for pool in found], ignore_index=True)
    spacing = pd.concat([by_spacing(pool) for pool in found], ignore_index=True)
    at_each_step = by_spacing(dense, (1, 2, 5, 10), (CONFIDENCE,), ("neighbours, spent", TURN))
    tables = {"runs": runs, "simulated": simulated(), "spacing": spacing, "dense": at_each_step}
    write_report(tables, chosen.results)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
