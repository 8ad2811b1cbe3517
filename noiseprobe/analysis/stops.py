"""Where each criterion would have ended a recorded run, and what it would have taken.

Stopping does not change what happens before it. So a run that went on to its last step, with L_det
and CLIP checks recorded along the way, answers for all of them (Voronov et al. 2023, section 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from noiseprobe.core.errors import UserError
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import TRAIN_COLUMNS
from noiseprobe.stopping import Patience, dvar_stops, outcome

COMPARED = ("baseline", "clip", "few", "dvar")
"""All steps; patience on CLIP similarity; as many steps as that takes on average; DVAR."""


SPENT = tuple(name for name in TRAIN_COLUMNS if name.endswith("_seconds"))
"""The columns that say what a tracked loss or check took so far."""


@dataclass(frozen=True)
class Stop:
    """Where a criterion ends a run.

    `fired` is False where it never did, so that training went on to the last step. `seconds`
    is the training time up to `step` with what it took itself, and without what others took.
    """

    step: int
    fired: bool
    seconds: float


def has_l_det(train: pd.DataFrame) -> bool:
    """Whether L_det was recorded in a training trace, so that criteria can end its run."""
    return bool(np.isfinite(train["l_det"]).any())


def stops(train: pd.DataFrame, config: RunConfig, few: float | None = None) -> dict[str, Stop]:
    """Where each criterion that the training trace can answer for ends the run.

    `clip` is there where CLIP checks were recorded, `few` where that number of steps is given; it
    is rounded, and bounded by the last step. Raises `UserError` for a trace without L_det.
    """
    if not has_l_det(train):
        raise UserError("the run has no L_det recorded yet; go on with it (--resume)")
    found = {"baseline": _stop(train, int(train["step"].max()), False, ())}
    checks = train[train["clip_img"].notna()]
    if not checks.empty:
        clip = Patience(config.patience, min_delta=config.eps)
        index = outcome(clip, -checks["clip_img"]).stop_index
        row = None if index is None else int(checks["step"].iloc[index])
        found["clip"] = _fired(train, row, ("check_seconds",))
    if few is not None:
        found["few"] = few_stop(train, few)
    found["dvar"] = _fired(train, dvar_stop(train, config), ("l_det_seconds",))
    return {variant: found[variant] for variant in COMPARED if variant in found}


def few_stop(train: pd.DataFrame, few: float) -> Stop:
    """Where `few` steps, rounded and bounded by the last one, end a run."""
    step = min(max(round(few), 1), int(train["step"].max()))
    return _stop(train, step, True, ())


def dvar_stop(train: pd.DataFrame, config: RunConfig) -> int | None:
    """The step at which DVAR fires on the L_det of a training trace; None if it never does."""
    known = train[train["step"] % config.eval_every == 0]
    found = dvar_stops(known["l_det"], config.window, [config.threshold], config.eval_every)
    return None if found[0] is None else int(known["step"].iloc[found[0]])


def few_iterations(runs: Mapping[str, tuple[pd.DataFrame, RunConfig]]) -> float:
    """The average number of steps after which the CLIP criterion stops the runs, given by name.

    A run that it never stops counts with all its steps. Raises `UserError` for a run without
    checks.
    """
    return float(np.mean([clip_step(name, *run) for name, run in runs.items()]))


def clip_step(name: str, train: pd.DataFrame, config: RunConfig) -> int:
    """The step after which the CLIP criterion stops a run; raises `UserError` without checks."""
    found = stops(train, config)
    if "clip" not in found:
        raise UserError(f"'{name}' has no CLIP checks; train it with --checks")
    return found["clip"].step


def _fired(train: pd.DataFrame, step: int | None, cost: tuple[str, ...]) -> Stop:
    if step is None:
        return _stop(train, int(train["step"].max()), False, cost)
    return _stop(train, step, True, cost)


def _stop(train: pd.DataFrame, step: int, fired: bool, cost: tuple[str, ...]) -> Stop:
    row = train[train["step"] == step].iloc[-1]
    others = set(SPENT) - set(cost)
    # Traces of earlier versions do not tell what was spent on what.
    spent = sum(float(np.nan_to_num(row[column])) for column in others)
    return Stop(step, fired, float(row["seconds"]) - spent)
