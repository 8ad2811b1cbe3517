"""What can be known from paired losses, and at what price: four methods, twelve concepts.

    python -m experiments.paired

Trains what is not yet in `--out`, one run after the other, and reports; with `--report`, reports
alone, of the runs that are there, or where there are none, from the tables beside this file.
Writes `RESULTS.md` and its tables beside this file, and the figure into `figures/`.
"""

import argparse
from pathlib import Path

from experiments.paired.record import choosing, planned, record, testing
from experiments.paired.report import write_report
from experiments.paired.tables import read_tables, tables_of, write_tables
from experiments.tiny_sd.concepts import every, write

HERE = Path(__file__).parent


def main() -> None:
    """Train what is missing, then report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.paired", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/paired"))
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--figures", type=Path, default=HERE.parents[1] / "figures")
    parser.add_argument("--report", action="store_true", help="train nothing")
    chosen = parser.parse_args()
    photographs = chosen.out / "photographs"
    if not photographs.is_dir() and not chosen.report:
        write([thing for thing in every() if thing.name in choosing() + testing()], photographs)
    for method, name in [] if chosen.report else planned():
        file = chosen.out / method / f"{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        record(method, photographs / name, file)
        print(f"{method} {name}: recorded", flush=True)
    if any(chosen.out.glob("*/*.parquet")):
        write_tables(tables_of(chosen.out), chosen.results)
    write_report(read_tables(chosen.results), chosen.results, chosen.figures)


if __name__ == "__main__":
    main()
