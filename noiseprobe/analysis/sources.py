"""What replay and regret look at: the losses of each source, its judge, and its run's own DVAR."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from noiseprobe.analysis.doctor import examined
from noiseprobe.analysis.kohya_means import MEANS
from noiseprobe.analysis.origins import grouped, marks_of
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import command, metric_of
from noiseprobe.logs import Log, Series, choose_tags, read_logs, run_of
from noiseprobe.logs.tags import is_training_loss
from noiseprobe.logs.tools import KOHYA_STEPS
from noiseprobe.stopping import completed, criterion_named, to_be_high

Defaults = Literal["run", "any log", "criterion"]
"""Where parameters come from that nobody gave."""


@dataclass(frozen=True)
class Source:
    """The losses of one training.

    Attributes:
        trace: the losses that criteria see.
        dvar: DVAR's parameters, where the losses came from a run directory.
        training: the loss on what is trained on, where it was recorded beside a better one and no
            tag was asked for.
    """

    trace: Series
    dvar: Mapping[str, float] = field(default_factory=dict)
    training: Series | None = None


@dataclass(frozen=True)
class Judged:
    """The losses of one training and a judge's verdicts on it.

    Attributes:
        trace: the losses that criteria see.
        judge: the judge by step; it may be sparser than the losses.
        maximize: whether the judge is to be high; else it is to be low.
        dvar: DVAR's parameters, where the losses came from a run directory.
        origin: the name of the first trace of the same origin (`noiseprobe.analysis.origins`); by
            default its own.
    """

    trace: Series
    judge: Series
    maximize: bool
    dvar: Mapping[str, float] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", self.origin or self.name)

    @property
    def name(self) -> str:
        """The name of the source of both."""
        return self.trace.name


def params_on(
    source: Source | Judged, criterion: str, given: Mapping[str, float]
) -> dict[str, float]:
    """All parameters of a criterion on these losses: given, those of the run itself, or defaults.

    A log that is no run directory has losses at any distance, and a number of them says nothing:
    its defaults are the criterion's `scale_free`.

    Raises:
        UserError: there is no such criterion or parameter.
    """
    return completed(criterion, {**_usual(source, criterion), **given})


def defaults_on(
    source: Source | Judged, criterion: str, given: Mapping[str, float]
) -> Defaults | None:
    """Where the parameters come from that were not given; None where all were.

    Those of the `run` itself; such as fit `any log`; or the `criterion`'s own.
    """
    missing = params_on(source, criterion, given).keys() - given.keys()
    if not missing:
        return None
    usual = _usual(source, criterion)
    if missing.isdisjoint(usual):
        return "criterion"
    return "run" if source.dvar else "any log"


def _usual(source: Source | Judged, criterion: str) -> Mapping[str, float]:
    """What is not the criterion's own default on these losses, where nothing else is given."""
    if source.dvar:
        return source.dvar if criterion == "dvar" else {}
    return criterion_named(criterion).scale_free


class MeansWarning(RuntimeWarning):
    """The values of a trace are means over those before them."""


def losses_of(given: Sequence[Path], pattern: str | None, undo: bool = False) -> list[Source]:
    """All series that are meant by `pattern`, a tag or a glob; see `choose_tags`.

    Args:
        given: files, folders and patterns.
        pattern: which; None for those that are best looked at.
        undo: give the values behind kohya's means, where they can be told.

    Raises:
        UserError: there is no such source or tag; the message names both.

    Warns:
        PassedOverWarning: something that was found inside a folder is left out; see `read_logs`.
        MeansWarning: values are kohya's means over its first epoch, or may be.
    """
    return [
        Source(
            _series(log, tag, undo),
            _dvar_of(log.path),
            _beside(log, tag) if pattern is None else None,
        )
        for log, tags in read_logs(given, lambda tags: choose_tags(tags, pattern))
        for tag in tags
    ]


def _series(log: Log, tag: str, undo: bool = False) -> Series:
    """The trace of a log, with a warning where its values are means over those before them."""
    if metric_of(tag) != KOHYA_STEPS:
        return log.series(tag)
    found = examined(log.path, tag)
    for fault in found.faults:
        if fault.kind not in MEANS:
            continue
        undone = undo and fault.mended
        may = "may be" if fault.kind == "maybe cumulative" else "are"
        how = "has them without" if fault.mended else "says why it cannot be undone"
        if fault.kind == "maybe cumulative":
            how = "says more"
        mend = ["--out", "mended.csv"] if fault.mended else []
        told = command("noiseprobe", "doctor", log.path, *mend)
        warnings.warn(
            f"{log.path}, {tag}: values {may} means over all of kohya's first epoch so far, which "
            f"show a lowest late; {'undone here' if undone else f'{told} {how}'}",
            MeansWarning,
            stacklevel=3,
        )
        if undone:
            return next(iter(found.mended.values()))
    return log.series(tag)


def _beside(log: Log, tag: str) -> Series | None:
    """The training loss of the same run, if `tag` is another loss and it can be read."""
    same = [other for other in log.tags if run_of(other) == run_of(tag) and other != tag]
    found = [other for other in same if is_training_loss(other)]
    if not found or is_training_loss(tag):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with it concerns the chosen one alone
        try:
            return log.series(choose_tags(found, None)[0])
        except UserError:
            return None


def judged_losses(
    given: Sequence[Path], judge: str, pattern: str | None, maximize: bool | None
) -> list[Judged]:
    """The losses of each source with the judge that was recorded beside them, and its origin.

    Args:
        given: the sources; each must hold both. A table of several runs, as Weights & Biases
            exports them, gives each run with its own judge.
        judge: the judge's tag, or a pattern that one tag matches, or one of each such run.
        pattern: the same of the losses; by default `l_det`, or what else is plain.
        maximize: whether the judge is to be high; by default its tag says so.

    Raises:
        UserError: a source cannot be read, or lacks either, or the choice is not clear.

    Warns:
        MeansWarning: as `losses_of`.
    """
    judged, marks = [], []
    for log, tags in read_logs(given, lambda tags: _flat(_pairs(tags, judge, pattern))):
        pairs = _pairs(log.tags, judge, pattern)
        for trace, verdict in pairs:
            if trace not in tags or verdict not in tags:
                continue  # a single point, or unreadable, and passed over
            high = to_be_high(verdict) if maximize is None else maximize
            losses = _series(log, trace)
            if len(pairs) > 1:
                losses = replace(losses, name=f"{losses.name}: {run_of(trace)}")
            judged.append(Judged(losses, _series(log, verdict), high, _dvar_of(log.path)))
            marks.append(marks_of(log.path, run_of(trace) if len(pairs) > 1 else ""))
    first = grouped(marks)
    return [replace(each, origin=judged[first[place]].name) for place, each in enumerate(judged)]


def listed(given: Sequence[Path]) -> list[dict[str, Any]]:
    """What is recorded where, as far as it can be read: one object per source and tag."""
    rows = []
    for log, tags in read_logs(given, list, partly=True):
        for tag in tags:
            series = log.series(tag)
            ends = {"first_step": int(series.steps[0]), "last_step": int(series.steps[-1])}
            rows.append({"trace": str(log.path), "tag": tag, "points": len(series.values)} | ends)
    return rows


def _dvar_of(source: Path) -> dict[str, float]:
    """DVAR's parameters in a run directory; nothing for any other source."""
    from noiseprobe.run.directory import Run

    if not (source / "config.toml").is_file():
        return {}
    config = Run(source).config
    return {"window": config.window, "threshold": config.threshold}


def _pairs(tags: Sequence[str], judge: str, pattern: str | None) -> list[tuple[str, str]]:
    """The tag of the losses and that of the judge, for each run of which a log tells."""
    verdicts = _chosen(tags, judge, "--judge")
    if len({run_of(verdict) for verdict in verdicts}) < len(verdicts):
        raise UserError(f"--judge {judge} is {', '.join(verdicts)}; choose one of them")
    pairs = []
    for verdict in verdicts:
        beside = [tag for tag in tags if run_of(tag) == run_of(verdict)]
        others = beside if pattern else [tag for tag in beside if tag != verdict]
        if not others:
            raise UserError(f"nothing but the judge {verdict}; record a loss beside it")
        losses = _chosen(others, pattern, "--tag")
        if len(losses) > 1:
            raise UserError(f"--tag {pattern} is {', '.join(losses)}; choose one of them")
        pairs.append((losses[0], verdict))
    return pairs


def _flat(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(tag for pair in pairs for tag in pair))


def _chosen(tags: Sequence[str], pattern: str | None, flag: str) -> list[str]:
    try:
        return choose_tags(tags, pattern)
    except UserError as error:
        raise UserError(str(error).replace("--tag", flag)) from None
