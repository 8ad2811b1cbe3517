"""How the training of a run ended, why, and which of its checkpoints to take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from noiseprobe.analysis.crossing import crossed, recommended
from noiseprobe.run.directory import Run
from noiseprobe.stopping import bare
from noiseprobe.stopping.window import shown_window
from noiseprobe.training.watching import Watch, fired, recorded

UNFINISHED = (None, "interrupt")
"""What stopped a training that may go on."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out loss of a training: at its start, its lowest and its last, and when it was that.

    Attributes:
        best_step: the step of the lowest.
        first, best, last: the losses.
    """

    best_step: int
    first: float
    best: float
    last: float


@dataclass(frozen=True)
class Stretch:
    """What the last stretch of steps brought of the training loss, and all of them together.

    Attributes:
        first_step, last_step: between which.
        gain, low, high: by how much the loss fell there, and the 95% interval.
        total: by how much it fell over all stretches.
    """

    first_step: int
    last_step: int
    gain: float
    low: float
    high: float
    total: float


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
        result: the folder that holds it; None where it was not put there.
        held_out: how the held-out loss went; None without one.
        crossed: how it went on average with each photograph left out, at the recommended step: the
            row of `noiseprobe.analysis.crossing.crossed`; None without `--cross`.
        stretch: what the last stretch brought; None where that was not tracked.
        foreign: of how many checkpoints of another trainer this is, and what their steps are:
            `step` or `epoch`; None of a training of its own.
        skipped: steps that were not taken, since a loss or gradient was not finite.
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
    result: str | None = None
    held_out: HeldOut | None = None
    crossed: Mapping[str, float] | None = None
    stretch: Stretch | None = None
    foreign: tuple[int, str] | None = None
    skipped: int = 0

    @property
    def best_step(self) -> int | None:
        """The step at which the held-out loss was lowest; None without one."""
        return self.held_out.best_step if self.held_out else None


def ending_of(run: Run) -> Ending:
    """How the training of `run` ended.

    The checkpoint to take is the one nearest to the step that is kept: the best by what is watched,
    or the last.
    """
    config, train, stopped_by = run.config, run.train_trace(), run.status["stopped_by"]
    watched, keeps = recorded(train, run.tracked_trace(), config)
    steps, best = int(train["step"].max()), keeps.best_step
    ended = config.stop != "none" and stopped_by == config.stop
    keep, which = steps, "where it stopped" if ended else "the last step"
    if config.keeps_best and best not in (None, steps):
        keep, which = best, f"the best of {config.watched}, step {best}"
    nearest = run.nearest_checkpoint(keep)
    path = run.checkpoint(nearest)
    at = "" if which.startswith("where") else "of "
    take_why = f"{at if nearest == keep else 'nearest to '}{which}"
    anew = Run(run.refit_directory).status
    if config.refit and anew["stopped_by"] not in UNFINISHED:
        path = Run(run.refit_directory).checkpoint(anew["step"])
        take_why = f"trained anew on all photographs, {anew['step']} steps"
    series, held = run.foreign, _held_out(train)
    # The loss on what was trained on falls on, whatever the pictures: it cannot choose.
    known = stopped_by not in UNFINISHED and (series is None or held is not None)
    return Ending(
        run=str(run.directory),
        steps=steps,
        most=config.steps,
        seconds=float(train["seconds"].max()),
        stopped_by=stopped_by,
        why=_why(watched[0], train) if ended else "",
        fired=fired(watched),
        cannot_fire=[told for each in watched if (told := each.cannot_fire(config))],
        take=str(path) if path.exists() and known else None,
        take_why=take_why,
        result=str(run.result_directory) if run.result_directory.is_dir() else None,
        held_out=held,
        crossed=_crossed(run) if config.cross else None,
        stretch=_stretch(train, config.recent_steps),
        foreign=None if series is None else (len(series.checkpoints) - 1, series.unit),
        skipped=int((train["skipped"] == 1).sum()),
    )


def _held_out(train: pd.DataFrame) -> HeldOut | None:
    losses = train.set_index("step")["l_val"]
    losses = losses[np.isfinite(losses)]
    if losses.empty:
        return None
    first, last = float(losses.iloc[0]), float(losses.iloc[-1])
    return HeldOut(int(losses.idxmin()), first, float(losses.min()), last)


def _stretch(train: pd.DataFrame, steps: int) -> Stretch | None:
    known = train[np.isfinite(train["recent"])]
    if known.empty:
        return None
    last, gain = int(known["step"].iloc[-1]), -float(known["recent"].iloc[-1])
    reach = 1.96 * float(known["recent_se"].iloc[-1])
    total = -float(known["recent"].sum())
    return Stretch(last - steps, last, gain, gain - reach, gain + reach, total)


def _crossed(run: Run) -> Mapping[str, float] | None:
    folds = [fold.train_trace() for fold in run.cross_runs()]
    if not folds or any(fold.empty for fold in folds):
        return None
    table = crossed(folds)
    return dict(table.set_index("step", drop=False).loc[recommended(table)])


def _why(watch: Watch, train: pd.DataFrame) -> str:
    if watch.name == "dvar":
        dvar, _ = bare(watch.criterion)
        window, threshold = (getattr(dvar, name) for name in ("window", "threshold"))
        ratio = float(train["dvar_ratio"].iloc[-1])
        told = f"{shown_window(window)}{' of the' if window < 1 else ''}"
        return (
            f"the variance of L_det over the last {told} steps was {ratio:.4g} times that over "
            f"all, below {threshold:g}"
        )
    return f"{watch.criterion!r} on {watch.column}: {watch.criterion.formula}"
