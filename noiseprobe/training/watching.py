"""The criteria that look at a training as it goes on, each at one recorded column.

Every one that can be watched is, whichever may end training: what is recorded where one fires
answers for a run that it would have ended.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from noiseprobe.run.settings import PER_SAMPLE, RunConfig
from noiseprobe.run.traces import samples_of
from noiseprobe.stopping import (
    FixedSteps,
    LossCriterion,
    Never,
    NonFiniteLossWarning,
    Patience,
    as_losses,
    bare,
    build,
)


@dataclass
class Watch:
    """A criterion on one column of the training trace.

    Attributes:
        name: the criterion's, with the column where another of the name looks at L_det.
        column: what it looks at; where that is better when high, it is shown it negated.
        criterion: it has seen what was recorded so far.
        fires: what it said to the last value.
        fired_step: the step at which it first fired; None if it did not yet.
        best_step: the step of the criterion's best or, where it keeps none, of the lowest value;
            None before there is a finite one.
    """

    name: str
    column: str
    criterion: LossCriterion
    fires: bool = False
    fired_step: int | None = None
    best_step: int | None = None
    seen: int = 0
    lowest: float = math.inf

    def see(self, step: int, value: ArrayLike) -> bool:
        """Take the value of `step`; whether the criterion fires for the first time.

        The losses (B,) of a column whose samples are known may be given: a criterion that does not
        ask for them sees their mean.
        """
        losses = as_losses(self.column, np.asarray(value, dtype=np.float64))
        mean = float(losses.mean())
        shown: Any = losses if self.criterion.per_sample and losses.ndim else mean
        self.fires = self.criterion.update(shown, step)
        index = self.criterion.best_index
        lower = math.isfinite(mean) and mean < self.lowest
        if index == self.seen if index is not None else lower:
            self.best_step = step
        self.lowest = mean if lower else self.lowest
        self.seen += 1
        first = self.fires and self.fired_step is None
        if first:
            self.fired_step = step
        return first

    def cannot_fire(self, config: RunConfig) -> str:
        """Why it never can in a run of these settings, in one sentence; "" where it can."""
        values, least = values_of(self.column, config), self.criterion.least
        every = bare(self.criterion)[1]
        if isinstance(self.criterion, FixedSteps) and self.criterion.steps > config.steps:
            return f"{self.criterion!r} cannot fire: the run has {config.steps} steps"
        if least <= values:
            return ""
        steps = values if every == 1 else config.steps
        fits = max(steps // 4, 2 * every)
        mend = f"; give a smaller --window, such as {fits} or 20%" if self.name == "dvar" else ""
        return (
            f"{self.criterion!r} cannot fire: it needs {least} values of {self.column}, and "
            f"{config.steps} steps give {values}{mend}"
        )


def watches(config: RunConfig) -> list[Watch]:
    """All that are watched; the first is the one that may end training, unless none may.

    DVAR looks at L_det in every run, the CLIP criterion wherever pictures are compared.
    """
    dvar = Watch("dvar", "l_det", _dvar_on("l_det", config))
    # The CLIP-based criterion of Voronov et al. 2023 is patience on the similarity.
    clip = Watch("clip", "clip_img", Patience(config.patience, config.eps))
    usual = [dvar, clip] if config.draws_pictures else [dvar]
    if config.stop == "none" or (config.stop, config.watched) == ("dvar", "l_det"):
        return usual
    if config.stop == "clip":
        return usual[::-1]
    if config.stop == "dvar":
        chosen = _dvar_on(config.watched, config)
        return [Watch(f"dvar {config.watched}", config.watched, chosen), *usual]
    chosen = build(config.stop, config.params, config.spacing(config.watched))
    return [Watch(config.stop, config.watched, chosen), *usual]


def _dvar_on(column: str, config: RunConfig) -> LossCriterion:
    params = {"window": config.window, "threshold": config.threshold}
    return build("dvar", params, config.spacing(column))


def keeper(watched: list[Watch], config: RunConfig) -> Watch:
    """What knows the best step: the criterion that may end training, one of those `watched`, or
    where none may, a look at the watched column that never ends it.
    """
    return Watch("", config.watched, Never()) if config.stop == "none" else watched[0]


def distinct(watched: list[Watch], keeps: Watch) -> list[Watch]:
    """Those `watched`, and what `keeps` the best step if it is none of them."""
    return watched if any(each is keeps for each in watched) else [*watched, keeps]


def evaluated(column: str, step: int, config: RunConfig) -> bool:
    """Whether a value of the column belongs to `step`."""
    if column in PER_SAMPLE:
        return step % config.spacing(column) == 0
    return step % _every(column, config) == 0 and (step > 0 or column == "clip_img")


def values_of(column: str, config: RunConfig) -> int:
    """How many values of the column all steps of a run give."""
    at_the_start = column in (*PER_SAMPLE, "clip_img")
    return config.steps // _every(column, config) + at_the_start


def _every(column: str, config: RunConfig) -> int:
    """The steps from one value of the column to the next."""
    rare = {"clip_img": config.check_every, "recent": config.recent_steps}
    return rare.get(column.removesuffix("_se"), config.spacing(column))


def show_recorded(
    watches: Iterable[Watch], train: pd.DataFrame, tracked: pd.DataFrame, config: RunConfig
) -> None:
    """Show to each of `watches` what was recorded of its column.

    Args:
        train: the training trace.
        tracked: the losses of samples, `Run.tracked_trace`.
    """
    steps = train["step"].tolist()
    for watch in watches:
        values: NDArray[np.float64] = train[watch.column].to_numpy(np.float64)
        if watch.criterion.per_sample:
            values = samples_of(tracked, watch.column).reindex(steps).to_numpy(np.float64)
        for step, value in zip(steps, values, strict=True):
            if evaluated(watch.column, step, config):
                watch.see(step, _of_stretch(value) if watch.column == "recent" else value)


def _of_stretch(losses: ArrayLike) -> ArrayLike:
    """The losses of a stretch, which are fewer where a step of it was skipped; NaN if none."""
    found = np.atleast_1d(np.asarray(losses, dtype=np.float64))
    found = found[np.isfinite(found)]
    return found if len(found) else math.nan


def recorded(
    train: pd.DataFrame, tracked: pd.DataFrame, config: RunConfig
) -> tuple[list[Watch], Watch]:
    """All that are watched, and what knows the best step, as they are after a recorded training."""
    found = watches(config)
    keeps = keeper(found, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteLossWarning)  # was told of while it trained
        show_recorded(distinct(found, keeps), train, tracked, config)
    return found, keeps


def fired(watched: Iterable[Watch]) -> dict[str, int | None]:
    """The step at which each first fired, by its name."""
    return {watch.name: watch.fired_step for watch in watched}
