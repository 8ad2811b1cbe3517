"""The criteria by name: what there is, how one is built, and where one stops a recorded trace."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.base import LossCriterion, NonFiniteLossWarning
from noiseprobe.stopping.dvar import DVAR, dvar_stops
from noiseprobe.stopping.ema_plateau import EMAPlateau
from noiseprobe.stopping.fixed import FixedSteps, Never
from noiseprobe.stopping.gain_share import GainShare
from noiseprobe.stopping.generalization_loss import GeneralizationLoss
from noiseprobe.stopping.patience import Patience
from noiseprobe.stopping.relative_range import RelativeRange
from noiseprobe.stopping.theil_sen import TheilSen
from noiseprobe.stopping.uprising import Uprising

CRITERIA: dict[str, type[LossCriterion]] = {
    "dvar": DVAR,
    "gain-share": GainShare,
    "patience": Patience,
    "ema-plateau": EMAPlateau,
    "relative-range": RelativeRange,
    "theil-sen": TheilSen,
    "generalization-loss": GeneralizationLoss,
    "uprising": Uprising,
    "fixed": FixedSteps,
    "never": Never,
}
"""The criteria over recorded losses, by the name that `build` and the command line take."""


@dataclass(frozen=True)
class Outcome:
    """What a criterion does with a recorded trace.

    Attributes:
        stop_index: 0-based index of the loss at which it fires; None if it never does.
        kept_index: index of the loss whose weights to keep: the best one up to the stop, or of a
            criterion that keeps no best, the stop itself; without a stop, that of the whole trace.
    """

    stop_index: int | None
    kept_index: int


def criterion_named(name: str) -> type[LossCriterion]:
    """The class of the criterion `name`; raises `UserError` if there is none."""
    if name not in CRITERIA:
        raise UserError(f"criterion {name!r}: {_suggestion(name, CRITERIA)}")
    return CRITERIA[name]


def completed(name: str, params: Mapping[str, float] | None = None) -> dict[str, float]:
    """All parameters of the criterion `name`: those in `params`, and defaults for the rest.

    A whole number is an int where the default is one.

    Raises:
        UserError: there is no such criterion or parameter.

    Example:
        >>> completed("dvar", {"threshold": 0.3})
        {'window': 310, 'threshold': 0.3}
    """
    parameters = inspect.signature(criterion_named(name)).parameters
    usual = {key: parameter.default for key, parameter in parameters.items()}
    for key in params or {}:
        if key not in usual:
            raise UserError(f"{name}: no parameter {key!r}; {_suggestion(key, usual)}")
    chosen = usual | dict(params or {})
    return {
        key: int(value) if isinstance(usual[key], int) and value == value // 1 else value
        for key, value in chosen.items()
    }


def build(name: str, params: Mapping[str, float] | None = None) -> LossCriterion:
    """A new criterion `name`, with its defaults where `params` says nothing.

    Raises:
        UserError: there is no such criterion or parameter, or a value is outside its range.

    Example:
        >>> criterion = build("patience", {"patience": 10})
        >>> criterion.patience, criterion.min_delta
        (10, 0.0)
    """
    make: Callable[..., LossCriterion] = criterion_named(name)
    return make(**completed(name, params))


def outcome(criterion: LossCriterion, losses: ArrayLike) -> Outcome:
    """Where a new `criterion` stops in a recorded trace, and which step it would keep.

    It is fed with one loss after the other, but DVAR, which `dvar_stops` answers at once. Losses
    that are NaN or infinite count in the index; here, nothing warns of them.

    Args:
        criterion: as `build` returns it; it has seen nothing yet.
        losses: shape (n,), at least one.

    Example:
        >>> outcome(build("patience", {"patience": 2}), [0.9, 0.5, 0.6, 0.7, 0.4])
        Outcome(stop_index=3, kept_index=1)
    """
    values = np.asarray(losses, dtype=np.float64)
    if isinstance(criterion, DVAR):
        (stop,) = dvar_stops(values, criterion.window, [criterion.threshold])
    else:
        stop = _streamed_stop(criterion, values.tolist())
    best = criterion.best_index
    end = len(values) - 1 if stop is None else stop
    return Outcome(stop, end if best is None else best)


def _streamed_stop(criterion: LossCriterion, losses: Iterable[float]) -> int | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteLossWarning)
        return next((index for index, loss in enumerate(losses) if criterion.update(loss)), None)


def _suggestion(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(word.lower().replace("_", "-"), names, n=1) or (
        difflib.get_close_matches(word.lower().replace("-", "_"), names, n=1)
    )
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names)}"
