"""Compare the layouts of the fixed batch: how true L_det is, and how far DVAR's stop moves.

    python -m experiments.fixed_batch --workers 2

Takes the textual inversions of `--runs` (trained now where they are missing; those of
`python -m experiments.comparison run` do), evaluates every `--every` steps 20 fixed batches of each
layout and of 4 to 64 samples, and the expected loss from 4096 draws. What is already in `--out` is
not repeated. Writes `RESULTS.md`, `fixed_batch.csv` and `layouts.csv` beside this file, and the
figure into `figures/`. With `--figure` nothing is evaluated: it is drawn again from `layouts.csv`.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from experiments.comparison.runs import comparison_sweep, others
from experiments.fixed_batch.evaluate import evaluate_run
from experiments.fixed_batch.report import figure_of, write_report
from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.plots.saving import save
from noiseprobe.stages.workers import Jobs, in_processes

HERE = Path(__file__).parent


def main() -> None:
    """Evaluate what is not evaluated yet, then write the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.fixed_batch", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--out", type=Path, default=Path("runs/fixed-batch"))
    parser.add_argument("--concepts", type=int, default=12)
    parser.add_argument("--every", type=int, default=20, help="steps between evaluations")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--figures", type=Path, default=HERE.parents[1] / "figures")
    parser.add_argument("--figure", action="store_true", help="draw the figure again, no more")
    chosen = parser.parse_args()
    if chosen.figure:
        table = pd.read_csv(chosen.results / "layouts.csv")
        save(figure_of(table), chosen.figures / "11-fixed-batch")
        return
    configs = comparison_sweep(chosen.runs, chosen.workers).runs
    jobs: Jobs = {}
    for name in others()[: chosen.concepts]:
        run = chosen.runs / "runs" / "textual-inversion" / name
        file = chosen.out / f"{name}.parquet"
        jobs[file] = (evaluate_run, run, configs[run], chosen.every, file)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with Terminal() as terminal:
        failed = in_processes("evaluating", jobs, chosen.workers, 1, terminal)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    write_report({file.stem: file for file in jobs}, chosen.results, chosen.figures)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
