"""How often the checkpoints that `pick` names hold the best, on real losses.

    python -m experiments.pick --workers 2

Trains what is missing in `--runs`, two to four minutes each on one core, and writes `RESULTS.md`
and `numbers.csv` beside this file, and the figure into `figures/`.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from experiments.pick.measure import measure_run
from experiments.pick.report import draw_figure, report
from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.core.files import written_whole
from noiseprobe.run.defaults import METHODS
from noiseprobe.stages.workers import Jobs, in_processes

HERE = Path(__file__).parent
CONCEPTS = ("banded-cup", "checked-house", "patched-dog")


def main() -> None:
    """Train and measure what is missing, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.pick", description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/pick"))
    parser.add_argument("--concepts", nargs="+", default=[*CONCEPTS])
    parser.add_argument("--methods", nargs="+", default=[*METHODS])
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--figures", type=Path, default=HERE.parents[1] / "figures")
    chosen = parser.parse_args()
    jobs: Jobs = {}
    files = []
    for concept in chosen.concepts:
        for method in chosen.methods:
            file = chosen.runs / f"{method}-{concept}.csv"
            files.append(file)
            if not file.is_file():
                jobs[file] = (measure_run, chosen.runs / method / concept, method, concept, file)
    with Terminal() as terminal:
        failed = in_processes("runs", jobs, chosen.workers, 1, terminal)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    numbers = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    numbers.to_csv(chosen.results / "numbers.csv", index=False, float_format="%.4g")
    with written_whole(chosen.results / "RESULTS.md") as beside:
        beside.write_text(report(numbers), encoding="utf-8")
    draw_figure(numbers, chosen.figures)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
