"""Long runs with a photograph held out: when overfitting begins, and what each stop is worth.

    python -m experiments.overfitting run --part choosing --out runs/overfitting --workers 2
    python -m experiments.overfitting choose --out runs/overfitting
    python -m experiments.overfitting run --part testing --out runs/overfitting --workers 2
    python -m experiments.overfitting run --part all --out runs/overfitting --workers 2
    python -m experiments.overfitting run --part folds --out runs/overfitting --workers 2
    python -m experiments.overfitting run --part sized --out runs/overfitting --workers 2
    python -m experiments.overfitting report --out runs/overfitting

The rules are in RULES.md. `run` does the runs of a part that are not done yet, each into a file of
its own, and may be interrupted at any time; those that `numbers.parquet` has are done. `choose`
writes `chosen.json`, which is to be committed before the runs for testing begin. `report` writes
`numbers.parquet` and `sized.parquet` from what is done in `--out`, and from them `RESULTS.md` and
the figures; without `--out` it takes the numbers as they are.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.core.files import written_whole

HERE = Path(__file__).parent
NUMBERS = ("numbers.parquet", "sized.parquet")


def main(arguments: list[str] | None = None) -> None:
    """Run a part of the study, choose parameters, or report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.overfitting", description=__doc__)
    parser.add_argument("what", choices=("run", "choose", "report"))
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--part", choices=("choosing", "testing", "all", "folds", "sized"), default="testing"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    chosen = parser.parse_args(arguments)
    if chosen.out is None and chosen.what != "report":
        parser.error("--out: name the folder of the study, such as runs/overfitting")
    match chosen.what:
        case "run":
            from experiments.overfitting.runs import run_part, take_up

            sized = chosen.part == "sized"
            known, out = (
                chosen.results / NUMBERS[sized],
                chosen.out / "sized" if sized else chosen.out,
            )
            if known.is_file():
                take_up(pd.read_parquet(known), out)
            with Terminal() as terminal:
                failed = run_part(chosen.part, out, chosen.workers, terminal)
            if failed:
                sys.exit(f"failed: {', '.join(failed)}")
        case "choose":
            choose_parameters(chosen.out, chosen.results)
        case "report":
            write_results(chosen.out, chosen.results)


def choose_parameters(out: Path, results: Path) -> None:
    """Write `chosen.json` from the runs for choosing."""
    from experiments.overfitting.criteria import choose, write_chosen
    from experiments.overfitting.raw import curves, gathered
    from experiments.overfitting.things import names_of

    names = names_of("choosing")
    runs = [run for run in curves(gathered(out / "numbers")) if run.concept in names]
    write_chosen(choose(runs), results / "chosen.json")


def write_results(out: Path | None, results: Path) -> None:
    """Write `numbers.parquet`, `RESULTS.md` and the figures."""
    from experiments.overfitting.criteria import read_chosen
    from experiments.overfitting.figures import draw_figures
    from experiments.overfitting.raw import curves, gathered, write
    from experiments.overfitting.report import Found, report
    from experiments.overfitting.things import names_of

    tables = []
    for name, folder in zip(NUMBERS, ("numbers", "sized/numbers"), strict=True):
        if out is not None and (out / folder).is_dir():
            write(gathered(out / folder), results / name)
        there = (results / name).is_file()
        tables.append(list(curves(pd.read_parquet(results / name))) if there else [])
    runs, sized = tables
    found = Found.of(runs, read_chosen(results / "chosen.json"), names_of("testing"), sized)
    draw_figures(found, results / "figures")
    with written_whole(results / "RESULTS.md") as beside:
        beside.write_text(report(found), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
