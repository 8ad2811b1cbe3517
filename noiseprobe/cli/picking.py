"""The command `pick`: which checkpoint to take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from noiseprobe.cli.flags import Debug, Json, check_plot, option
from noiseprobe.cli.recorded import Sources, Tag
from noiseprobe.cli.tables import cell, plain, print_json, print_next, print_verdict, records
from noiseprobe.core.errors import UserError
from noiseprobe.run.declaring import MACHINE

if TYPE_CHECKING:
    from noiseprobe.analysis.picking import Pick

MOST_ROWS = 40
"""Of a longer table those around the best, and every so-manieth."""


def pick(
    sources: Sources,
    tag: Tag = None,
    plot: Annotated[
        Path | None,
        option("Draw the loss of each checkpoint there.", MACHINE, metavar="FILE.png"),
    ] = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say which checkpoint to take, how sure that is, and when training could have stopped.

    Of a run, by the loss that tells most of those that were evaluated at its checkpoints.

    Of any other log, by its validation loss, or by its training loss.
    """
    from noiseprobe.analysis.picking import pick_of
    from noiseprobe.analysis.verdicts_picking import next_of_pick, of_pick

    check_plot(plot)
    picks = [each for path in sources for each in pick_of(path, tag)]
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


def document(found: "Pick") -> dict[str, Any]:
    """What `pick --json` prints of one source."""
    from noiseprobe.analysis.verdicts_picking import next_of_pick, of_pick

    told = of_pick(found)
    return {
        "source": found.source,
        "take": found.take,
        "step": found.step,
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
    rows: list[list[str]] = [["step", "loss", "above the lowest", "95%", "may be the best"]]
    for row in table.to_dict("records"):
        interval = f"{cell(row['low'])} to {cell(row['high'])}"
        mark = "lowest" if row["step"] == found.found.step else "yes" if row["candidate"] else ""
        rows.append(
            [str(row["step"]), cell(row["loss"], ".4g"), cell(row["difference"]), interval, mark]
        )
    return plain(rows)
