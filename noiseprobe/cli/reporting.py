"""The command `report`: one HTML page of what was found."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from noiseprobe.cli.flags import Debug, Json, option
from noiseprobe.cli.recorded import check_output, source
from noiseprobe.cli.tables import print_json, print_next
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import visible
from noiseprobe.run.declaring import MACHINE


def report(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE...",
            parser=source,
            help="Runs, folders that hold some, logs of any tool (default: the newest run in "
            "runs/).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option(
            "Where the page is written (default: report.html in the run; of several runs, or of "
            "logs alone, in this folder).",
            MACHINE,
            metavar="FILE.html",
        ),
    ] = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page of what was found: verdict, curves, pictures, settings.

    It needs no network, nor anything beside it: send it, print it, keep it.

    Of several runs it compares methods and criteria; of a log it says where to stop.
    """
    from noiseprobe.stages.reporting import newest_run, place_of, write_report

    if not sources:
        sources = [newest_run()]
        print(f"report of the newest run: {visible(sources[0])}", file=sys.stderr)
    place = out or place_of(sources)
    if place.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {place}: the report is one HTML page; name it FILE.html")
    check_output("--out", place, sources)
    found = write_report(sources, place)
    size = place.stat().st_size
    missing = [each for run in found.runs for each in run.missing]
    if json_output:
        print_json(
            {
                "report": str(place),
                "bytes": size,
                "runs": [run.directory for run in found.runs],
                "traces": [{"log": each.log, "tag": each.tag} for each in found.traces],
                "missing": [{"what": what, "command": how} for what, how in missing],
                "notes": list(found.notes),
                "verdict": found.verdict,
                "next": missing[0][1] if missing else None,
            }
        )
        return
    print(f"Report: {visible(place)} ({size / 1e6:.1f} MB)")
    for note in found.notes:
        print(visible(note))
    if missing:
        of_which = next(run.name for run in found.runs if run.missing)
        print(visible(f"{of_which}: {missing[0][0]}" if len(found.runs) > 1 else missing[0][0]))
    print_next(missing[0][1] if missing else "")
