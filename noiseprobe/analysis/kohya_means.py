"""Kohya's validation by steps, whose values are means over those of the first epoch before them."""

import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from noiseprobe.analysis.faults import Fault, Limit
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import metric_of
from noiseprobe.logs import Log, Series, run_of
from noiseprobe.logs.mending import changes_of, first_epoch, uncumulated
from noiseprobe.logs.tags import counts_epochs
from noiseprobe.logs.tools import KOHYA, KOHYA_STEPS

MEANS = ("cumulative", "maybe cumulative")
"""The kinds of faults that are found here."""

_SINGLE = 2.0**-25  # rounding of numbers of 32 bits
_DIGITS = 9  # that tell such a number


def without_mean(
    log: Log, series: Series, epoch: int | None = None, restarted: bool = False
) -> tuple[list[Fault], list[Limit], Series]:
    """What kohya's mean did to a series of `log`, and the series without it where it can be undone.

    Args:
        log: the log, which tells where the first epoch ended.
        series: any of its series; those that are not kohya's validation by steps come back as is.
        epoch: the last step of the first epoch; by default as far as the log tells (`epoch_of`).
        restarted: whether the training went on from a checkpoint, as far as the log tells.

    Returns:
        Faults of kind `cumulative` or `maybe cumulative`, limits of kind `unknown mean`, and the
        series; a mean that was undone is under a name that no longer says average.
    """
    run = run_of(series.column)
    if metric_of(series.column) != KOHYA_STEPS or _starts_late(log, run):
        return [], [], series
    return _undone(series, epoch if epoch is not None else epoch_of(log, run), restarted)


def epoch_of(log: Log, run: str) -> int | None:
    """The last step of kohya's first epoch, as far as the log tells."""
    before = f"{run} - " if run else ""
    for name in log.counters:
        if counts_epochs(name) and run_of(name) == run and len(log.counters) > 1:
            epochs = readable(log, name)
            if epochs is not None and (inside := epochs.values <= 1).any():
                return int(epochs.steps[inside][-1])
    current, average = (
        _readable_if(log, f"{before}loss/{name}") for name in ("current", "average")
    )
    return None if current is None or average is None else first_epoch(current, average)


def _starts_late(log: Log, run: str) -> bool:
    """Whether the first epoch that was recorded is not the first: kohya then replaces at once."""
    before = f"{run} - " if run else ""
    for name in log.counters:
        if counts_epochs(name) and run_of(name) == run:
            epochs = readable(log, name)
            return epochs is not None and bool(epochs.values[0] > 1)
    ends = _readable_if(log, f"{before}loss/epoch_average")
    return ends is not None and not log.counters and int(ends.steps[0]) > 1


def _undone(
    series: Series, epoch: int | None, restarted: bool
) -> tuple[list[Fault], list[Limit], Series]:
    tag, steps, means = series.column, series.steps, series.values
    if len(steps) < 2:
        return [], [], series
    every = int(steps[1] - steps[0])
    if epoch is None:
        hint = changes_of(means)
        if hint is None or not hint.seen:
            return [], [Limit("unknown mean", tag, KOHYA)], series
        facts = {"best": hint.best, "step": int(steps[hint.best - 1]), "gain": hint.gain}
        return [Fault("maybe cumulative", tag, False, facts)], [], series
    inside = int(np.count_nonzero(steps <= epoch))
    expected = epoch // max(int(steps[0]), 1)
    if inside < 2 and expected < 2:
        return [], [], series
    facts = {"epoch": epoch, "inside": inside, "points": len(steps), "after": len(steps) - inside}
    facts |= {"first": int(steps[0]), "last": int(steps[max(inside, 1) - 1])}
    whole = bool((steps[:inside] == every * np.arange(1, inside + 1)).all())
    reason = ""
    if restarted:
        reason = "restart"
    elif not whole or (inside < len(steps) and expected != inside):
        reason = "missing"
    elif not np.isfinite(means).all():
        reason = "not finite"
    if reason:
        return [Fault("cumulative", tag, False, facts | {"reason": reason})], [], series
    values = uncumulated(means, inside)
    facts["error"] = 2 * inside * _rounding(means)
    facts |= {"shown": int(steps[np.argmin(means)]), "true": int(steps[np.argmin(values)])}
    mended = replace(series, values=values, column=tag.removesuffix("_average"))
    return [Fault("cumulative", tag, True, facts)], [], mended


def _rounding(values: NDArray[np.float64]) -> float:
    """By how much values may be off, as a share of each, for the digits that a log kept."""
    if (values == values.astype(np.float32)).all():
        return _SINGLE
    digits = max(
        len(f"{value!r}".partition("e")[0].replace(".", "").strip("-0"))
        for value in values.tolist()
    )
    return max(_SINGLE, 0.5 * 10.0 ** (1 - digits)) if digits <= _DIGITS else 2.0**-53


def readable(log: Log, tag: str) -> Series | None:
    """The trace of a log, or None where it cannot be read; nothing is said of either."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return log.series(tag)
        except UserError:
            return None


def _readable_if(log: Log, tag: str) -> Series | None:
    return readable(log, tag) if tag in log.tags else None
