"""Hold stopping criteria against CLIP similarity, on the runs of the comparison and on fresh ones.

    python -m experiments.criteria

Reads `traces.parquet` and `fresh.parquet` beside this file. `--runs DIR` writes the first anew from
what `python -m experiments.comparison run` left there; `--fresh DIR` trains fresh runs there, or
goes on with them, and writes the second. On the first data set parameters are chosen by
leave-one-out among the runs of a method; on the fresh runs they are those that do best on the first
data set. Writes `RESULTS.md` and the tables beside this file, and the figures into `figures/`.
"""

import argparse
import sys
from pathlib import Path

from experiments.criteria.collect import judged_by_method, write_traces
from experiments.criteria.fresh import train_fresh
from experiments.criteria.report import write_report
from noiseprobe.core.errors import Interrupted
from noiseprobe.run.directory import find_runs

HERE = Path(__file__).parent


def main() -> None:
    """Collect what is asked for, then judge and report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.criteria", description=__doc__)
    parser.add_argument("--runs", type=Path, help="runs to write traces.parquet from")
    parser.add_argument("--fresh", type=Path, help="where to train the runs of fresh.parquet")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--figures", type=Path, default=HERE.parents[1] / "figures")
    chosen = parser.parse_args()
    traces, fresh = HERE / "traces.parquet", HERE / "fresh.parquet"
    if chosen.runs:
        traces = chosen.results / traces.name
        write_traces(find_runs([chosen.runs]), traces)
    if chosen.fresh:
        failed = train_fresh(chosen.fresh, chosen.workers)
        if failed:
            sys.exit(f"failed: {', '.join(failed)}")
        fresh = chosen.results / fresh.name
        write_traces(find_runs([chosen.fresh / "runs"]), fresh)
    by_method = judged_by_method(traces), judged_by_method(fresh)
    write_report(*by_method, chosen.results, chosen.figures)


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
