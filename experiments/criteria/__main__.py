"""Hold stopping criteria against CLIP similarity, on the runs of the comparison.

    python -m experiments.criteria

Reads `traces.parquet` beside this file; with `--runs DIR` it is written anew from what
`python -m experiments.comparison run` left there. Parameters are chosen by leave-one-out among the
runs of a method, never on the run that is reported. Writes `RESULTS.md`, `regret.csv`, `paired.csv`
and the figure.
"""

import argparse
from pathlib import Path

from experiments.criteria.collect import judged_by_method, write_traces
from experiments.criteria.report import write_report
from noiseprobe.run import find_runs

HERE = Path(__file__).parent


def main() -> None:
    """Collect if asked to, then judge and report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.criteria", description=__doc__)
    parser.add_argument("--runs", type=Path, help="runs to write traces.parquet from")
    parser.add_argument("--results", type=Path, default=HERE)
    chosen = parser.parse_args()
    traces = HERE / "traces.parquet"
    if chosen.runs:
        traces = chosen.results / traces.name
        write_traces(find_runs([chosen.runs]), traces)
    write_report(judged_by_method(traces), chosen.results)


if __name__ == "__main__":
    main()
