"""What is wrong with a log, and the series that it should have been."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from noiseprobe.analysis.faults import Fault, Limit
from noiseprobe.analysis.kohya_means import epoch_of, readable, without_mean
from noiseprobe.analysis.trend import FEWEST, trend_of
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import words_of
from noiseprobe.logs import (
    Log,
    NumberedLogWarning,
    RestartedLogWarning,
    Series,
    TruncatedLogWarning,
    choose_tags,
    find_sources,
    read_log,
    run_of,
)
from noiseprobe.logs.tags import (
    ADJUSTED,
    counts_epochs,
    is_held_out,
    is_loss,
    is_training_loss,
)
from noiseprobe.logs.tools import fixed_timesteps, tool_of

_SAID = {
    RestartedLogWarning: "restart",
    NumberedLogWarning: "numbered",
    TruncatedLogWarning: "cut off",
}
_SMOOTHED = {"smooth", "smoothed", "ema", "average", "avg", "averaged", "moving"}
_SMOOTH = 0.1  # von Neumann's ratio of a smoothed loss, at most
_TIMES = 5.0  # by how much that of the raw one beside it is larger
_ALIKE = 0.2  # how far their means may be apart, as a share
_REDRAWN = 0.02  # noise from value to value, as a share of the level: fixed draws make less
_FEW_EPOCHS = 3  # of epochs as steps, others have at least so many times more
_REGULAR = 0.8  # share of the distances between steps that are the usual one
_ENOUGH = 10


@dataclass(frozen=True)
class Examined:
    """What was found in one log.

    Attributes:
        log: the log.
        tool: the tool that wrote it, where that can be told.
        traces: all of its traces, as far as they can be read.
        faults: in the order of the traces.
        limits: of the validations among those examined.
        mended: the examined traces as they should have been, by tag; a mean that was undone is
            under a name that no longer says average.
    """

    log: Log
    tool: str | None
    traces: Sequence[Series]
    faults: Sequence[Fault]
    limits: Sequence[Limit]
    mended: Mapping[str, Series]


def examine(
    given: Sequence[Path], pattern: str | None = None, first: int | None = None
) -> list[Examined]:
    """What is wrong with each log that `given` names.

    Args:
        given: files, folders and patterns.
        pattern: the traces to examine, a tag or a glob; by default all losses.
        first: the last step of the first epoch, where the log does not tell it.

    Raises:
        UserError: a log cannot be read, or has no such trace.
    """
    return [examined(path, pattern, first) for path in find_sources(given)]


def examined(path: Path, pattern: str | None = None, first: int | None = None) -> Examined:
    """What is wrong with the log at `path`; see `examine`."""
    faults: list[Fault] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        log = read_log(path)
        log = replace(log, _read=cache(log.series))
        faults += _said(log, "", caught)
    chosen = _chosen(log, pattern)
    for tag in chosen:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            log.series(tag)
            faults += _said(log, tag, caught)
    traces = [found for tag in log.tags if (found := readable(log, tag)) is not None]
    tool = tool_of(log.kind, log.tags)
    limits: list[Limit] = []
    mended: dict[str, Series] = {}
    restarted = {fault.tag for fault in faults if fault.kind == "restart"}
    for tag in chosen:
        own, left = _of_trace(log, log.series(tag), tag in restarted, first, limits)
        faults += own
        if left is not None:
            mended[tag] = left
        if whose := fixed_timesteps(tool, tag):
            limits.append(Limit("timesteps", tag, whose))
    order = {"": -1} | {tag: place for place, tag in enumerate(chosen)}
    faults.sort(key=lambda fault: order[fault.tag])
    return Examined(log, tool, traces, faults, limits, mended)


def _chosen(log: Log, pattern: str | None) -> list[str]:
    losses = [tag for tag in log.tags if is_loss(tag) and not tag.endswith(ADJUSTED)]
    if pattern is None and losses:
        return losses
    try:
        return choose_tags(log.tags, pattern)
    except UserError as error:
        raise UserError(f"{log.path}: {error}") from None


def _said(log: Log, tag: str, caught: Sequence[warnings.WarningMessage]) -> list[Fault]:
    """What a reader has mended or could not."""
    before = str(log.path)
    found = []
    for each in caught:
        kinds = [kind for category, kind in _SAID.items() if issubclass(each.category, category)]
        told = str(each.message).removeprefix(before).lstrip(":, ")
        found += [Fault(kind, tag, kind == "restart", {"told": told}) for kind in kinds]
    return found


def _of_trace(
    log: Log, series: Series, restarted: bool, first: int | None, limits: list[Limit]
) -> tuple[list[Fault], Series | None]:
    """The faults of one trace, and the trace without those that can be mended."""
    tag, faults = series.column, []
    repeats, series = _once(series)
    faults += repeats
    epoch = first if first is not None else epoch_of(log, run_of(tag))
    found, unknown, series = without_mean(log, series, epoch, restarted)
    faults += found
    limits += unknown
    lost = _missing(series)
    found, series = _finite(series)
    faults += found
    if not len(series.steps):
        return faults, None
    if np.ptp(series.values) == 0 and len(series.values) > 2:
        value = float(series.values[0])
        faults.append(Fault("constant", tag, False, {"value": value, "points": len(series.values)}))
    found, series = _epochs(log, series, epoch)
    faults += found + lost
    smooth = _smoothed(log, series)
    faults += smooth
    faults += _redrawn(series)
    raw_beside = any(fault.facts.get("raw") for fault in smooth)
    return faults, None if raw_beside else series


def _once(series: Series) -> tuple[list[Fault], Series]:
    """Without points that others at their step replace.

    As many at each step are the parts of accumulated gradients, and stay.
    """
    steps, counts = np.unique(series.steps, return_counts=True)
    twice = counts > 1
    if not twice.any() or (
        is_training_loss(series.column) and np.count_nonzero(twice) > 0.5 * len(steps)
    ):
        return [], series
    last = np.cumsum(counts) - 1
    facts = {
        "points": int(len(series.steps) - len(steps)),
        "first": int(steps[twice][0]),
        "last": int(steps[twice][-1]),
    }
    kept = replace(series, steps=series.steps[last], values=series.values[last], samples=None)
    return [Fault("repeated", series.column, True, facts)], kept


def _finite(series: Series) -> tuple[list[Fault], Series]:
    bad = ~np.isfinite(series.values)
    if not bad.any():
        return [], series
    first = int(np.argmax(bad))
    facts = {
        "points": int(bad.sum()),
        "of": len(bad),
        "infinite": int(np.isinf(series.values).sum()),
        "step": int(series.steps[first]),
        "to_the_end": bool(bad[first:].all()) and len(bad) - first > 1,
    }
    kept = replace(series, steps=series.steps[~bad], values=series.values[~bad], samples=None)
    return [Fault("not finite", series.column, True, facts)], kept


def _epochs(log: Log, series: Series, epoch: int | None) -> tuple[list[Fault], Series]:
    """With steps for epochs, where the log tells how many an epoch has."""
    tag, steps = series.column, series.steps
    counted = [name for name in log.counters if run_of(name) == run_of(tag)]
    if counted and all(map(counts_epochs, counted)):
        epochs = readable(log, counted[0])
        if epochs is None or epochs.values[-1] != steps[-1]:
            return [], series  # they were numbered instead
        return [Fault("epochs", tag, False, {"last": int(steps[-1]), "by": "column"})], series
    if (
        counted
        or "epoch" not in words_of(tag)
        or steps[0] not in (0, 1)
        or np.any(np.diff(steps) != 1)
    ):
        return [], series
    others = [
        found
        for other in log.tags
        if run_of(other) == run_of(tag)
        and "epoch" not in words_of(other)
        and (found := readable(log, other)) is not None
    ]
    end = max((int(found.steps[-1]) for found in others), default=0)
    last = int(steps[-1])
    if end < _FEW_EPOCHS * max(last, 1):
        return [], series
    length = epoch if epoch is not None and epoch < end else None
    if length is None and last and steps[0] == 1 and end % last == 0:
        length = end // last
    facts = {"last": last, "end": end, "length": length, "by": "tag"}
    if length is None or steps[0] == 0:
        return [Fault("epochs", tag, False, facts)], series
    return [Fault("epochs", tag, True, facts)], replace(
        series, steps=np.minimum(steps * length, end)
    )


def _missing(series: Series) -> list[Fault]:
    """Points that are not there although steps are regular."""
    apart = np.diff(series.steps)
    if len(apart) < _ENOUGH:
        return []
    distances, counts = np.unique(apart, return_counts=True)
    usual = int(distances[np.argmax(counts)])
    if usual < 1 or counts.max() < _REGULAR * len(apart):
        return []
    gaps = np.flatnonzero((apart > usual) & (apart % usual == 0))
    if not len(gaps):
        return []
    lost = int((apart[gaps] // usual - 1).sum())
    facts = {"points": lost, "every": usual, "step": int(series.steps[gaps[0]]) + usual}
    return [Fault("missing", series.column, False, facts)]


def _smoothed(log: Log, series: Series) -> list[Fault]:
    """Whether a training loss is the smoothed form of another, or says so and looks like one."""
    tag, ratio = series.column, trend_of(series.values).ratio
    if not is_training_loss(tag) or not ratio <= _SMOOTH:
        return []
    named = bool(_SMOOTHED & words_of(tag))
    for other in log.tags:
        if other == tag or other.endswith(ADJUSTED) or run_of(other) != run_of(tag):
            continue
        raw = readable(log, other) if is_training_loss(other) else None
        if raw is None or not trend_of(raw.values).ratio >= _TIMES * ratio:
            continue
        mean = float(np.nanmean(raw.values))
        shared = np.isin(series.steps, raw.steps).mean()
        if shared >= 0.5 and abs(float(series.values.mean()) - mean) <= _ALIKE * abs(mean):
            rough = trend_of(raw.values).ratio
            return [
                Fault("smoothed", tag, True, {"ratio": ratio, "raw": other, "raw_ratio": rough})
            ]
    return [Fault("smoothed", tag, False, {"ratio": ratio, "raw": None})] if named else []


def _redrawn(series: Series) -> list[Fault]:
    """Whether a validation jumps from value to value as only fresh draws make it."""
    if not is_held_out(series.column) or len(series.values) < FEWEST:
        return []
    trend, level = trend_of(series.values), float(np.median(np.abs(series.values)))
    if not trend.noisy or not level or trend.noise < _REDRAWN * level:
        return []
    facts = {"ratio": trend.ratio, "share": trend.noise / level, "points": trend.points}
    return [Fault("redrawn", series.column, False, facts | {"seen": trend.seen})]
