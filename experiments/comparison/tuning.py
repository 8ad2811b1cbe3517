"""Which window and threshold of DVAR a rule picks, by method, on the concepts for choosing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.comparison.runs import PUBLISHED
from experiments.curves import KEPT, Curves, best, grid, grid_lines
from noiseprobe.core.files import written_whole
from noiseprobe.draws.factors import Layout
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.stages.sweep import Sweep


def write_tuning(sweep: Sweep, layout: Layout, directory: Path) -> None:
    """Write for each method the grid of windows and thresholds, and what is picked.

    The file is `TUNING.md` for the published layout of the fixed batch, else `TUNING-LAYOUT.md`.
    """
    command, stem = "python -m experiments.comparison tune", "TUNING"
    if layout != PUBLISHED:
        command, stem = f"{command} --layout {layout}", f"{stem}-{layout}"
    lines = [
        "# Window and threshold of DVAR, by method",
        "",
        f"Made by `{command}`. The rule: of the cells that fire on each "
        f"concept and keep {KEPT:.0%} or more of the whole run's gain in CLIP similarity, averaged "
        "over concepts and over the cell with its neighbours (one cell alone is mostly noise), the "
        "one with the smallest median step.",
    ]
    for method, chosen in by_method(sweep).items():
        curves = curves_of(chosen)
        config = chosen[0].config
        cells = grid(curves)
        lines += ["", f"## {method}", ""]
        lines += [
            f"{len(chosen)} concepts, {config.steps} steps of batch {config.train_batch_size}, "
            f"learning rate {config.effective_learning_rate:g}. Mean CLIP similarity by step: "
            + ", ".join(f"{s}: {v:.2f}" for s, v in curves.similarity.mean().iloc[::4].items())
            + ".",
            "",
            *grid_lines(cells, len(chosen)),
            "",
        ]
        picked = pick(cells, len(chosen))
        lines.append(
            f"Picked: window {picked[0]}, threshold {picked[1]:g}." if picked else "None qualifies."
        )
    with written_whole(directory / f"{stem}.md") as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def by_method(sweep: Sweep) -> dict[str, list[Run]]:
    """The runs of a sweep that have trained, by method in the order of all tables."""
    runs = [Run(out) for out in sweep.runs if (out / "traces" / "train").is_dir()]
    found = {name: [run for run in runs if run.config.method == name] for name in METHODS}
    return {name: chosen for name, chosen in found.items() if chosen}


def pick(cells: pd.DataFrame, concepts: int) -> tuple[int, float] | None:
    """The window and threshold that the rule picks from a grid over so many concepts."""
    return best(smoothed(cells), concepts)


def curves_of(runs: list[Run]) -> Curves:
    """L_det and CLIP similarity of runs that went on to the last step."""
    index = pd.Index([Path(run.config.concept).name for run in runs], name="concept")
    traces = [run.train_trace().set_index("step") for run in runs]
    l_det = pd.DataFrame([trace["l_det"] for trace in traces]).set_axis(index)
    similarity = pd.DataFrame([trace["clip_img"].dropna() for trace in traces]).set_axis(index)
    return Curves(l_det, similarity)


def smoothed(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells, each with the mean gain of itself and its neighbours in the grid."""
    gain = cells.pivot(index="window", columns="threshold", values="gain")
    near = gain.rolling(3, center=True, min_periods=1)
    sums, counts = near.sum().T, near.count().T
    mean = (
        sums.rolling(3, center=True, min_periods=1).sum()
        / counts.rolling(3, center=True, min_periods=1).sum()
    ).T
    places = zip(cells["window"], cells["threshold"], strict=True)
    return cells.assign(gain=[mean.loc[window, threshold] for window, threshold in places])
