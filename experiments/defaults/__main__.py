"""Run the whole analysis on every bundled concept to the last step, and tabulate what comes out.

    python -m experiments.defaults --out runs/defaults

Writes `noise_to_signal.csv` (one row per concept), `l_det.csv` (one column per concept) and
`RESULTS.md` (the table, and where DVAR would have stopped for a range of windows and thresholds)
beside this file. A run that is already finished in `--out` is not repeated.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from noiseprobe.concept import bundled_concepts
from noiseprobe.config import resolve
from noiseprobe.defaults import BUNDLED_MODEL, FAMILY_DEFAULTS
from noiseprobe.factors import FACTORS
from noiseprobe.files import written_whole
from noiseprobe.pipeline import resume_all, run_all
from noiseprobe.replay import replay_grid
from noiseprobe.run import Run
from noiseprobe.sources import read_series

HERE = Path(__file__).parent
SETTINGS = {"stop": "none", "steps": 200, "checkpoint_every": 40, "replicates": 6}
WINDOWS = (20, 30, 40, 50, 60, 80, 100)
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def main() -> None:
    """Parse the command line, run, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    parser.add_argument("--concepts", nargs="*", default=bundled_concepts())
    parser.add_argument("--results", type=Path, default=HERE)
    arguments, extra = parser.parse_known_args()
    given = {name.removeprefix("--").replace("-", "_"): value for name, value in _pairs(extra)}
    runs = [finished_run(name, arguments.out, given) for name in arguments.concepts]
    write_results(runs, arguments.results)


def finished_run(concept: str, out: Path, given: dict[str, str]) -> Run:
    """The run of one concept to the last step, made now if it is not there."""
    directory = out / concept
    if not (directory / "config.toml").is_file():
        print(f"{concept}: training and probing", file=sys.stderr)
        run_all(resolve({"concept": concept} | SETTINGS | given), directory)
    elif not (directory / "summary.json").is_file():
        print(f"{concept}: going on", file=sys.stderr)
        resume_all(directory)
    return Run.open(directory)


def write_results(runs: Sequence[Run], directory: Path) -> None:
    """Write both CSV files and the report."""
    ratios = pd.DataFrame({run.directory.name: run.summary()["noise_to_signal"] for run in runs}).T[
        list(FACTORS)
    ]
    ratios.index.name = "concept"
    l_det = pd.DataFrame(
        {run.directory.name: run.train_trace().set_index("step")["l_det"] for run in runs}
    )
    with written_whole(directory / "noise_to_signal.csv") as beside:
        ratios.to_csv(beside, float_format="%.4g")
    with written_whole(directory / "l_det.csv") as beside:
        l_det.to_csv(beside, float_format="%.8g")
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(runs, ratios), encoding="utf-8")


def report(runs: Sequence[Run], ratios: pd.DataFrame) -> str:
    """The tables as Markdown."""
    config = runs[0].config
    defaults = FAMILY_DEFAULTS[BUNDLED_MODEL]
    lines = [
        "# What the analysis shows on the bundled concepts",
        "",
        f"Made by `python -m experiments.defaults`: textual inversion of `{config.model}`, "
        f"{config.steps} steps of batch {config.train_batch_size}, learning rate "
        f"{config.learning_rate:g} x batch size, L_det on {config.eval_batch} samples, a "
        f"checkpoint every {config.checkpoint_every} steps, {config.replicates} replicates of "
        f"{config.probe_batch} samples, seed {config.seed}.",
        "",
        "## Noise-to-signal by factor",
        "",
        "Standard deviation of the batch loss over redraws, over that of L_det over checkpoints.",
        "",
        "| concept | " + " | ".join(FACTORS) + " |",
        "|---|" + "---:|" * len(FACTORS),
    ]
    lines += [_row(str(name), row) for name, row in ratios.iterrows()]
    geometric = np.exp(np.log(ratios).mean())
    lines += [_row("**geometric mean**", geometric)]
    grids = [replay_grid(read_series(run.directory, "l_det"), WINDOWS, THRESHOLDS) for run in runs]
    lines += [
        "",
        "## Where DVAR would have stopped",
        "",
        f"Median step over {len(runs)} concepts, and on how many of them it fires within "
        f"{config.steps} steps, by window (down) and threshold (across). The default is window "
        f"{defaults['window']} and threshold {defaults['threshold']:g}.",
        "",
        "| window | " + " | ".join(f"{threshold:g}" for threshold in THRESHOLDS) + " |",
        "|---|" + "---:|" * len(THRESHOLDS),
    ]
    for window in WINDOWS:
        cells = []
        for threshold in THRESHOLDS:
            stops = [grid[threshold][window] for grid in grids]
            fired = [int(stop) for stop in stops if pd.notna(stop)]
            cells.append(f"{np.median(fired):.0f} ({len(fired)}/{len(runs)})" if fired else "-")
        lines.append(f"| {window} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _row(name: str, values: pd.Series) -> str:
    return f"| {name} | " + " | ".join(f"{values[factor]:.2g}" for factor in FACTORS) + " |"


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


if __name__ == "__main__":
    main()
