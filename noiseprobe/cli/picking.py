"""The command `pick`: which checkpoint to take."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseprobe.cli.flags import (
    Debug,
    HelpAll,
    Json,
    Offline,
    Out,
    changed,
    check_plot,
    option,
    taking,
)
from noiseprobe.cli.foreign import Budget, Caption, Checkpoints, opened_series
from noiseprobe.cli.recorded import Tag, source
from noiseprobe.cli.tables import cell, plain, print_json, print_next, print_verdict, records
from noiseprobe.core.errors import UserError
from noiseprobe.run.declaring import MACHINE
from noiseprobe.run.settings import flag

if TYPE_CHECKING:
    from noiseprobe.analysis.picking import Pick

MOST_ROWS = 40
"""Of a longer table those around the best, and every so-manieth."""


@taking("probe")
def pick(
    context: typer.Context,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE",
            parser=source,
            help="Runs; or logs of any tool; also folders and patterns.",
        ),
    ] = None,
    checkpoints: Checkpoints = None,
    caption: Caption = None,
    budget: Budget = None,
    out: Out = None,
    tag: Tag = None,
    plot: Annotated[
        Path | None,
        option("Draw the loss of each checkpoint there.", MACHINE, metavar="FILE.png"),
    ] = None,
    json_output: Json = False,
    offline: Offline = False,
    debug: Debug = False,
    help_all: HelpAll = False,
) -> None:
    """Say which checkpoint to take, how sure that is, and when training could have stopped.

    Of a run, by the loss that tells most of those that were evaluated at its checkpoints.

    Of any other log, by its validation loss, or by its training loss; with --checkpoints, which of
    these files.

    Of --checkpoints alone, by their loss on the photographs of --validation, which is evaluated
    now; --model is what they were trained on, --concept the photographs. They become a run in
    --out.
    """
    from noiseprobe.analysis.verdicts_picking import next_of_pick, of_pick

    check_plot(plot)
    logs, files = told_apart(sources or [], checkpoints)
    given = changed(context)
    if files and not logs:
        picks = [judged(files, given, caption, out, budget)]
    else:
        own = {"--caption": caption, "--budget": budget, "--out": out}
        beside = [name for name, value in own.items() if value is not None]
        for name in beside + [flag(key) for key in given]:
            raise UserError(f"{name}: it belongs to --checkpoints without a source; leave it out")
        picks = recorded(logs, tag, files)
    if plot:
        if len(picks) > 1:
            raise UserError(f"--plot: it holds one loss, and there are {len(picks)}; add --tag")
        from noiseprobe.plots.picks import plot_pick
        from noiseprobe.plots.saving import save_one

        save_one(plot_pick(picks[0].found, picks[0].loss), plot)
    if json_output:
        documents = [document(each) for each in picks]
        print_json(documents[0] if len(documents) == 1 else documents)
        return
    for each in picks:
        print_verdict(
            [f"{each.source}: {told}" if len(picks) > 1 else told for told in of_pick(each)]
        )
        print(text(each))
    print_next(next_of_pick(picks[0]))


def told_apart(
    given: Sequence[Path], checkpoints: Sequence[str] | None
) -> tuple[list[Path], list[str]]:
    """Runs and logs, and checkpoints; raises `UserError` where there are neither.

    A pattern without quotes was spelt out by the shell: its first file is then the checkpoint that
    was named, and the others seem to be sources.
    """
    from noiseprobe.run.foreign_files import look_at

    if not given and not checkpoints:
        raise UserError("nothing to pick from; name runs or logs, or --checkpoints")
    files = []
    for path in given if checkpoints else ():
        found = look_at(path)
        if found and (path.is_file() or found.told):
            files.append(path)
    logs = [path for path in given if path not in files]
    return logs, [*(checkpoints or []), *map(str, files)]


def judged(
    patterns: list[str],
    given: dict[str, Any],
    caption: str | None,
    out: Path | None,
    budget: str | None,
) -> "Pick":
    """The pick among checkpoints of another trainer, which are evaluated now."""
    from noiseprobe.analysis.picking import pick_of_run
    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.stages import foreign

    given = {"settings": "original"} | given
    with Terminal() as terminal:
        run, ready = opened_series(patterns, given, caption, out, budget, terminal, judged=True)
        foreign.judge(run, ready, terminal)
    return pick_of_run(run)


def recorded(logs: Sequence[Path], tag: str | None, patterns: Sequence[str]) -> "list[Pick]":
    """The picks of runs and logs, among the checkpoints that patterns name."""
    from noiseprobe.analysis.picking import paths_of, pick_of

    if patterns and any((path / "config.toml").is_file() for path in logs):
        raise UserError("--checkpoints: a run has its own; leave them out")
    paths = paths_of(patterns) if patterns else None
    return [each for path in logs for each in pick_of(path, tag, paths)]


def document(found: "Pick") -> dict[str, Any]:
    """What `pick --json` prints of one source."""
    from noiseprobe.analysis.verdicts_picking import next_of_pick, of_pick

    told = of_pick(found)
    return {
        "source": found.source,
        "take": found.take,
        "step": found.step,
        "unit": found.unit,
        "indistinguishable": found.found.candidates,
        "stop_step": found.stop_step,
        "loss": found.loss,
        "held_out": found.held_out,
        "sure": found.found.sure,
        "why": told[0],
        "checkpoints": records(found.found.table),
        "front": records(found.front),
        "verdict": told,
        "next": next_of_pick(found) or None,
    }


def text(found: "Pick") -> str:
    """The table of checkpoints: the loss of each, and how far that is above the lowest."""
    table = found.found.table
    if len(table) > MOST_ROWS:
        every = -(-len(table) // MOST_ROWS)
        best = found.found.best
        near = [row for row in range(len(table)) if abs(row - best) <= 3 or row % every == 0]
        table = table.iloc[near]
    rows: list[list[str]] = [[found.unit, "loss", "above the lowest", "95%", "may be the best"]]
    for row in table.to_dict("records"):
        interval = f"{cell(row['low'])} to {cell(row['high'])}"
        mark = "lowest" if row["step"] == found.found.step else "yes" if row["candidate"] else ""
        rows.append(
            [str(row["step"]), cell(row["loss"], ".4g"), cell(row["difference"]), interval, mark]
        )
    return plain(rows)
