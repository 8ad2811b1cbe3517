"""Whether a run directory is whole: its files, their checksums, columns, and gaps in steps."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.run.directory import PACKAGES, Run, installed_version
from noiseprobe.run.holding import began
from noiseprobe.run.traces import (
    METRICS_COLUMNS,
    PROBE_COLUMNS,
    TRACKED_COLUMNS,
    TRAIN_COLUMNS,
    gap_in,
    parts,
    read_part,
)

KEPT = ("traces", "checkpoints")
"""Folders of a run in which nothing is to be but what noiseprobe wrote; of a tracker the first."""

COLUMNS = {
    **{"train": TRAIN_COLUMNS, "tracked": TRACKED_COLUMNS, "metrics": METRICS_COLUMNS},
    **dict.fromkeys(("probe", "held-out", "sobol"), PROBE_COLUMNS),
}
"""By trace."""


_OF_STEPS = re.compile(r"(?:traces/(?:train|tracked)/part|checkpoints/step)-(\d+)(?![^/.])")
"""The names of what a training makes, with its first step."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        path: what it is about.
        what: what is the matter, as a person would say it after the path.
        wrong: whether something is wrong, rather than worth knowing.
        step: the first training step that what is wrong takes away; None where it takes none.
    """

    path: Path
    what: str
    wrong: bool = True
    step: int | None = None


def findings(run: Run) -> list[Finding]:
    """What is wrong with a run directory, or worth knowing, and with those in it.

    Raises `UserError` where the folder is none.
    """
    directory = run.directory
    if began(directory):
        what = "a start that was cut off before anything was saved; the same command begins anew"
        return [Finding(directory, what, wrong=False)]
    if not any((directory / name).exists() for name in ("config.toml", manifest.NAME, "traces")):
        raise UserError(f"'{directory}' is not a run directory; give the folder that --out named")
    found = [*_listed(run), *_settings(run), *_traces(run), *_versions(run)]
    for inner in (*run.cross_runs(), Run(run.refit_directory)):
        if (inner.directory / "config.toml").exists():
            found += findings(inner)
    return found


def _listed(run: Run) -> Iterator[Finding]:
    """Files that differ from what was written, are missing, or are nobody's."""
    directory = run.directory
    if not (directory / manifest.NAME).is_file():
        what = "has no list of what was written, as of an earlier version: damage may go unnoticed"
        yield Finding(directory, what, wrong=False)
        return
    told = manifest.manifest_of(directory)
    for name in sorted(told.versions):
        place, step = directory / name, step_of(Path(name))
        if place.is_file():
            # What was removed may still be there, where a crash came first; it is read if whole.
            if wrong := manifest.difference(place, told.versions[name]):
                yield Finding(place, wrong, step=step)
        elif name in told.last & told.current.keys():
            what = "was about to be written when that was cut off; going on writes it"
            yield Finding(place, what, wrong=False)
        elif name in told.current:
            yield Finding(place, "is missing", step=step)
    for folder in KEPT[: 1 if run.tracker_file.is_file() else None]:
        for place in manifest.files_in(directory / folder):
            inside = place.relative_to(directory)
            # What is being written may be a folder, whose files have names of their own.
            whole = not any(part.endswith(".partial") for part in inside.parts)
            if whole and (name := inside.as_posix()) not in told.versions:
                what = "was put there by something else than noiseprobe"
                yield Finding(place, what, step=step_of(Path(name)))


def step_of(name: Path) -> int | None:
    """The first training step that a file of a run takes away, where it is damaged."""
    found = _OF_STEPS.match(name.as_posix())
    return int(found[1]) if found else None


def _settings(run: Run) -> Iterator[Finding]:
    file = run.directory / "config.toml"
    if not file.is_file():
        if not run.tracker_file.is_file():
            yield Finding(file, "is missing")
        return
    try:
        _ = run.config
    except manifest.DamagedFile:
        return  # which is told by its checksum
    except UserError as error:
        yield Finding(file, f"cannot be read: {error}")


def _traces(run: Run) -> Iterator[Finding]:
    """Parts that have not the columns they should, and steps that are missing or there twice."""
    for name, columns in COLUMNS.items():
        directory = run.directory / "traces" / name
        steps: list[int] = []
        for part in parts(directory):
            try:
                there = set(pq.read_schema(part).names)
                rows = read_part(part, {"step": "int64"}, "")["step"].tolist()
            except manifest.DamagedFile:
                continue
            except (UserError, pa.ArrowException, OSError, ValueError) as error:
                first = str(error).partition("\n")[0].partition(";")[0]
                yield Finding(part, f"cannot be read: {first}", step=step_of(_inside(run, part)))
                continue
            if not run.tracker_file.is_file() and (lacking := _needed(name, columns) - there):
                yield Finding(part, f"has no column {', '.join(sorted(lacking))}")
            steps += rows
        if name == "train":
            own = not run.tracker_file.is_file() and run.foreign is None
            if wrong := gap_in(np.array(steps, dtype=np.int64), every=own):
                yield Finding(directory, f"is not whole: {wrong}", step=_until(steps, own) + 1)
            elif own and _done(run) and (not steps or steps[-1] < _done(run)):
                last = steps[-1] if steps else -1
                what = f"ends at step {last}, though {_done(run)} were taken"
                yield Finding(directory, what, step=last + 1)


def _needed(name: str, columns: dict[str, str]) -> set[str]:
    """Columns without which a part tells nothing; others may be of a later version."""
    return {"step", "loss", "l_det"} if name == "train" else {*columns}


def _inside(run: Run, place: Path) -> Path:
    return place.relative_to(run.directory)


def _until(steps: list[int], every: bool) -> int:
    """The last step up to which nothing is missing."""
    last = -1
    for step in steps:
        if (step != last + 1) if every else (step <= last):
            break
        last = step
    return last


def _done(run: Run) -> int:
    """How many training steps the status says were taken; 0 where it cannot be read."""
    try:
        return int(run.status["step"])
    except (UserError, KeyError, TypeError, ValueError):
        return 0


def _versions(run: Run) -> Iterator[Finding]:
    """What has another version now than when the run was started."""
    file = run.directory / "environment.json"
    if not file.is_file():
        if (run.directory / "config.toml").is_file():
            yield Finding(file, "is missing")
        return
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        then = {str(name): version for name, version in about["versions"].items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        return  # damaged, which is told by its checksum
    changed = [
        f"{name} {then[name]}, now {installed_version(name)}"
        for name in PACKAGES
        if name in then and then[name] != installed_version(name)
    ]
    if changed:
        what = (
            f"the run was started with {'; '.join(changed)}: what is added may differ by rounding"
        )
        yield Finding(file, what, wrong=False)
