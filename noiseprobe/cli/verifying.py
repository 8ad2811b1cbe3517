"""The command `verify`: whether a run directory is whole."""

from pathlib import Path
from typing import Annotated

import typer

from noiseprobe.cli.flags import Debug, Json
from noiseprobe.cli.tables import print_json
from noiseprobe.core.words import command, visible


def verify(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Remove what is damaged, so that going on makes it again; say how."
        ),
    ] = False,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say whether runs are whole: files and checksums, columns, gaps in steps, versions.

    Exit code 1 where something is wrong.
    """
    from noiseprobe.run.directory import Run
    from noiseprobe.run.verifying import findings

    document, wrong = [], 0
    for run in map(Run, runs):
        done: list[str] = []
        if repair:
            from noiseprobe.stages.mending import mend

            done = mend(run)
        found = findings(run)
        wrong += sum(each.wrong for each in found)
        document.append(
            {
                "run": str(run.directory),
                "whole": not any(each.wrong for each in found),
                "wrong": [_told(each.path, each.what) for each in found if each.wrong],
                "notes": [_told(each.path, each.what) for each in found if not each.wrong],
                "repaired": done,
            }
        )
        if not json_output:
            for line in done:
                print(visible(line))
            for each in found:
                print(visible(f"{'' if each.wrong else 'note: '}{each.path} {each.what}"))
            if document[-1]["whole"]:
                print(visible(f"{run.directory}: whole"))
            elif not repair:
                told = command("noiseprobe", "verify", run.directory, "--repair")
                print(f"what can be mended, this does: {told}")
    if json_output:
        print_json(document)
    if wrong:
        raise typer.Exit(1)


def _told(path: Path, what: str) -> dict[str, str]:
    return {"path": str(path), "what": what}
