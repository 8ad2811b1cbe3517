"""Compare the stopping rules on the bundled model: 36 concepts, four methods.

    python -m experiments.comparison tune run report --workers 4

`tune` trains every method on twelve concepts and says which window and threshold of DVAR the stated
rule picks, for a random fixed batch (`TUNING.md`, which the comparison takes) or for another
`--layout` of it (`TUNING-LAYOUT.md`). `confirm` tries what was picked for a layout on twelve other
concepts (`CONFIRMED-LAYOUT.md`; the package's defaults are set by hand to what it takes). `run`
trains, probes and measures, with the random fixed batch that was published; `report` writes the
table, its raw numbers, the claims and the figures beside this file; `figures` draws those of the
tables again, no more. What is already in `--out` is not repeated.
"""

import argparse
import sys
from pathlib import Path

from experiments.comparison.confirming import first_round, second_round, write_confirmed
from experiments.comparison.report import write_from_tables, write_report
from experiments.comparison.runs import (
    PUBLISHED,
    comparison_sweep,
    confirming_sweep,
    tuning_sweep,
)
from experiments.comparison.tuning import write_tuning
from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.draws.factors import LAYOUTS, Layout
from noiseprobe.run.directory import find_runs
from noiseprobe.stages.sweep import run_sweep, train_sweep

HERE = Path(__file__).parent
STAGES = ("tune", "confirm", "run", "report", "figures")


def main() -> None:
    """Do the chosen stages, each on what those before it left in `--out`."""
    parser = argparse.ArgumentParser(prog="python -m experiments.comparison", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"))
    parser.add_argument(
        "--layout", choices=LAYOUTS, default=PUBLISHED, help="for `tune` and `confirm`"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    chosen = parser.parse_args()
    failed: dict[str, str] = {}
    for stage in chosen.stages:
        match stage:
            case "tune":
                sweep = tuning_sweep(chosen.out, chosen.workers, chosen.layout)
                with Terminal() as terminal:
                    failed |= train_sweep(sweep, terminal)
                write_tuning(sweep, chosen.layout, chosen.results)
            case "confirm":
                failed |= confirm(chosen.out, chosen.workers, chosen.layout, chosen.results)
            case "run":
                with Terminal() as terminal:
                    failed |= run_sweep(comparison_sweep(chosen.out, chosen.workers), terminal)
            case "report":
                write_report(find_runs([chosen.out / "runs"]), chosen.results)
            case "figures":
                write_from_tables(chosen.results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def confirm(out: Path, workers: int, layout: Layout, results: Path) -> dict[str, str]:
    """Try what was picked on twelve other concepts, and what that leaves open on twelve more."""
    tuned, first = tuning_sweep(out, workers, layout), confirming_sweep(out, workers, layout)
    with Terminal() as terminal:
        failed = train_sweep(first, terminal)
        rounds = [first_round(tuned, first, layout)]
        if unsettled := rounds[0].unsettled:
            second = confirming_sweep(out, workers, layout, unsettled, part=1)
            failed |= train_sweep(second, terminal)
            rounds.append(second_round(rounds[0], [tuned, first], second))
    write_confirmed(rounds, layout, results)
    return failed


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
