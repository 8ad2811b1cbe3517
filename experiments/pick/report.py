"""The table and the figure of the study of `pick`, and what they say."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.pick.measure import (
    CHECKPOINT,
    DRAWS,
    EVERY,
    LOG,
    LOG_FIXED,
    LOG_STEPS,
    REDRAWN,
    REPEATS,
    STEPS,
    STRATIFIED,
    UNPAIRED,
)
from noiseprobe.analysis.best_of import LEVEL
from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.cli.tables import markdown
from noiseprobe.plots.saving import save
from noiseprobe.plots.style import INK, colour_of, dress, new_figure, styled

SAYS = {
    REDRAWN: "Losses of the same independent draws at each checkpoint, as the probe has them.",
    STRATIFIED: "The same, one draw in each of so many parts of the timesteps, as L_det and l_val.",
    UNPAIRED: "What one would do without pairs: the interval of each checkpoint by itself, and all "
    "are candidates whose interval overlaps that of the lowest.",
    LOG: "A log of validations, each of draws of its own.",
    LOG_FIXED: "A log of a validation whose draws are the same each time, as of most trainers.",
    LOG_STEPS: "A training loss: a value at each step, of draws of its own.",
}


def report(numbers: pd.DataFrame) -> str:
    """`RESULTS.md`, from the table of `measured` over runs."""
    runs = numbers[["method", "concept"]].drop_duplicates()
    checkpoints, points = STEPS // CHECKPOINT + 1, STEPS // EVERY + 1
    kinds = "\n".join(f"- *{kind}*: {words}" for kind, words in SAYS.items())
    return f"""# How sure is a pick?

    python -m experiments.pick

`noiseprobe pick` leaves out the checkpoints that are surely worse than some other. It promises
that those that are left hold the truly best one in at least {LEVEL:.0%} of cases. Here that is
counted on real losses: {len(runs)} runs of the bundled model ({runs["method"].nunique()} methods,
{runs["concept"].nunique()} concepts, one photograph held out, {STEPS} steps), the losses of {DRAWS}
held-out draws at each of {checkpoints} checkpoints and {points} evaluations. The mean of all draws
is the truth; {REPEATS} batches taken from them, with replacement, are what `pick` is given. So it
is the draw of noise, timesteps and captions that is uncertain here, and not the photograph.

{kinds}

{_table(numbers)}
- `held`: how often the truly best is among the candidates: the mean over runs with its 95%
  interval, and the run where it is least often.
- `candidates`: the mean share of checkpoints (of a log, of its blocks) that are left.
- `sure`: how often one alone is left; `right`: how often that is the truly best.
- `lowest lacks`: what the checkpoint with the lowest mean lacks of the truly best, as a share of
  the range of the truth.

![How often the truly best is held, and by how many](../../figures/15-pick-coverage.png)

- **The promise is kept** where `held` is at least {LEVEL:.0%} in the mean and about so in the worst
  run; it is kept with room to spare, since the test is of each checkpoint against all others at
  once, and few others are near.
- **Pairs are what tells.** By intervals of each checkpoint alone, on the very same losses, next to
  nothing is ever left out.
- **One that is alone is not always right**, in small batches: {LEVEL:.0%} is of the set being
  right, over all batches, and those that are sure are few. Take more draws where it matters
  (`--replicates`, `--probe-batch`, `--budget`).
- **Of a log of few draws, hardly anything is surely worse**: what pick says of it is honest, and
  little. A validation on one fixed batch tells more than one that draws anew each time.
"""


def _table(numbers: pd.DataFrame) -> str:
    head = ["losses", "batch", "held", "least", "candidates", "sure", "right", "lowest lacks"]
    rows = [head]
    for (kind, size), part in numbers.groupby(["kind", "size"], sort=False):
        low, high = bootstrap_interval(part["held"].to_numpy())
        right = part["right"].dropna()
        rows.append(
            [
                str(kind),
                str(size),
                f"{part['held'].mean():.3f} ({low:.3f} to {high:.3f})",
                f"{part['held'].min():.2f}",
                f"{part['share'].mean():.2f}",
                f"{part['sure'].mean():.2f}",
                f"{right.mean():.2f}" if len(right) else "-",
                f"{part['lacks'].mean():.3f}",
            ]
        )
    return markdown(rows) + "\n"


def draw_figure(numbers: pd.DataFrame, directory: Path) -> None:
    """Draw how often the best is held, and how many candidates there are, by kind and size."""
    save(figure_of(numbers), directory / "15-pick-coverage")


@styled
def figure_of(numbers: pd.DataFrame) -> Figure:
    """A row per kind and size: a point per run, and their mean."""
    kinds = list(numbers.groupby(["kind", "size"], sort=False))[::-1]
    figure = new_figure(7, 0.24 * len(kinds) + 0.7)
    panels = figure.subplots(1, 2, sharey=True)
    for place, (_, part) in enumerate(kinds):
        for axes, column in zip(panels, ("held", "share"), strict=True):
            axes.plot(part[column], np.full(len(part), place), "o", ms=3, color=INK, alpha=0.35)
            axes.plot(part[column].mean(), place, "D", ms=5, color=colour_of("noise"))
    names = [f"{kind}, {size}" for (kind, size), _ in kinds]
    panels[0].set_yticks(range(len(kinds)), names)
    panels[0].axvline(LEVEL, color=INK, lw=0.8, ls=(0, (4, 3)))
    for axes in panels:
        dress(axes)
    panels[0].set_xlabel(f"how often the best is held (line: {LEVEL:.0%})")
    panels[1].set(xlabel="share that may be the best", xlim=(0, 1.03))
    return figure
