"""Noise-to-signal by method: twelve concepts, each with draws of its own.

    python -m experiments.noise_to_signal.methods --workers 2

Trains every method to its last step on concepts that nothing was chosen on, and probes each 60
steps. Under one seed all concepts would share their draws, and an interval over concepts would not
tell of what these happened to be: so each has its own. What is already in `--out` is not repeated.
Writes `methods.csv`, a row per method, concept and setting, and `METHODS.md` beside this file, and
the figure of the needed batch into `figures/`.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.comparison.runs import FEWER, PROBE_EVERY, others, own_seed, photographs
from experiments.curves import geometric_mean
from noiseprobe.analysis import noise_to_signal, signal_to_noise
from noiseprobe.cli.tables import markdown
from noiseprobe.cli.terminal import Terminal
from noiseprobe.core.errors import Interrupted
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import FACTORS
from noiseprobe.plots.needed_batch import plot_needed_batch
from noiseprobe.plots.saving import save
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.sweep import Sweep, train_sweep

HERE = Path(__file__).parent
REPLICATES = 8
DRAWN = "textual-inversion"  # the method whose figure is drawn


def sweep_of(out: Path, workers: int, concepts: int) -> Sweep:
    """Every method on each of the concepts, to the last step."""
    folder = photographs(out)
    runs = {
        out / "runs" / method / name: resolve(
            {
                "concept": str(folder / name),
                "method": method,
                "stop": "none",
                "seed": own_seed(name),
                "replicates": REPLICATES,
                "device": "cpu",
            }
        )
        for name in others()[:concepts]
        for method in METHODS
    }
    return Sweep(runs, workers, threads=1, probe=PROBE_EVERY)


def ratios(runs: Sequence[Path]) -> pd.DataFrame:
    """Noise-to-signal and the needed batch of each setting in each run, with their intervals."""
    tables = []
    for place in runs:
        run = Run.open(place)
        probe = run.probe_trace()
        table = noise_to_signal(probe).join(
            signal_to_noise(probe).drop(columns=["noise", "signal", "independence"])
        )
        table.insert(0, "method", run.config.method)
        table.insert(1, "concept", place.name)
        tables.append(table.reset_index())
    return pd.concat(tables, ignore_index=True)


def shown(values: pd.DataFrame) -> str:
    """Geometric mean over concepts and its interval; a factor that cannot vary has none."""
    told = values["noise_to_signal"].dropna()
    if not len(told):
        return "cannot be told"
    if not (told > 0).all():
        return "none: one caption"
    found = geometric_mean(told)
    missing = len(values) - len(told)
    left = f"; {missing} cannot be told" if missing else ""
    return f"{found['mean']:.2g} ({found['low']:.2g} to {found['high']:.2g}{left})"


def report(table: pd.DataFrame) -> str:
    """METHODS.md."""
    rows = [["method", *FACTORS]]
    for method in [name for name in METHODS if name in set(table["method"])]:
        of_method = table[table["method"] == method]
        rows.append([method, *(shown(of_method[of_method["setting"] == name]) for name in FACTORS)])
    concepts = table["concept"].nunique()
    methods = [str(row[0]) for row in rows[1:]]
    needed = [["setting", *methods]]
    for setting, own in table.groupby("setting", sort=False):
        of_each = (own[own["method"] == method]["needed_batch"] for method in methods)
        needed.append([str(setting), *(quartiles(values) for values in of_each)])
    return "\n".join(
        [
            "# Noise-to-signal by factor and method",
            "",
            f"`python -m experiments.noise_to_signal.methods`: {concepts} concepts that nothing "
            "was chosen on, each with a seed of its own, on the bundled model; batches of "
            f"{table['batch'].max():.0f}, {REPLICATES} redraws, a checkpoint every {PROBE_EVERY} "
            "steps. Geometric mean over concepts and its 95% interval; above 1, a redraw of the "
            "factor moves a batch's loss more than the whole training moves the expected loss. "
            "[methods.csv](methods.csv) has every run with its own interval.",
            "",
            markdown(rows),
            "",
            "## The batch that each factor's noise would need",
            "",
            "Samples per batch at which a redraw moves the loss as much as training does: the "
            "median over concepts, and their quartiles. `inf`: no progress was seen under the "
            "noise. The figure is that of textual inversion.",
            "",
            "![Needed batch](../../figures/8-needed-batch.png)",
            "",
            markdown(needed),
            "",
        ]
    )


def median_batches(table: pd.DataFrame) -> pd.DataFrame:
    """By setting the probed batch, and of the needed one median and quartiles.

    The columns are those of `noiseprobe.analysis.signal_to_noise` that its figure is drawn from.
    """
    rows = {
        setting: {
            "batch": group["batch"].median(),
            "needed_batch": middle(group["needed_batch"]),
            "needed_low": middle(group["needed_batch"], 0.25),
            "needed_high": middle(group["needed_batch"], 0.75),
        }
        for setting, group in table.groupby("setting", sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def quartiles(values: pd.Series) -> str:
    """Median and quartiles, rounded up to whole samples."""
    found = [middle(values, share) for share in (0.5, 0.25, 0.75)]
    median, low, high = (
        f"{math.ceil(value):,}" if math.isfinite(value) else "inf" for value in found
    )
    return f"{median} ({low} to {high})"


def middle(values: pd.Series, share: float = 0.5) -> float:
    """A quantile that is one of the values, since some may be infinite: the next one up."""
    return float(np.quantile(values, share, method="higher"))


def main() -> None:
    """Train and probe what is missing, then write."""
    parser = argparse.ArgumentParser(prog="python -m experiments.noise_to_signal.methods")
    parser.add_argument("--out", type=Path, default=Path("runs/noise-to-signal/methods"))
    parser.add_argument("--concepts", type=int, default=FEWER)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--figures", type=Path, default=HERE.parents[1] / "figures")
    chosen = parser.parse_args()
    sweep = sweep_of(chosen.out, chosen.workers, chosen.concepts)
    with Terminal() as terminal:
        failed = train_sweep(sweep, terminal)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    table = ratios(list(sweep.runs))
    with written_whole(chosen.results / "methods.csv") as beside:
        table.to_csv(beside, index=False, float_format="%.6g")
    with written_whole(chosen.results / "METHODS.md") as beside:
        beside.write_text(report(table), encoding="utf-8")
    of_one = table[table["method"] == DRAWN]
    over = f"median and quartiles of {of_one['concept'].nunique()} concepts"
    save(plot_needed_batch(median_batches(of_one), over=over), chosen.figures / "8-needed-batch")


if __name__ == "__main__":
    try:
        main()
    except Interrupted as stopped:
        sys.exit(str(stopped))
