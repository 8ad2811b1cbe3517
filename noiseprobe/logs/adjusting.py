"""The timestep-adjusted loss: what a training loss says once its timestep is accounted for.

The loss of a diffusion model depends on the timestep far more than on what was learned so far. A
log that has the timestep beside the loss tells how much of it that was.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.core.words import metric_of, words_of
from noiseprobe.logs.log import Log, Series, one_line
from noiseprobe.logs.tags import ADJUSTED, is_training_loss, run_of

LEARNED = 50
"""The first points, from which the dependence on the timestep is first learned."""

KNOTS = 8
HALF_LIFE = 500.0
"""Points after which one counts half in the regression: what is learned changes the dependence."""

_BLOCK = 10
_OF_TIMESTEPS = {"train", "training", "mean", "avg", "average", "current", "batch", "step"}
_SMOOTHED = {"average", "avg", "ema", "smooth", "smoothed"}


def timestep_adjusted(losses: ArrayLike, timesteps: ArrayLike) -> NDArray[np.float64]:
    """Each loss less what its timestep makes of it, by a regression on the points before it alone.

    With φ(t) the hat functions on `KNOTS` quantiles of the first timesteps, and β the weighted
    least squares of the losses so far on φ of their timesteps (half-life `HALF_LIFE` points, a
    little ridge), the loss y_i at t_i becomes

        y_i - β · (φ(t_i) - mean of φ over the first `LEARNED` points),

    a control variate (Owen, Monte Carlo theory, methods and examples, 2013, section 8.9): what the
    loss would be at the timesteps of those first points. A loss that does not depend on the
    timestep stays as it is in the mean, and so does a trend, where timesteps are drawn whatever was
    learned; what is left of the spread is noise that the timestep does not explain. The level may
    be another than that of the losses, by a constant. Nothing looks ahead: β is brought up to date
    every 10 points, from those before them.

    Args:
        losses: (n,), or (n, B) for the samples of each batch.
        timesteps: of the same shape; of a batch's mean loss, the mean timestep, which explains less
            of it the larger the batch.

    Returns:
        (n,): for (n, B), the mean of each batch. NaN for the first `LEARNED` points, and where the
        loss or the timestep of any sample is NaN or infinite, which no regression learns from.

    Raises:
        UserError: the shapes differ, or have other than one or two axes.

    Examples:
        >>> t = np.random.default_rng(0).uniform(0, 1000, 2000)
        >>> loss = np.exp(-t / 300) + np.linspace(0.2, 0.1, 2000)
        >>> adjusted = timestep_adjusted(loss, t)[LEARNED:]
        >>> bool(np.std(adjusted) < np.std(loss) / 5)
        True
    """
    values, times = (np.asarray(each, dtype=np.float64) for each in (losses, timesteps))
    if values.shape != times.shape or values.ndim not in (1, 2):
        raise UserError(
            f"timesteps: shape {times.shape} for losses of {values.shape}; give both as (n,), or "
            "(n, B)"
        )
    count = len(values)
    values, times = values.reshape(count, -1), times.reshape(count, -1)
    adjusted = np.full(count, np.nan)
    known = np.flatnonzero(np.isfinite(values).all(axis=1) & np.isfinite(times).all(axis=1))
    if len(known) > LEARNED:
        adjusted[known[LEARNED:]] = _adjusted(values[known], times[known])
    return adjusted


def with_adjusted(log: Log) -> Log:
    """The log, with a timestep-adjusted trace for each training loss that has timesteps beside it.

    Such a trace is named after its loss, as `loss (timestep-adjusted)`. It has the points of the
    loss at whose step a timestep was recorded too, without the first `LEARNED` of them. A loss that
    its name says is an average has none.
    """
    pairs = {f"{loss} {ADJUSTED}": (loss, times) for loss, times in _pairs(log.tags)}
    if not pairs:
        return log

    def series(tag: str) -> Series:
        return _series(log, tag, *pairs[tag]) if tag in pairs else log.series(tag)

    return replace(log, tags=(*log.tags, *pairs), _read=series)


def _pairs(tags: Sequence[str]) -> list[tuple[str, str]]:
    """Each training loss, and the timesteps of the same run."""
    times: dict[str, str] = {}
    for tag in tags:
        if (words := words_of(tag)) & {"timestep", "timesteps"} and not (
            words - _OF_TIMESTEPS - {"timestep", "timesteps"}
        ):
            times.setdefault(run_of(tag), tag)
    return [
        (tag, times[run_of(tag)])
        for tag in tags
        if run_of(tag) in times and is_training_loss(tag) and not _SMOOTHED & words_of(tag)
    ]


def _series(log: Log, tag: str, loss: str, times: str) -> Series:
    losses, found = log.series(loss), log.series(times)
    places = np.searchsorted(found.steps, losses.steps, side="right") - 1  # the last of equal ones
    both = (places >= 0) & (found.steps[np.maximum(places, 0)] == losses.steps)
    if np.array_equal(found.steps, losses.steps):
        places = np.arange(len(places))
    values = timestep_adjusted(losses.values[both], found.values[places[both]])
    kept = ~np.isnan(values)
    if not kept.any():
        raise UserError(
            f"{log.path}: no {one_line(tag)}: {np.count_nonzero(both)} points of "
            f"{one_line(metric_of(loss))} have a timestep at their step, and it is learned from "
            f"the first {LEARNED}; name another trace with --tag"
        )
    return Series(losses.name, losses.steps[both][kept], values[kept], tag)


def _adjusted(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The adjusted losses (n - `LEARNED`,) of finite ones, both (n, B)."""
    knots = np.unique(np.quantile(times[:LEARNED], np.linspace(0, 1, KNOTS)))
    hats = _hats(times, knots)
    usual = hats[:LEARNED].mean(axis=(0, 1))
    decay = 0.5 ** (1 / HALF_LIFE)
    products = np.zeros((len(knots), len(knots)))
    sums, total = np.zeros(len(knots)), np.zeros(len(knots))
    weighted = weight = 0.0
    adjusted = np.empty(len(values) - LEARNED)
    for first in [0, *range(LEARNED, len(values), _BLOCK)]:
        block = slice(first, min(first + _BLOCK, len(values)) if first else LEARNED)
        own, losses = hats[block], values[block]
        if first:
            # The hats sum to 1, so that the level may be taken off, and the ridge leaves it alone.
            slopes = np.linalg.solve(
                products + np.eye(len(knots)), sums - total * (weighted / weight)
            )
            explained = (own - usual) @ slopes
            adjusted[block.start - LEARNED : block.stop - LEARNED] = (losses - explained).mean(1)
        old = decay ** len(losses)
        fresh = np.repeat(decay ** np.arange(len(losses) - 1.0, -1, -1), losses.shape[1])
        flat = own.reshape(-1, len(knots))
        products = old * products + (flat * fresh[:, None]).T @ flat
        sums, total = old * sums + flat.T @ (fresh * losses.ravel()), old * total + flat.T @ fresh
        weighted, weight = (
            old * weighted + float(fresh @ losses.ravel()),
            old * weight + fresh.sum(),
        )
    return adjusted


def _hats(times: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """The hat functions on the knots, (..., knots): they sum to 1; beyond the ends all is level."""
    shape = (*times.shape, len(knots))
    flat = [np.interp(times.ravel(), knots, own) for own in np.eye(len(knots))]
    return np.column_stack(flat).reshape(shape)
