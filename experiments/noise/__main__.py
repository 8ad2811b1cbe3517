"""Take the noise of the batch loss apart: three methods, twelve concepts.

    python -m experiments.noise --workers 2

Takes the runs of `--runs` (trained and probed now where they are missing; those of
`python -m experiments.comparison run` do) and evaluates the Sobol design at their probed
checkpoints, 32 pairs of 8 samples. What is already there is not repeated. Writes `RESULTS.md` and
its tables beside this file, and the figures of textual inversion into `figures/`.
"""

import argparse
import sys
from pathlib import Path

from experiments.comparison.runs import WIDELY, comparison_sweep, others
from experiments.noise.evaluate import evaluate_run
from experiments.noise.report import write_report
from noiseprobe.errors import Interrupted
from noiseprobe.run import Run
from noiseprobe.sweep import Jobs, in_processes
from noiseprobe.terminal import Terminal

HERE = Path(__file__).parent


def main() -> None:
    """Evaluate what is not evaluated yet, then write the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.noise", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--concepts", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--figures", type=Path, default=HERE.parents[1] / "figures")
    chosen = parser.parse_args()
    sweep = comparison_sweep(chosen.runs, chosen.workers)
    names = others()[: chosen.concepts]
    directories = [chosen.runs / "runs" / method / name for method in WIDELY for name in names]
    jobs: Jobs = {
        directory: (evaluate_run, directory, sweep.runs[directory], sweep.probe)
        for directory in directories
    }
    with Terminal() as terminal:
        failed = in_processes("probing", jobs, chosen.workers, 1, terminal)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    write_report([Run.open(directory) for directory in directories], chosen.results, chosen.figures)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
