"""How the training of a run ended, why, and which of its checkpoints to take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.stopping import as_losses, outcome
from noiseprobe.stopping.window import shown_window
from noiseprobe.training.watching import Watch, evaluated, fired, watches

UNFINISHED = (None, "interrupt")
"""What stopped a training that may go on."""


@dataclass(frozen=True)
class Ending:
    """How a training ended.

    Attributes:
        run: the run directory.
        steps, most: the steps that were taken, and how many there may have been.
        seconds: that the training took.
        stopped_by: the criterion's name, or `steps`; `interrupt` or None of a training that is not
            at its end.
        why: what the criterion found, in words; "" where no criterion ended the training.
        fired: the step at which each watched criterion first fired, by its name.
        cannot_fire: a line for each that could not fire in such a run.
        take: the path of the checkpoint to take; None where none is left, or training may go on.
        take_why: which one that is, in words.
    """

    run: str
    steps: int
    most: int
    seconds: float
    stopped_by: str | None
    why: str
    fired: Mapping[str, int | None]
    cannot_fire: Sequence[str]
    take: str | None
    take_why: str


def ending_of(run: Run) -> Ending:
    """How the training of `run` ended.

    The checkpoint to take is the one nearest to the step that the criterion keeps, its best or the
    stop; where none ended the training it is the last, as nothing that is recorded on what is not
    trained on says that an earlier one is better.
    """
    config, train, stopped_by = run.config, run.train_trace(), run.status["stopped_by"]
    watched, steps = watches(config), int(train["step"].max())
    ended = config.stop != "none" and stopped_by == config.stop
    keep, which = steps, "the last step"
    if ended:
        keep = _kept(watched[0], train, config)
        which = "where it stopped" if keep == steps else f"its best, step {keep}"
    nearest = run.nearest_checkpoint(keep)
    path = run.checkpoint(nearest)
    at = "" if which.startswith("where") else "of "
    return Ending(
        run=str(run.directory),
        steps=steps,
        most=config.steps,
        seconds=float(train["seconds"].max()),
        stopped_by=stopped_by,
        why=_why(watched[0], train) if ended else "",
        fired=fired(train, config),
        cannot_fire=[told for each in watched if (told := each.cannot_fire(config))],
        take=str(path) if path.is_dir() and stopped_by not in UNFINISHED else None,
        take_why=f"{at if nearest == keep else 'nearest to '}{which}",
    )


def _kept(watch: Watch, train: pd.DataFrame, config: RunConfig) -> int:
    """The step that the criterion keeps: of its best value, or where it stops."""
    rows = train[[evaluated(watch.column, step, config) for step in train["step"].tolist()]]
    losses = as_losses(watch.column, rows[watch.column].to_numpy(np.float64))
    found = outcome(watch.criterion, losses, rows["step"].to_numpy())
    return int(rows["step"].iloc[found.kept_index])


def _why(watch: Watch, train: pd.DataFrame) -> str:
    if watch.name == "dvar":
        window, threshold = (getattr(watch.criterion, name) for name in ("window", "threshold"))
        ratio = float(train["dvar_ratio"].iloc[-1])
        told = shown_window(window)
        return (
            f"the variance of the last {told} values of L_det was {ratio:.4g} times that of all, "
            f"below {threshold:g}"
        )
    return f"{watch.criterion!r} on {watch.column}, which is {watch.criterion.formula}"
