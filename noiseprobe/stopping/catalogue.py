"""The criteria by name: what there is, how one is built, what it sees, where it stops a trace."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.core.words import words_of
from noiseprobe.stopping.base import LossCriterion, NonFiniteLossWarning
from noiseprobe.stopping.dvar import DVAR
from noiseprobe.stopping.dvar_recorded import dvar_stops
from noiseprobe.stopping.ema_plateau import EMAPlateau
from noiseprobe.stopping.fixed import FixedSteps, Never
from noiseprobe.stopping.gain_interval import GainInterval
from noiseprobe.stopping.gain_share import GainShare
from noiseprobe.stopping.generalization_loss import GeneralizationLoss
from noiseprobe.stopping.held import Held, bare
from noiseprobe.stopping.patience import Patience
from noiseprobe.stopping.recent_gain import RecentGain
from noiseprobe.stopping.relative_range import RelativeRange
from noiseprobe.stopping.theil_sen import TheilSen
from noiseprobe.stopping.turn import Turn
from noiseprobe.stopping.uprising import Uprising

CRITERIA: dict[str, type[LossCriterion]] = {
    "dvar": DVAR,
    "gain-share": GainShare,
    "gain-interval": GainInterval,
    "recent-gain": RecentGain,
    "patience": Patience,
    "ema-plateau": EMAPlateau,
    "relative-range": RelativeRange,
    "theil-sen": TheilSen,
    "generalization-loss": GeneralizationLoss,
    "uprising": Uprising,
    "turn": Turn,
    "fixed": FixedSteps,
    "never": Never,
}
"""The criteria over recorded losses, by the name that `build` and the command line take."""

ON_MEANS = tuple(name for name, criterion in CRITERIA.items() if not criterion.per_sample)
"""The names of those that look at one loss per evaluation, which is what logs hold."""

Values = TypeVar("Values", float, NDArray[np.float64])

TO_BE_HIGH = {"clip", "similarity", "accuracy", "acc", "score", "psnr", "ssim"}
TO_BE_LOW = {"loss", "error"}
"""What is named by a word of the first, and by none of the second, is to be high."""


@dataclass(frozen=True)
class Outcome:
    """What a criterion does with a recorded trace.

    Attributes:
        stop_index: 0-based index of the loss at which it fires; None if it never does.
        kept_index: index of the loss whose weights to keep: the best one up to the stop, or of a
            criterion that keeps no best, the stop itself; without a stop, that of the whole trace.
        could_fire: False where it had no chance, whatever the losses: there are fewer finite ones
            than `LossCriterion.least`, no step is as late as `FixedSteps` wants it, or there is one
            loss per evaluation where a criterion looks at those of samples.
    """

    stop_index: int | None
    kept_index: int
    could_fire: bool = True


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

    Examples:
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


def build(name: str, params: Mapping[str, float] | None = None, every: int = 1) -> LossCriterion:
    """A new criterion `name`, with its defaults where `params` says nothing.

    With losses of every `every`-th step alone, what its parameters count is steps: it sees each
    loss as often as it stands for steps (`Held`), or what it counts is divided (`scaled`).

    Raises:
        UserError: there is no such criterion or parameter, or a value is outside its range.

    Examples:
        >>> criterion = build("patience", {"patience": 10})
        >>> criterion.patience, criterion.min_delta
        (10, 0.0)
    """
    found, chosen = criterion_named(name), completed(name, params)
    make: Callable[..., LossCriterion] = found
    if every == 1:
        return make(**chosen)
    if found.scaled is None:
        return Held(make(**chosen), every)
    make(**chosen)  # what is out of range is named as it was given
    counts = {key: max(least, round(chosen[key] / every)) for key, least in found.scaled.items()}
    return make(**chosen | counts)


def to_be_high(name: str) -> bool:
    """Whether what is recorded under that name is to be high: a similarity, accuracy or score.

    The name of a run that stands before it, as in exports of Weights & Biases, does not count.

    Examples:
        >>> to_be_high("val_clip_img"), to_be_high("clip-run - val_loss")
        (True, False)
    """
    words = words_of(name)
    return words.isdisjoint(TO_BE_LOW) and not words.isdisjoint(TO_BE_HIGH)


def as_losses(name: str, values: Values) -> Values:
    """What is recorded under that name as criteria see it: negated where it is to be high.

    Examples:
        >>> as_losses("clip_img", 0.7), as_losses("l_det", 0.2)
        (-0.7, 0.2)
    """
    return -values if to_be_high(name) else values


def outcome(criterion: LossCriterion, losses: ArrayLike, steps: ArrayLike | None = None) -> Outcome:
    """Where a new `criterion` stops in a recorded trace, and which step it would keep.

    It is fed with one evaluation after the other, but DVAR, which `dvar_stops` answers at once.
    Evaluations with NaN or an infinite loss count in the index; here, nothing warns of them.

    Args:
        criterion: as `build` returns it; it has seen nothing yet.
        losses: (n,), at least one evaluation; lower is better (`as_losses`). A criterion
            `per_sample` takes (n, B), the losses of the samples of one batch; of means alone, it
            knows the best and could not fire.
        steps: the training step of each, (n,), where they are known.

    Examples:
        >>> outcome(build("patience", {"patience": 2}), [0.9, 0.5, 0.6, 0.7, 0.4])
        Outcome(stop_index=3, kept_index=1, could_fire=True)
    """
    values = np.asarray(losses, dtype=np.float64)
    dvar, every = bare(criterion)
    if isinstance(dvar, DVAR):
        (stop,) = dvar_stops(values, dvar.window, [dvar.threshold], every)
    else:
        at = [None] * len(values) if steps is None else np.asarray(steps).tolist()
        updates = enumerate(zip(values.tolist(), at, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NonFiniteLossWarning)
            stop = next((index for index, pair in updates if criterion.update(*pair)), None)
    best = criterion.best_index
    end = len(values) - 1 if stop is None else stop
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    enough = int(np.count_nonzero(finite)) >= criterion.least
    alone = criterion.per_sample and values.size == len(values)
    hopeless = alone or not enough or isinstance(criterion, FixedSteps)
    could_fire = stop is not None or not hopeless
    return Outcome(stop, end if best is None else best, could_fire)


def _suggestion(word: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(word.lower().replace("_", "-"), names, n=1) or (
        difflib.get_close_matches(word.lower().replace("-", "_"), names, n=1)
    )
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names)}"
