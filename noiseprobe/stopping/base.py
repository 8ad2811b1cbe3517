"""What every stopping criterion can do, and the checks and the warning that they share."""

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.core.errors import UserError


class NonFiniteLossWarning(RuntimeWarning):
    """A loss was NaN or infinite, and the criterion took it as no evidence."""


MOST = 10_000_000
"""The largest whole parameter, such as a window: beyond it memory would run out first."""

Grid = Mapping[str, tuple[float, ...]]
"""For each parameter of a criterion the values worth trying."""


class LossCriterion(ABC):
    """Reads one loss per evaluation and says when to stop; it is chosen by name.

    It is resumed by loading what `state_dict` returned into a new one that was built with the same
    arguments.

    Its constructor gives each parameter, an int or a float, a default, and keeps it as an attribute
    of the same name.

    Attributes:
        formula: when it stops, in one line of text, in the names of its parameters.
        source: where it was published.
        grid: for each parameter the values worth trying, which `analysis.tuning.tune` takes.
        scale_free: what its parameters are instead of their defaults where nothing is known of how
            often its losses were recorded; experiments/criteria/RESULTS.md has why these.
        kept_for: the parameters without which a saved state says nothing; the others are no part of
            what was seen, so that a run may be resumed with other ones.
        kept: what was seen: names of numbers and lists, each of a private attribute.
        per_sample: whether it looks at the losses of samples, (B,), rather than at their mean.
        scaled: None where each loss may be held for the steps that it stands for (`Held`); else the
            parameters that count losses, which are divided by the steps between them, and the
            least of each: of those that estimate an error, since a held loss is no new evidence.
    """

    formula: ClassVar[str]
    source: ClassVar[str]
    grid: ClassVar[Grid]
    scale_free: ClassVar[Mapping[str, float]] = {}
    kept_for: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ()
    per_sample: ClassVar[bool] = False
    scaled: ClassVar[Mapping[str, int] | None] = None

    @property
    @abstractmethod
    def least(self) -> int:
        """How many finite losses it must have seen before it can fire."""

    @property
    def best_index(self) -> int | None:
        """Which step to keep: the 0-based index of the update with the best loss.

        None where the criterion keeps no best: the step at which it stops is the one to keep.
        """
        return None

    def update(self, loss: ArrayLike, step: int | None = None) -> bool:
        """Take the next loss; True means: stop now.

        Args:
            loss: of one evaluation: a number, or of a criterion `per_sample` the losses (B,).
            step: the training step of that loss, where it is known; `FixedSteps` and `Turn` look at
                it.

        Raises:
            UserError: more than one loss is given, and it looks at one alone.

        Warns:
            NonFiniteLossWarning: the loss is NaN or infinite; it is left out and False returned.
        """
        value = loss if isinstance(loss, float) else self._alone(loss)
        if math.isfinite(value):
            return self._take(value)
        warnings.warn(
            f"the loss is {value}: {type(self).__name__} leaves it out and does not stop on it",
            NonFiniteLossWarning,
            stacklevel=2,
        )
        self._skip()
        return False

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far, as a document that JSON holds without loss."""
        state = {name: getattr(self, name) for name in self.kept_for}
        for name in self.kept:
            value = getattr(self, f"_{name}")
            if isinstance(value, deque):
                value = list(value)
            elif isinstance(value, float) and not math.isfinite(value):
                value = None  # nothing was seen yet
            state[name] = value
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state` as if all its losses had been seen here.

        Raises:
            UserError: `state` was kept for another value of a parameter of `kept_for`.
        """
        for name in self.kept_for:
            if state[name] != getattr(self, name):
                raise UserError(
                    f"{name} {getattr(self, name)}: the saved state has {name} {state[name]}; "
                    "resume with that"
                )
        for name in self.kept:
            value, new = state[name], getattr(self, f"_{name}")
            if isinstance(new, deque):
                value = deque(value, new.maxlen)
            setattr(self, f"_{name}", new if value is None else value)

    def _alone(self, loss: ArrayLike) -> float:
        losses = np.asarray(loss, dtype=np.float64)
        if losses.size != 1:
            raise UserError(
                f"{losses.size} losses: {type(self).__name__} looks at one per evaluation; give "
                "their mean"
            )
        return float(losses.item())

    def _take(self, loss: float) -> bool:
        """Take a finite loss; whether to stop. For a criterion that has no `update` of its own."""
        raise NotImplementedError

    def _skip(self) -> None:  # noqa: B027
        """Count an update that brought no evidence, where updates are counted."""

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        shown = (f"{name}={getattr(self, name):.12g}" for name in names)
        return f"{type(self).__name__}({', '.join(shown)})"


def checked_whole(name: str, value: int, least: int, what: str) -> int:
    """The parameter `name` as an int.

    Raises:
        UserError: it is not a whole number of at least `least`; `what` says of what.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not least <= value <= MOST:
        raise UserError(
            f"{name} {str(value)[:20]}: give a whole number of {what}, from {least} to {MOST:,}"
        )
    return int(value)


def checked_positive(name: str, value: float, such_as: float) -> float:
    """The parameter `name` as a float.

    Raises:
        UserError: it is not finite and above 0; `such_as` is one that is.
    """
    if not 0 < value < math.inf:
        raise UserError(f"{name} {value}: give a number above 0, such as {such_as:g}")
    return float(value)


def checked_losses(loss: ArrayLike) -> NDArray[np.float64]:
    """The losses (B,) of samples; one alone is a vector of one.

    Raises:
        UserError: they are no vector.
    """
    losses = np.atleast_1d(np.asarray(loss, dtype=np.float64))
    if losses.ndim != 1 or not losses.size:
        raise UserError(f"losses of shape {losses.shape}: give one per sample, (B,)")
    return losses


def checked_confidence(value: float) -> float:
    """The parameter `confidence` of a one-sided interval as a float.

    Raises:
        UserError: it is below 0.5, or not below 1.
    """
    if not 0.5 <= value < 1:
        raise UserError(f"confidence {value}: give a number from 0.5 and below 1, such as 0.95")
    return float(value)


def checked_share(value: float) -> float:
    """The parameter `share` as a float.

    Raises:
        UserError: it is not above 0 and below 1.
    """
    if not 0 < value < 1:
        raise UserError(f"share {value}: give a number between 0 and 1, such as 0.1")
    return float(value)
