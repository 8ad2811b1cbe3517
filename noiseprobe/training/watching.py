"""The criteria that look at a training as it goes on, each at one recorded column.

Every one that can be watched is, whichever may end training: what is recorded where one fires
answers for a run that it would have ended.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from noiseprobe.run.settings import RunConfig
from noiseprobe.stopping import (
    DVAR,
    FixedSteps,
    LossCriterion,
    NonFiniteLossWarning,
    Patience,
    as_losses,
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
    """

    name: str
    column: str
    criterion: LossCriterion
    fires: bool = False
    fired_step: int | None = None

    def see(self, step: int, value: float) -> bool:
        """Take the value of `step`; whether the criterion fires for the first time."""
        self.fires = self.criterion.update(as_losses(self.column, value), step)
        first = self.fires and self.fired_step is None
        if first:
            self.fired_step = step
        return first

    def cannot_fire(self, config: RunConfig) -> str:
        """Why it never can in a run of these settings, in one sentence; "" where it can."""
        values, least = values_of(self.column, config), self.criterion.least
        if isinstance(self.criterion, FixedSteps) and self.criterion.steps > config.steps:
            return f"{self.criterion!r} cannot fire: the run has {config.steps} steps"
        if least <= values:
            return ""
        fits = max(values // 4, 2)
        mend = f"; give a smaller --window, such as {fits} or 20%" if self.name == "dvar" else ""
        return (
            f"{self.criterion!r} cannot fire: it needs {least} values of {self.column}, and "
            f"{config.steps} steps give {values}{mend}"
        )


def watches(config: RunConfig) -> list[Watch]:
    """All that are watched; the first is the one that may end training, unless none may.

    DVAR looks at L_det in every run, the CLIP criterion wherever pictures are compared.
    """
    dvar = Watch("dvar", "l_det", DVAR(config.window, config.threshold))
    # The CLIP-based criterion of Voronov et al. 2023 is patience on the similarity.
    clip = Watch("clip", "clip_img", Patience(config.patience, config.eps))
    usual = [dvar, clip] if config.draws_pictures else [dvar]
    if config.stop == "none" or (config.stop, config.watched) == ("dvar", "l_det"):
        return usual
    if config.stop == "clip":
        return usual[::-1]
    if config.stop == "dvar":
        chosen = DVAR(config.window, config.threshold)
        return [Watch(f"dvar {config.watched}", config.watched, chosen), *usual]
    return [Watch(config.stop, config.watched, build(config.stop, config.params)), *usual]


def evaluated(column: str, step: int, config: RunConfig) -> bool:
    """Whether a value of the column belongs to `step`."""
    if column == "l_det":
        return step % config.eval_every == 0
    return step % config.check_every == 0 if column == "clip_img" else step > 0


def values_of(column: str, config: RunConfig) -> int:
    """How many values of the column all steps of a run give."""
    every = {"l_det": config.eval_every, "clip_img": config.check_every}.get(column)
    return config.steps // every + 1 if every else config.steps


def shown(train: pd.DataFrame, config: RunConfig) -> list[Watch]:
    """All that are watched, as they are after a recorded training trace."""
    found = watches(config)
    steps = train["step"].tolist()
    for watch in found:
        values = train[watch.column].to_numpy(np.float64).tolist()
        for step, value in zip(steps, values, strict=True):
            if evaluated(watch.column, step, config):
                watch.see(step, value)
    return found


def fired(train: pd.DataFrame, config: RunConfig) -> dict[str, int | None]:
    """The step at which each watched criterion first fires in a recorded trace, by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteLossWarning)  # was told of while it trained
        return {watch.name: watch.fired_step for watch in shown(train, config)}
