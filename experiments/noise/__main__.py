"""Take the noise of the batch loss apart: three methods, twelve concepts.

    python -m experiments.noise --workers 2

Takes the runs of `--runs` (trained now where they are missing; those of `python -m
experiments.comparison run` do) and evaluates settings and Sobol design at some of their
checkpoints, with a seed of its own for each concept. What is already in `--out` is not repeated.
Writes `RESULTS.md` and its tables beside this file, and the figures of textual inversion into
`figures/`. With `--report` nothing is evaluated: report and figures are made again from the tables.
"""

import argparse
import sys
from pathlib import Path

from experiments.comparison.runs import WIDELY, comparison_sweep, others, own_seed
from experiments.noise.evaluate import evaluate_run
from experiments.noise.report import recorded, tables_of, write_report, write_tables
from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.run.directory import Run
from noiseprobe.stages.workers import Jobs, in_processes

HERE = Path(__file__).parent


def main() -> None:
    """Evaluate what is not evaluated yet, then write the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.noise", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--out", type=Path, default=Path("runs/noise"))
    parser.add_argument("--concepts", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--figures", type=Path, default=HERE.parents[1] / "figures")
    parser.add_argument("--report", action="store_true", help="from the tables alone")
    chosen = parser.parse_args()
    if chosen.report:
        write_report(recorded(chosen.results), chosen.results, chosen.figures)
        return
    sweep = comparison_sweep(chosen.runs, chosen.workers)
    names = others()[: chosen.concepts]
    jobs: Jobs = {}
    for name in names:
        for method in WIDELY:
            place, trained = chosen.out / method / name, chosen.runs / "runs" / method / name
            config = sweep.runs[trained]
            jobs[place] = evaluate_run, trained, config, sweep.probe, own_seed(name), place
    with Terminal() as terminal:
        failed = in_processes("probing", jobs, chosen.workers, 1, terminal)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    places = sorted(jobs, key=lambda place: WIDELY.index(place.parent.name))
    tables = tables_of([Run.open(place) for place in places])
    write_tables(tables, chosen.results)
    write_report(tables, chosen.results, chosen.figures)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
