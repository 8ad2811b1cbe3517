"""Checkpoints that another trainer left, as commands take them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from noiseprobe.cli.flags import option
from noiseprobe.cli.training import require_same
from noiseprobe.core.errors import UserError
from noiseprobe.run.declaring import FOREIGN

if TYPE_CHECKING:
    from noiseprobe.core.progress import Reporter
    from noiseprobe.run.directory import Run
    from noiseprobe.run.foreign import Series
    from noiseprobe.training.preparing import Personalization

Checkpoints = Annotated[
    list[str] | None,
    option(
        "What another trainer left, in place of a run: a pattern in quotes, files or a folder; "
        "repeatable.",
        FOREIGN,
        metavar="GLOB",
    ),
]
Caption = Annotated[
    str | None,
    option(
        "The caption that training had, or a file with one per line (default: the .txt beside "
        "each photograph).",
        FOREIGN,
        metavar="TEXT|FILE",
    ),
]
Budget = Annotated[
    str | None,
    option(
        "Choose redraws and samples such that it takes about so long, e.g. 10min, and say how "
        "sure that is.",
        FOREIGN,
        metavar="TIME",
    ),
]


def opened_series(
    patterns: list[str],
    given: dict[str, Any],
    caption: str | None,
    out: Path | None,
    budget: str | None,
    reporter: "Reporter",
    judged: bool = False,
) -> "tuple[Run, Personalization]":
    """A run about checkpoints that another trainer left, and what it works on.

    A new one, or that in `out` to go on with, if it is about the same ones with these settings.

    `judged`: they are only to be judged, as `noiseprobe.stages.foreign.start_foreign` has it.
    """
    from noiseprobe.run.directory import Run, new_directory
    from noiseprobe.stages import foreign
    from noiseprobe.stages.budget import parse_budget
    from noiseprobe.training.preparing import prepare

    if budget and {"replicates", "probe_batch"} & given.keys():
        raise UserError("--budget: it chooses --replicates and --probe-batch; leave them out")
    seconds = None if budget is None else parse_budget(budget)
    series = foreign.find_series(patterns, given, caption)
    config = foreign.settings_of(series, given)
    if out is not None and (out / "config.toml").is_file():
        require_about(out, series)
        require_same(out, config, but=("replicates", "probe_batch") if budget else ())
        reporter.note(f"{out} holds this run already: going on with it")
        run = Run.open(out)
        ready = prepare(run.config, run)
    else:
        place = out or new_directory(config.concept, config.method)
        run, ready = foreign.start_foreign(series, config, place, reporter, seconds, judged)
    reporter.note(f"run: {run.directory}")
    first, last = series.steps[1 if len(series.steps) > 1 else 0], series.steps[-1]
    reporter.note(
        f"model {config.model}, {len(series.steps)} checkpoints with the model itself, "
        f"{series.unit} {first} to {last}, {ready.model.device}, {ready.config.precision}"
    )
    for note in series.notes:
        reporter.note(note)
    return run, ready


def require_about(out: Path, series: "Series") -> None:
    """Raise `UserError` unless the run in `out` is about just these checkpoints."""
    from noiseprobe.run.directory import Run

    before = Run.open(out).foreign
    if before is None or replace(before, notes=()) != replace(series, notes=()):
        raise UserError(
            f"--out: '{out}' holds a run about other checkpoints; choose another folder"
        )
