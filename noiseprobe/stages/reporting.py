"""One page of what was found in runs and logs: gathered, and written as a single HTML file."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from noiseprobe.analysis.comparison import raw_numbers, table
from noiseprobe.analysis.picking import pick_of_series
from noiseprobe.analysis.replay import best_index
from noiseprobe.analysis.sources import Source, losses_of
from noiseprobe.analysis.verdicts import of_comparison
from noiseprobe.analysis.verdicts_picking import of_pick
from noiseprobe.analysis.verdicts_recorded import of_replays
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import written_whole
from noiseprobe.core.words import visible
from noiseprobe.logs import Series
from noiseprobe.plots.report.contents import Comparison, Report, RunReport, TraceReport
from noiseprobe.plots.report.page import page
from noiseprobe.run.directory import Run, find_runs, installed_version
from noiseprobe.run.holding import require_own_places
from noiseprobe.stages.telling import criteria_of, run_report

NAME = "report.html"
"""Of the page in a run directory, or where one works."""

MOST_TRACES = 12
"""Recorded series that one page shows."""


def newest_run(root: Path = Path("runs")) -> Path:
    """The run under `root` that was worked on last; raises `UserError` where there is none."""
    found = [path for path in root.glob("*/status.json") if (path.parent / "config.toml").is_file()]
    if not found:
        raise UserError(
            f"no run is named, and there is none in '{root}'; give a run directory or a log"
        )
    return max(found, key=lambda path: (path.stat().st_mtime, path.parent.name)).parent


def split(sources: Sequence[Path]) -> tuple[list[Run], list[Path]]:
    """The runs among `sources`, also those that folders hold, and the logs that remain."""
    places = [path for path in sources if path.is_dir() and _holds_runs(path)]
    runs = find_runs(places) if places else []
    return runs, [path for path in sources if path not in places]


def _holds_runs(folder: Path) -> bool:
    """Whether a folder is a run or holds some; other tools have a config.toml as well."""
    if (folder / "config.toml").is_file():
        return True
    return any((path.parent / "status.json").is_file() for path in folder.rglob("config.toml"))


def place_of(sources: Sequence[Path]) -> Path:
    """Where the page goes by default: into the run, if there is one alone, else where one is."""
    runs, _ = split(sources)
    return runs[0].directory / NAME if len(runs) == 1 else Path(NAME)


def write_report(sources: Sequence[Path | str], out: Path | str) -> Report:
    """Write one page about runs and logs to `out`, whole or not at all; returns what it tells.

    Raises:
        UserError: a source cannot be read.
    """
    found = gather([Path(source) for source in sources])
    for run in found.runs:
        require_own_places(Path(run.directory))
    text = page(found)
    with written_whole(Path(out)) as beside:
        beside.write_text(text, encoding="utf-8")
    return found


def gather(sources: Sequence[Path]) -> Report:
    """What a page about these runs and logs tells, as labelled data.

    Raises:
        UserError: a source cannot be read.
    """
    runs, logs = split(sources)
    told = [run_report(run, pictures=len(runs) == 1) for run in runs]
    traces, notes = _traces(logs)
    comparison = None
    if len(runs) > 1:
        comparison, more = _comparison(sources, runs)
        notes += more
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    made = f"noiseprobe {installed_version('noiseprobe')}, {now}"
    return Report(_title(told, traces), told, traces, comparison, notes, made)


def _title(runs: Sequence[RunReport], traces: Sequence[TraceReport]) -> str:
    logs = list(dict.fromkeys(Path(each.log).name for each in traces))
    if len(runs) > 1:
        return f"{len(runs)} runs"
    names = [each.name for each in runs] + logs
    return visible(" and ".join(names) if len(names) < 3 else f"{len(names)} logs")


def _comparison(given: Sequence[Path], runs: Sequence[Run]) -> tuple[Comparison, list[str]]:
    try:
        raw = raw_numbers(runs)
    except UserError as error:
        return Comparison([], "", pd.DataFrame()), [f"Criteria are not compared: {error}."]
    summary = table(raw)
    verdict = of_comparison(raw, summary, given, [run.directory for run in runs])
    return Comparison(verdict.sentences, verdict.next, summary), []


def _traces(logs: Sequence[Path]) -> tuple[list[TraceReport], list[str]]:
    if not logs:
        return [], []
    found = losses_of(logs, None, undo=True)
    notes = []
    if len(found) > MOST_TRACES:
        notes.append(
            f"The first {MOST_TRACES} of {len(found)} series are shown; name fewer logs for others."
        )
    return [_trace(source) for source in found[:MOST_TRACES]], notes


def _trace(source: Source) -> TraceReport:
    series, rows = source.trace, criteria_of(source)
    best, dvar = best_index(series), next(row for row in rows if row["criterion"] == "dvar")
    told = of_replays([source], rows)
    with suppress(UserError):  # too few values to compare, which the sentences say
        told = of_pick(pick_of_series(series)) + told
    return TraceReport(
        log=series.name,
        tag=series.column,
        verdict=told,
        values=_table(series),
        training=_table(source.training),
        training_tag=source.training.column if source.training else "",
        best_step=None if best is None else int(series.steps[best]),
        stop=dvar["stop_step"],
        criteria=rows,
    )


def _table(series: Series | None) -> pd.DataFrame:
    if series is None:
        return pd.DataFrame({"step": [], "loss": []})
    known = np.isfinite(series.values)
    return pd.DataFrame({"step": series.steps[known], "loss": series.values[known]})
