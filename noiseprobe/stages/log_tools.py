"""The tools that a training can be logged with, each over accelerate's tracker for it.

Every tool says, when it starts, up to which step it has what: a training that goes on hands over
what is missing, and nothing twice. Each keeps its files where it always does, so that its own page
finds them; TensorBoard, which has no such place, in `RUN/logs/tensorboard`.
"""

import io
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from noiseprobe.core.errors import UserError
from noiseprobe.logs import read_log
from noiseprobe.run.settings import LOG_WITH

PROJECT = "noiseprobe"
"""The project, or experiment, where the tool's own environment variable names no other."""

PICTURES, VERDICT = "pictures", "verdict"


@dataclass(frozen=True)
class About:
    """What a tool is told of a run.

    Attributes:
        id: of the run, which no other has.
        name: what people call it.
        logs: the folder for files of tools that have no place of their own.
        settings: its configuration, of numbers, switches and texts.
    """

    id: str
    name: str
    logs: Path
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """What a step gave: the numbers by their column, and what was drawn after it."""

    step: int
    values: Mapping[str, float]
    picture: Image.Image | None = None


@dataclass(frozen=True)
class Ending:
    """What was found at the end, after `step`: numbers, a text, and figures that lie in files."""

    step: int
    values: Mapping[str, float]
    stopped_by: str
    text: str
    figures: Sequence[Path] = ()


def require_tools(names: Sequence[str]) -> None:
    """Raise `UserError` unless each tool is installed, and Weights & Biases knows who one is."""
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # a folder of that name is no package
            raise UserError(f"--log-with: {name} is not installed; pip install {name}")
    if "wandb" in names and not _may_log_to_wandb():
        raise UserError(
            "--log-with: wandb has no API key; do wandb login, or set WANDB_MODE=offline"
        )


def _may_log_to_wandb() -> bool:
    """Whether Weights & Biases would not ask for a key, in the middle of a training.

    Where it does not tell, it is to say itself what it lacks.
    """
    import wandb

    with suppress(Exception), redirect_stderr(io.StringIO()):  # where it calls this deprecated
        return wandb.setup().settings.mode != "online" or bool(wandb.api.api_key)
    return True


class Tool:
    """One tool, and what it has of the run; all is called by one thread.

    Attributes:
        last: the last step that it has of each column.
        floor: the last step of which it takes no more.
    """

    name = ""

    def __init__(self, about: About) -> None:
        self.about = about
        self.last: Mapping[str, int] = {}
        self.floor = -1

    def load(self) -> None:
        """Import what it needs, which two threads at once had better not."""
        import_module("accelerate.tracking")
        import_module(self.name)

    def start(self) -> None:
        """Begin to log, or go on in the same run of the tool."""
        self.tracker = self._tracker()
        self.tracker.start()
        self._look()

    def has(self, column: str, step: int) -> bool:
        """Whether it had the value of a column at a step when it started."""
        return step <= max(self.floor, self.last.get(column, -1))

    def take(self, rows: Sequence[Row]) -> None:
        """Log what it had not of some rows, in the order of their steps."""
        for row in rows:
            missing = {
                name: each for name, each in row.values.items() if not self.has(name, row.step)
            }
            if missing:
                self.tracker.log(missing, step=row.step)
            if row.picture is not None and not self.has("clip_img", row.step):
                self._picture(PICTURES, row.picture, row.step)

    def tell(self, ending: Ending) -> None:
        """Log how the training ended, at its last step, whose row it may have already."""
        known = {name for name, step in self.last.items() if step >= ending.step}
        missing = {name: each for name, each in ending.values.items() if name not in known}
        if missing:
            self.tracker.log(missing, step=ending.step)
        for path in ending.figures:
            with Image.open(path) as figure:
                self._picture(f"figures/{path.stem}", figure.convert("RGB"), ending.step)
        self._text(ending)

    def finish(self) -> None:
        """Let all be written, and end."""
        self.tracker.finish()

    def _tracker(self) -> Any:
        """Accelerate's tracker, not yet started."""
        raise NotImplementedError

    def _look(self) -> None:
        """See what it has, and log the settings."""

    def _picture(self, name: str, picture: Image.Image, step: int) -> None:
        self.tracker.log_images({name: [picture]}, step=step)

    def _text(self, ending: Ending) -> None:
        """Log the verdict where the tool has texts or summaries."""


class TensorBoard(Tool):
    """Event files in `RUN/logs/tensorboard`, after what a killed training left there."""

    name = "tensorboard"

    def load(self) -> None:
        """Import what writes events."""
        super().load()
        import_module("torch.utils.tensorboard")

    def _tracker(self) -> Any:
        from accelerate.tracking import TensorBoardTracker

        place = self.about.logs / self.name
        self.last = last_steps(place) if place.is_dir() else {}
        return TensorBoardTracker(self.name, self.about.logs)

    def _look(self) -> None:
        if not self.last:
            self.tracker.store_init_configuration(dict(self.about.settings))

    def _picture(self, name: str, picture: Image.Image, step: int) -> None:
        import numpy as np

        self.tracker.writer.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def _text(self, ending: Ending) -> None:
        self.tracker.writer.add_text(VERDICT, ending.text, ending.step)
        self.tracker.writer.flush()


class Wandb(Tool):
    """A run of Weights & Biases under our id; it takes steps in their order alone.

    Offline, each time that a training goes on has a folder of its own, of one run.
    """

    name = "wandb"

    def _tracker(self) -> Any:
        import wandb
        from accelerate.tracking import WandBTracker

        return WandBTracker(
            os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.about.id,
            name=self.about.name,
            resume=None if wandb.setup().settings.mode == "offline" else "allow",
            config=dict(self.about.settings),
            allow_val_change=True,
            reinit="create_new",
            settings=wandb.Settings(console="off"),
        )

    def _look(self) -> None:
        run = self.tracker.run
        self.floor = run.starting_step - 1
        if run.offline:
            places = Path(run.dir).parents[1].glob(f"*/run-{self.about.id}.wandb")
            steps = [step for each in places for step in last_steps(each).values()]
            self.floor = max(steps, default=-1)

    def _text(self, ending: Ending) -> None:
        told = {"stopped_by": ending.stopped_by, VERDICT: ending.text}
        self.tracker.run.summary.update({**ending.values, **told})


class Trackio(Tool):
    """A run of trackio, on this machine, or where TRACKIO_SPACE_ID says.

    It knows runs by their names alone, so that the name has a part of our id.
    """

    name = "trackio"

    def _tracker(self) -> Any:
        from accelerate.tracking import TrackioTracker

        return TrackioTracker(
            os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{self.about.name}-{self.about.id[:6]}",
            resume="allow",
            config=dict(self.about.settings),
            embed=False,
            auto_log_cpu=False,  # which this very process would do
            auto_log_gpu=False,
        )

    def _look(self) -> None:
        self.floor = self.tracker.run._next_step - 1  # it has no other name for that

    def _picture(self, name: str, picture: Image.Image, step: int) -> None:
        import trackio

        self.tracker.run.log({name: trackio.Image(picture)}, step=step)

    def _text(self, ending: Ending) -> None:
        import trackio

        self.tracker.run.log({VERDICT: trackio.Markdown(ending.text)}, step=ending.step)


class Mlflow(Tool):
    """A run of MLflow where MLFLOW_TRACKING_URI says, which a tag with our id finds again."""

    name = "mlflow"

    def _tracker(self) -> Any:
        import mlflow
        from accelerate.tracking import MLflowTracker

        name, tag = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), "noiseprobe.id"
        known = mlflow.get_experiment_by_name(name)
        experiment = known.experiment_id if known else mlflow.create_experiment(name)
        self.client = mlflow.MlflowClient()
        same = f"tags.`{tag}` = '{self.about.id}'"
        found = self.client.search_runs([experiment], same, max_results=1)
        return MLflowTracker(
            experiment_name=name,
            run_id=found[0].info.run_id if found else None,
            run_name=self.about.name,
            tags={tag: self.about.id},
        )

    def _look(self) -> None:
        self.run = self.tracker.active_run.info.run_id
        told = self.client.get_run(self.run).data
        history = {name: self.client.get_metric_history(self.run, name) for name in told.metrics}
        self.last = {name: max(each.step for each in found) for name, found in history.items()}
        if not told.params:  # which cannot change
            self.tracker.store_init_configuration(dict(self.about.settings))

    def take(self, rows: Sequence[Row]) -> None:
        """Log what it had not of some rows: many numbers at once, for each asks the server."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        missing = [
            Metric(name, value, now, row.step)
            for row in rows
            for name, value in row.values.items()
            if not self.has(name, row.step)
        ]
        for first in range(0, len(missing), 1000):  # as many as it takes
            self.client.log_batch(self.run, metrics=missing[first : first + 1000])
        for row in rows:
            if row.picture is not None and not self.has("clip_img", row.step):
                self._picture(PICTURES, row.picture, row.step)

    def _picture(self, name: str, picture: Image.Image, step: int) -> None:
        self.client.log_image(self.run, picture, key=name, step=step)

    def tell(self, ending: Ending) -> None:
        """Log how the training ended; figures are artifacts."""
        self.take([Row(ending.step, ending.values)])
        for path in ending.figures:
            self.client.log_artifact(self.run, str(path), "figures")
        for name, text in (("stopped_by", ending.stopped_by), ("mlflow.note.content", ending.text)):
            self.client.set_tag(self.run, name, text)


class Aim(Tool):
    """A run in the nearest `.aim` around the working directory, made there if there is none.

    It gives runs names of its own, of which ours is kept in `RUN/logs/aim.txt`.
    """

    name = "aim"

    @property
    def _kept(self) -> Path:
        return self.about.logs / "aim.txt"

    def _tracker(self) -> Any:
        import aim
        from accelerate.tracking import AimTracker

        place = aim.Repo.default_repo_path()
        repo = aim.Repo.from_path(place, init=True)
        known = self._kept.read_text() if self._kept.is_file() else ""
        return AimTracker(
            self.about.name,
            place,
            run_hash=known if repo.run_exists(known) else None,
            experiment=PROJECT,
            force_resume=True,  # what a killed training held is held by nobody
            system_tracking_interval=None,
            capture_terminal_logs=False,
        )

    def _look(self) -> None:
        run = self.tracker.writer
        self._kept.parent.mkdir(exist_ok=True)
        self._kept.write_text(run.hash)
        self.last = {each.name: each.last_step() for each in run.metrics()}
        self.tracker.store_init_configuration(dict(self.about.settings))

    def _picture(self, name: str, picture: Image.Image, step: int) -> None:
        self.tracker.log_images({name: picture}, step=step)

    def _text(self, ending: Ending) -> None:
        self.tracker.writer["ending"] = {"stopped_by": ending.stopped_by, VERDICT: ending.text}


TOOLS: dict[str, type[Tool]] = {
    each.name: each for each in (TensorBoard, Wandb, Trackio, Mlflow, Aim)
}
assert tuple(TOOLS) == LOG_WITH


def last_steps(place: Path) -> dict[str, int]:
    """The last step of each trace in a log, which may be cut off; empty where there is none."""
    with warnings.catch_warnings(action="ignore"):  # of what a kill has left
        try:
            log = read_log(place)
            return {tag: int(log.series(tag).steps[-1]) for tag in log.tags}
        except UserError:
            return {}
