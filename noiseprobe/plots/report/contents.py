"""What a report tells, as labelled data: gathered by `noiseprobe.stages.reporting`, drawn here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from noiseprobe.core.words import in_markdown


@dataclass(frozen=True)
class Picture:
    """A picture as it stands in the page.

    Attributes:
        source: the whole picture as a `data:` address.
        alt: what it shows, for those who do not see it.
        caption: what is written below it.
    """

    source: str = field(repr=False)
    alt: str
    caption: str


@dataclass(frozen=True)
class Drawn:
    """What was drawn from one checkpoint.

    Attributes:
        training: of prompts that training had.
        validation: of prompts that it never saw.
    """

    training: Sequence[Picture]
    validation: Sequence[Picture]


@dataclass(frozen=True)
class Pictures:
    """The pictures of a run.

    Attributes:
        photographs: what was taught.
        drawn: by step.
        left_out: the steps whose pictures would have made the page too large.
    """

    photographs: Sequence[Picture] = ()
    drawn: Mapping[int, Drawn] = field(default_factory=dict)
    left_out: Sequence[int] = ()


@dataclass(frozen=True)
class Losses:
    """The losses of a training, and where it ended.

    Attributes:
        training: columns step and loss, of the training batches.
        tracked: by name, `l_det` or `l_val`: columns step, change, low, high, loss; the first four
            as `noiseprobe.analysis.tracked.changes` gives them, the last the mean itself.
        stop: the criterion that ended the training and the step; None if none did.
        best: the name of a loss in `tracked` and the step at which it is lowest; None without one.
    """

    training: pd.DataFrame
    tracked: Mapping[str, pd.DataFrame]
    stop: tuple[str, int] | None = None
    best: tuple[str, int] | None = None


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run, and how they compare.

    Attributes:
        table: a row per checkpoint: step; loss, difference, low, high and candidate as
            `noiseprobe.analysis.best_of.BestOf` has them; likeness and prompt, as they were
            measured; l_det and l_val. What is not known is NaN, and `candidate` None.
        loss: the name of the loss that decides; "" where none was evaluated.
        front: the steps that no other beats in both likeness and prompt.
        unit: what a step is: `step` or `epoch`.
        take: the step of the checkpoint that the verdict names; None without one.
    """

    table: pd.DataFrame
    loss: str = ""
    front: Sequence[int] = ()
    unit: str = "step"
    take: int | None = None


@dataclass(frozen=True)
class RunReport:
    """One run.

    Attributes:
        name: of its folder.
        directory: its path, as it was given.
        about: what was trained on what, in a line.
        verdict: what `noiseprobe run` says of it, sentences, the most important first.
        picked: what `noiseprobe pick` says of its checkpoints; empty where nothing tells.
        next: a command that is useful next; "" for none.
        ratios: what `noiseprobe.analysis.noise_to_signal` gives of each single factor; may be
            empty.
        redraws: over how many redraws, and of how many samples.
        losses, checkpoints, pictures: see there.
        criteria: a row per criterion, as `noiseprobe.analysis.replay.replayed` gives it, and
            `held_out`, the held-out loss at the step that it keeps (None without one).
        settings, environment: as they were recorded, in words.
        command: what makes it again; "" where that is not one command.
        missing: what is not there and how to get it: (sentence, command).
        row: what a table of several runs says of it, by column.
    """

    name: str
    directory: str
    about: str
    verdict: Sequence[str]
    picked: Sequence[str]
    next: str
    ratios: pd.DataFrame
    redraws: tuple[int, int]
    losses: Losses
    checkpoints: Checkpoints
    pictures: Pictures
    criteria: Sequence[Mapping[str, Any]]
    settings: Mapping[str, str]
    environment: Mapping[str, str]
    command: str
    missing: Sequence[tuple[str, str]]
    row: Mapping[str, str]


@dataclass(frozen=True)
class TraceReport:
    """One series of losses in a log that is no run.

    Attributes:
        log, tag: where it stands, and as what.
        verdict: sentences.
        values: columns step and loss.
        training, training_tag: the same of the training loss beside it; may be empty.
        best_step: where it is best; None where no value is finite.
        stop: DVAR's stop; None where it does not fire.
        criteria: as in `RunReport`.
    """

    log: str
    tag: str
    verdict: Sequence[str]
    values: pd.DataFrame
    training: pd.DataFrame
    training_tag: str
    best_step: int | None
    stop: int | None
    criteria: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """Several runs beside each other.

    Attributes:
        verdict, next: as in `RunReport`.
        table: what `noiseprobe.analysis.comparison.table` gives; may be empty.
    """

    verdict: Sequence[str]
    next: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Report:
    """All that one page tells.

    Attributes:
        title: of the page.
        runs, traces: what was given.
        comparison: None of a single run.
        notes: what was left out, and why.
        made: by what, and when.
    """

    title: str
    runs: Sequence[RunReport]
    traces: Sequence[TraceReport]
    comparison: Comparison | None
    notes: Sequence[str]
    made: str

    def __repr__(self) -> str:
        runs, traces = len(self.runs), len(self.traces)
        return f"Report({self.title!r}, runs={runs}, traces={traces}, made={self.made!r})"

    def _repr_markdown_(self) -> str:
        """In a notebook: the verdict."""
        return in_markdown(self.verdict)

    @property
    def verdict(self) -> list[str]:
        """All sentences of the verdict; of several runs or traces with their names before them."""
        told = list(self.comparison.verdict) if self.comparison else []
        several = len(self.runs) + len(self.traces) > 1
        for run in self.runs:
            own = [*run.verdict, *run.picked]
            told += [f"{run.name}: {each}" if several else each for each in own]
        for trace in self.traces:
            before = f"{trace.log}, {trace.tag}"
            told += [f"{before}: {each}" if several else each for each in trace.verdict]
        return told
