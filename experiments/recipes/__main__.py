"""Layouts of L_det, ours and as other trainers validate: how truly each follows the expected loss.

    python -m experiments.recipes run --out runs/recipes --workers 2
    python -m experiments.recipes report --out runs/recipes
    python -m experiments.recipes run --out runs/trial --concepts 1 --methods dreambooth-lora

The rules are in RULES.md. `run` does the runs that are not done yet, each into a file of its own,
and may be interrupted at any time. `report` writes `numbers.parquet` from what is done in `--out`,
and from it `RESULTS.md` and the figure; without `--out` it takes the numbers as they are.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd

from experiments.recipes.record import Design, concepts, gathered, run_all
from experiments.recipes.report import write_report
from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.core.files import written_whole
from noiseprobe.run.defaults import METHODS

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> None:
    """Train and evaluate what is missing, or report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.recipes", description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--concepts", type=int, default=len(concepts()), help="for a trial")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    for each in fields(Design):
        parser.add_argument(f"--{each.name}", type=int, default=each.default, help="for a trial")
    chosen = parser.parse_args(arguments)
    if chosen.what == "report":
        write_results(chosen.out, chosen.results)
        return
    if chosen.out is None:
        parser.error("--out: name the folder of the study, such as runs/recipes")
    design = Design(**{each.name: getattr(chosen, each.name) for each in fields(Design)})
    names = concepts()[: chosen.concepts]
    with Terminal() as terminal:
        failed = run_all(chosen.out, chosen.workers, terminal, names, chosen.methods, design)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def write_results(out: Path | None, results: Path) -> None:
    """Write `numbers.parquet`, `RESULTS.md` and the figure."""
    file = results / "numbers.parquet"
    if out is not None:
        results.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as beside:
            gathered(out).to_parquet(beside, index=False)
    write_report(pd.read_parquet(file), results)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
