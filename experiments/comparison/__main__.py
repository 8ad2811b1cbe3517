"""Compare the stopping rules on the bundled model: 48 concepts, four methods.

    python -m experiments.comparison tune run report --workers 4

`tune` trains every method on twelve concepts and says which window and threshold of DVAR the stated
rule picks (`TUNING.md`; the defaults of the package are set by hand to what it says). `run` trains,
probes and measures; `report` writes the table, its raw numbers, the claims and the figures beside
this file. What is already in `--out` is not repeated.
"""

import argparse
import sys
from pathlib import Path

from experiments.comparison.report import write_report
from experiments.comparison.runs import comparison_sweep, tuning_sweep
from experiments.comparison.tuning import write_tuning
from noiseprobe.errors import Interrupted
from noiseprobe.run import find_runs
from noiseprobe.sweep import run_sweep
from noiseprobe.terminal import Terminal

HERE = Path(__file__).parent
STAGES = ("tune", "run", "report")


def main() -> None:
    """Do the chosen stages, each on what those before it left in `--out`."""
    parser = argparse.ArgumentParser(prog="python -m experiments.comparison", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=STAGES)
    parser.add_argument("--out", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    chosen = parser.parse_args()
    failed: dict[str, str] = {}
    for stage in chosen.stages:
        match stage:
            case "tune":
                sweep = tuning_sweep(chosen.out, chosen.workers)
                with Terminal() as terminal:
                    failed |= run_sweep(sweep, terminal)
                write_tuning(sweep, chosen.results)
            case "run":
                with Terminal() as terminal:
                    failed |= run_sweep(comparison_sweep(chosen.out, chosen.workers), terminal)
            case "report":
                write_report(find_runs([chosen.out / "runs"]), chosen.results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
