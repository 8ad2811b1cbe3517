"""The command `fetch`: runs from a bucket into folders."""

from pathlib import Path
from typing import Annotated

import typer

from noiseprobe.cli.flags import Debug, Json
from noiseprobe.cli.tables import print_json, print_next
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import command, visible


def fetch(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="What `out` of the sweep is: s3://BUCKET/PREFIX.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the runs are to be.")],
    traces: Annotated[
        bool,
        typer.Option(
            "--traces", help="No checkpoints and states: what table, regret and pick read."
        ),
    ] = False,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Copy the runs of a sweep from a bucket into folders, each in one state and verified.

    Also while the sweep goes on. What is there already, and the same, is not copied again.
    """
    from noiseprobe.core.files import check_folder
    from noiseprobe.run.bucket import Bucket, is_url

    if not is_url(url):
        raise UserError(f"'{url}' is no address of a bucket; give s3://BUCKET/PREFIX")
    check_folder("DIR", folder)
    bucket = Bucket(url)
    runs = bucket.runs()
    if not runs:
        raise UserError(f"'{url}' holds no run of a sweep; check the address")
    bucket.copy(runs, folder, of_traces if traces else lambda path: True)
    copied = [str(folder / name) for name in runs]
    if json_output:
        print_json(copied)
    else:
        print("\n".join(map(visible, copied)))
        print_next(command("noiseprobe", "table", folder))


def of_traces(path: str) -> bool:
    """Whether a file of a run is read by commands that compare runs."""
    return not path.startswith(("checkpoints/", "result/", "cache/", "state", "class-images/"))
