"""The run directory: where each stage reads what the one before it wrote (docs/files.md)."""

import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import remove, write_json
from noiseprobe.core.reading import json_of
from noiseprobe.draws.draws import FRESH
from noiseprobe.run.foreign import Series
from noiseprobe.run.holding import LOCK, held, of_a_start
from noiseprobe.run.resolving import read_toml, recorded, write_toml
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import (
    METRICS_COLUMNS,
    OF_A_TRACKER,
    PROBE_COLUMNS,
    TRACKED_COLUMNS,
    TRAIN_COLUMNS,
    first_step,
    gap_in,
    parts,
    read_trace,
    without_wrong,
)

NUM_TIMESTEPS, TIME_AXIS = 1000, "timestep"
"""How many a model has, and what they are called, where its run does not say so."""

PACKAGES = ("noiseprobe", "torch", "diffusers", "transformers", "numpy", "pandas", "pyarrow")


class Run:
    """A run directory: its paths, and what was recorded in it."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.checkpoints_directory = self.directory / "checkpoints"
        self.train_directory = self.directory / "traces" / "train"
        self.tracked_directory = self.directory / "traces" / "tracked"
        self.probe_directory = self.directory / "traces" / "probe"
        self.sobol_directory = self.directory / "traces" / "sobol"
        self.metrics_directory = self.directory / "traces" / "metrics"
        self.samples_directory = self.directory / "samples"
        self.held_out_directory = self.directory / "traces" / "held-out"
        self.tracker_file = self.directory / "tracker.json"
        self.result_directory = self.directory / "result"
        self.refit_directory = self.directory / "refit"
        self.cross_directory = self.directory / "cross"
        self.cache_directory = self.directory / "cache"
        self.class_images_directory = self.directory / "class-images"
        self.state_file = self.directory / "state.pt"
        self.state_before_file = self.directory / "state-before.pt"
        self.log_with_file = self.directory / "log-with.json"
        self.logs_directory = self.directory / "logs"
        self.figures_directory = self.directory / "figures"

    def __repr__(self) -> str:
        try:
            status = self.status
        except UserError:
            return f"Run('{self.directory}')"
        return f"Run('{self.directory}', stage='{status['stage']}', step={status['step']})"

    def _repr_html_(self) -> str | None:
        """In a notebook: what it is, how far it is, and what there is of it.

        None where its settings cannot be read; then it is shown as elsewhere.
        """
        from html import escape

        try:
            config, status = self.config, self.status
        except UserError:
            return None
        rows = {
            "run": str(self.directory),
            "concept": Path(config.concept).name,
            "model": config.model,
            "method": config.method,
            "stage": status["stage"],
            "steps": f"{status['step']} of at most {config.steps}",
            "ended by": status["stopped_by"] or "",
            "checkpoints": ", ".join(map(str, self.checkpoint_steps())),
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th>"
            f"<td style='text-align:left'>{escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        return f"<table>{cells}</table>"

    @classmethod
    def create(
        cls,
        directory: Path | str,
        config: RunConfig,
        device: str,
        num_train_timesteps: int = NUM_TIMESTEPS,
        time_axis: str = TIME_AXIS,
        series: Series | None = None,
    ) -> "Run":
        """Start a run in `directory`, which must be new or empty; raises `UserError` if not.

        How many times the model's noise path has, and what they are called, goes with it, and the
        checkpoints of another trainer that it is about. The
        settings are written last: where they are, the run has begun, and where they are not, what
        is there is of a start that was cut off, and makes room.
        """
        cls.require_vacant(directory)
        run = cls(directory)
        times = {"num_train_timesteps": num_train_timesteps, "time_axis": time_axis}
        about = environment(config, device) | times
        try:
            with run.held():
                for left in run.directory.iterdir():
                    if left.name != LOCK:
                        remove(left)
                manifest.begin(run.directory)
                write_json(run.directory / "environment.json", about)
                run.write_status("created", 0, None)
                if series:
                    series.write(run.directory)
                write_toml(config, run.directory / "config.toml")
        except OSError as error:
            raise UserError(
                f"--out: cannot write to '{directory}' ({error.strerror}); choose another folder"
            ) from error
        return run

    @staticmethod
    def require_vacant(directory: Path | str) -> None:
        """Raise `UserError` if `directory` is something else than a new or empty folder."""
        place = Path(directory)
        if place.exists() and not (place.is_dir() and all(map(of_a_start, place.iterdir()))):
            raise UserError(
                f"--out: '{directory}' is not an empty folder; choose another, or add --resume"
            )

    @classmethod
    def open(cls, directory: Path | str) -> "Run":
        """An existing run; raises `UserError` if `directory` holds none."""
        run = cls(directory)
        if not (run.directory / "config.toml").is_file():
            raise UserError(
                f"'{directory}' is not a run directory (no config.toml in it); "
                "give the folder that --out named"
            )
        return run

    def held(self) -> AbstractContextManager[None]:
        """Hold it against other processes; see `noiseprobe.run.holding.held`."""
        return held(self.directory)

    @property
    def config(self) -> RunConfig:
        """Every setting that the run was started with."""
        before_layouts = {"fixed_batch": "random"}  # which runs without the key had
        file = self.directory / "config.toml"
        manifest.check(file)
        return recorded(before_layouts | read_toml(file))

    @property
    def status(self) -> dict[str, Any]:
        """Stage reached, steps done, what stopped training (None: nothing yet), probe seconds."""
        at_first = {"stage": "created", "step": 0, "stopped_by": None, "probe_seconds": 0.0}
        told = self._document("status.json")
        if told is None:
            return at_first
        if not all(isinstance(told.get(key), type(at_first[key])) for key in ("stage", "step")):
            path = self.directory / "status.json"
            raise UserError(f"'{path}' is damaged: it tells no stage and step; restore it")
        return told

    @property
    def environment(self) -> dict[str, Any]:
        """What its numbers may depend on beside its settings; empty where that was not recorded."""
        return self._document("environment.json") or {}

    @property
    def num_timesteps(self) -> int:
        """How many timesteps the model was trained with."""
        return int(self.environment.get("num_train_timesteps", NUM_TIMESTEPS))

    @property
    def time_axis(self) -> str:
        """What an axis of timesteps is called: `timestep`, or of a flow `1000·σ`."""
        return str(self.environment.get("time_axis", TIME_AXIS))

    def write_status(self, stage: str, step: int, stopped_by: str | None) -> None:
        """Record the stage reached."""
        changed = {"stage": stage, "step": step, "stopped_by": stopped_by}
        write_json(self.directory / "status.json", self.status | changed)

    def add_probe_seconds(self, seconds: float) -> None:
        """Count the time of one more probe, which may have taken several goes."""
        changed = {"probe_seconds": self.status["probe_seconds"] + seconds}
        write_json(self.directory / "status.json", self.status | changed)

    def record(self, config: RunConfig) -> None:
        """Record changed settings, where a run goes on with others than it was started with."""
        before = self.config
        if config.precision == "auto":  # which the start has settled
            config = config.model_copy(update={"precision": before.precision})
        if config != before:
            write_toml(config, self.directory / "config.toml")

    def metrics_trace(self) -> pd.DataFrame:
        """One row per measured step and metric; columns `noiseprobe.run.traces.METRICS_COLUMNS`."""
        again = f"this measures it anew: noiseprobe measure {self.directory} --steps STEP"
        return read_trace(self.metrics_directory, METRICS_COLUMNS, again)

    def samples(self, step: int, prompts: str) -> Path:
        """The pictures drawn at a step, side by side, from `training` or `validation` prompts."""
        return self.samples_directory / f"step-{step:08d}-{prompts}.png"

    @property
    def initializer(self) -> dict[str, Any] | None:
        """The word that a CLIP chose, and its scores; None where it did not choose."""
        return self._document("initializer.json")

    def write_initializer(self, chosen: dict[str, Any]) -> None:
        """Record what `initializer` returns."""
        write_json(self.directory / "initializer.json", chosen)

    @property
    def log_with(self) -> dict[str, Any] | None:
        """Under which id other tools log it, and what they were told; None where none does."""
        return self._document("log-with.json")

    @property
    def foreign(self) -> Series | None:
        """The checkpoints that another trainer left; None where the run trained its own."""
        return Series.read(self.directory)

    def checkpoint(self, step: int) -> Path:
        """The directory of the checkpoint after `step` steps; another trainer's may be a file."""
        if (series := self.foreign) is not None:
            return series.at(step).path
        return self.checkpoints_directory / f"step-{step:08d}"

    def checkpoint_steps(self) -> list[int]:
        """The steps of all checkpoints, ascending."""
        if (series := self.foreign) is not None:
            return series.steps
        names = [path.name for path in self.checkpoints_directory.glob("step-*")]
        return sorted(int(name.removeprefix("step-")) for name in names)

    def nearest_checkpoint(self, step: int) -> int:
        """The step of the checkpoint that is nearest to `step`, the earlier of two.

        A step that was measured counts although its checkpoint was deleted; without either, it is
        `step` itself.
        """
        measured = map(first_step, parts(self.metrics_directory))
        known = {*self.checkpoint_steps(), *measured} or {step}
        return min(known, key=lambda each: (abs(each - step), each))

    def train_trace(self) -> pd.DataFrame:
        """One row per training step; columns `noiseprobe.run.traces.TRAIN_COLUMNS`.

        Raises `UserError` where a step is missing or there twice.
        """
        trace = read_trace(self.train_directory, TRAIN_COLUMNS, self._train_again)
        own = not self.tracker_file.is_file() and self.foreign is None
        if wrong := gap_in(trace["step"].to_numpy(), every=own):
            raise UserError(f"'{self.train_directory}': {wrong}; {self._train_again}")
        return trace

    def tracked_trace(self) -> pd.DataFrame:
        """One row per sample of a fixed batch and evaluation; columns `TRACKED_COLUMNS`."""
        return read_trace(self.tracked_directory, TRACKED_COLUMNS, self._train_again)

    @property
    def _train_again(self) -> str:
        if self.tracker_file.is_file():
            return OF_A_TRACKER
        return f"what can be made again, this prepares: noiseprobe verify {self.directory} --repair"

    def cross_runs(self) -> list["Run"]:
        """The trainings that left out one photograph each (`--cross`), in the order of names."""
        return [Run(path.parent) for path in sorted(self.cross_directory.glob("*/config.toml"))]

    def probe_trace(self) -> pd.DataFrame:
        """One row per evaluated sample; columns `noiseprobe.run.traces.PROBE_COLUMNS`.

        These are the redraws that every checkpoint has; `seen_trace` has the others. Of batches
        that grew at some checkpoints only, as where a probe was interrupted, it has the samples
        that all checkpoints have: a loss over another batch would pass for a change by training.
        For the same reason it lacks samples without a finite loss somewhere, with a warning
        (`noiseprobe.run.traces.without_wrong`).
        """
        return self._probed(self.probe_directory, fresh=False)

    def held_out_trace(self) -> pd.DataFrame:
        """As `probe_trace`, of the photographs that are not trained on."""
        return self._probed(self.held_out_directory, fresh=False)

    def seen_trace(self) -> pd.DataFrame:
        """The redraw of each setting that a checkpoint shares with no other, as `probe_trace`.

        Empty where a version before them has probed.
        """
        return self._probed(self.probe_directory, fresh=True)

    def _probed(self, directory: Path, *, fresh: bool) -> pd.DataFrame:
        flag = " --held-out" if directory == self.held_out_directory else ""
        again = f"this evaluates it anew: noiseprobe probe {self.directory}{flag}"
        trace = read_trace(directory, PROBE_COLUMNS, again)
        smallest = trace.groupby("step")["sample"].max().min()
        of_kind = (trace["replicate"] >= FRESH) == fresh
        asked = trace[of_kind & (trace["sample"] <= smallest)]
        return without_wrong(asked).reset_index(drop=True)

    def sobol_trace(self) -> pd.DataFrame:
        """One row per sample of the Sobol design; columns `noiseprobe.run.traces.PROBE_COLUMNS`.

        `setting` is the row of the design (`noiseprobe.draws.sobol`), `replicate` the pair.
        """
        again = f"this evaluates it anew: noiseprobe probe {self.directory} --design sobol"
        trace = read_trace(self.sobol_directory, PROBE_COLUMNS, again)
        return without_wrong(trace).reset_index(drop=True)

    def summary(self) -> dict[str, Any]:
        """What `noiseprobe run --json` printed; raises `UserError` if the run is not done."""
        summary = self._document("summary.json")
        if summary is None:
            raise UserError(
                f"'{self.directory}' has no summary yet; finish it with "
                f"noiseprobe run --out {self.directory} --resume"
            )
        return summary

    def _document(self, name: str) -> dict[str, Any] | None:
        path = self.directory / name
        if not path.is_file():
            return None
        manifest.check(path)
        try:
            document = json_of(path)
        except ValueError as error:
            raise UserError(f"'{path}' is damaged: {error}; restore it") from error
        if not isinstance(document, dict):
            raise UserError(f"'{path}' is damaged: it is no object; restore it")
        return document


def find_runs(places: Sequence[Path]) -> list[Run]:
    """The runs in these directories, each of which is one or holds some, at any depth."""
    found: dict[Path, Run] = {}
    for place in places:
        is_one = (place / "config.toml").is_file()
        inside = [place] if is_one else sorted(path.parent for path in place.rglob("config.toml"))
        if not inside:
            raise UserError(f"'{place}' holds no run (no config.toml in it); check the path")
        # What was trained beside a run, with one photograph more or less, is part of it.
        own = [path for path in inside if not inside_of_a_run(path, place)]
        found |= {path.resolve(): Run(path) for path in own}
    return list(found.values())


def inside_of_a_run(path: Path, place: Path) -> bool:
    """Whether a folder between `path` and `place`, where one looks from, is a run directory."""
    between = [each for each in path.parents if each != place and each.is_relative_to(place)]
    return any((each / "config.toml").is_file() for each in between)


def new_directory(concept: str, method: str, root: Path = Path("runs")) -> Path:
    """A folder name under `runs/` that is not taken: concept, method, time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    stem = f"{Path(concept).resolve().name}-{method}-{stamp}"
    taken = [root / stem, *(root / f"{stem}-{index}" for index in range(2, 100))]
    return next(path for path in taken if not path.exists())


def environment(config: RunConfig, device: str) -> dict[str, Any]:
    """What a run's numbers may depend on beside its settings."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_count": os.cpu_count(),
        "device": device,
        "seed": config.seed,
        "git_commit": _git_commit(),
        "versions": {package: installed_version(package) for package in PACKAGES},
    }


@cache
def installed_version(package: str) -> str | None:
    """The version of a package that is installed; None if it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that noiseprobe runs from, None for an installed package."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        return subprocess.check_output(  # nosec B603 # git, and where we lie
            command, stderr=subprocess.DEVNULL, text=True, timeout=5
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None
