"""Trainings beside that of a run: on all photographs after it, or with each left out before it.

They are runs of their own, in folders of the run's, from the same starting weights.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Reporter
from noiseprobe.run.defaults import BUNDLED_MODEL
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import recorded
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.workers import Jobs, in_processes
from noiseprobe.training.cache import Cache
from noiseprobe.training.preparing import Personalization, concept_of

if TYPE_CHECKING:
    from torch import Tensor

_ALONE: dict[str, Any] = {
    **{"stop": "none", "param": (), "watch": None, "keep": None, "checks": False},
    **{"refit": False, "cross": False, "hold_out": None, "validation": None, "log_with": ()},
}
"""What a training beside a run does not take from its settings."""


def refit(
    run: Run, config: RunConfig, ready: Personalization, steps: int, reporter: Reporter
) -> None:
    """Train anew on all photographs for `steps` steps, in the folder `refit` of the run."""
    out = run.refit_directory
    reporter.note(f"refit: {steps} steps on all photographs, in {out}")
    start = ready.method.read(run.checkpoint(0))
    with _saved_with(run):
        _train(out, _settings(run, config, steps=steps), ready, start, reporter)


def cross(run: Run, config: RunConfig, ready: Personalization, reporter: Reporter) -> None:
    """Train with each photograph left out once, in the folder `cross` of the run.

    All take the full number of steps: what is averaged is of the same steps. With the bundled model
    on a CPU, or with more `workers`, several go on at once, in processes of their own.

    Raises:
        UserError: there is one photograph alone; or a training failed.
    """
    folds = folds_of(run, config)
    if all(map(_ended, folds, folds.values())):  # as in a sweep, where they are jobs of their own
        return
    cores = os.cpu_count() or 1
    light = config.model == BUNDLED_MODEL and ready.model.device.type == "cpu"
    workers = min(config.workers or (cores if light else 1), len(folds))
    reporter.note(
        f"cross: {len(folds)} trainings of {config.steps} steps, each without one photograph, "
        f"{workers} at once, in {run.cross_directory}"
    )
    with _saved_with(run):
        if workers == 1:
            start = ready.method.trained()
            for out, settings in folds.items():
                _train(out, settings, ready, start, reporter)
            ready.method.load(start)
        else:
            _train_at_once(folds, workers, max(cores // workers, 1), reporter)


def folds_of(run: Run, config: RunConfig) -> dict[Path, RunConfig]:
    """The trainings of `cross`: the settings by directory, one per photograph.

    Raises:
        UserError: there is one photograph alone.
    """
    photographs = concept_of(config).photographs
    if len(photographs) < 2:
        raise UserError("--cross: one photograph cannot be left out; put 3-6 into the folder")
    return {
        run.cross_directory / path.name: _settings(run, config, hold_out=path.name)
        for path in photographs
    }


def _ended(out: Path, settings: RunConfig) -> bool:
    """Whether such a training has taken all its steps."""
    if not (out / "config.toml").is_file():
        return False
    status = Run(out).status
    return bool(status["stopped_by"] == "steps" and status["step"] >= settings.steps)


def _train_at_once(
    folds: dict[Path, RunConfig], workers: int, threads: int, reporter: Reporter
) -> None:
    from noiseprobe.stages.sweep import train_one

    jobs: Jobs = {out: (train_one, out, settings, 0) for out, settings in folds.items()}
    steps = {out: (Run(out).status["step"], each.steps) for out, each in folds.items()}
    failed = in_processes("cross", jobs, workers, threads, reporter, steps)
    for out, reason in failed.items():
        raise UserError(f"{out}: {reason}")


def _settings(run: Run, config: RunConfig, **own: Any) -> RunConfig:
    """The settings of a training beside the run; class images are those of the run."""
    shared: dict[str, Any] = {}
    if config.prior and config.class_images is None:
        noun = concept_of(config).class_noun
        shared = {
            "class_images": str(run.class_images_directory),
            "class_prompt": config.class_prompt or f"a photo of a {noun}",
        }
    return recorded(config.model_dump() | _ALONE | shared | own)


def _train(
    out: Path,
    settings: RunConfig,
    ready: Personalization,
    start: "dict[str, Tensor]",
    reporter: Reporter,
) -> None:
    """Train the live model from the weights `start`, or go on with such a training."""
    from noiseprobe.stages import pipeline

    if _ended(out, settings):
        return
    if (out / "config.toml").is_file():
        run, settings = pipeline.reopen(out, settings.model_dump())
    else:
        model = ready.model
        path = model.path
        run = Run.create(out, settings, str(model.device), path.num_timesteps, path.axis)
    ready.method.load(start)
    cache = Cache(run.cache_directory)
    concept = concept_of(settings)
    beside = Personalization(settings, concept, ready.model, ready.method, cache=cache)
    pipeline.train_stage(run, settings, beside, reporter)


@contextmanager
def _saved_with(run: Run) -> Iterator[None]:
    """Where such a training is interrupted, it is the run that goes on."""
    try:
        yield
    except Interrupted as error:
        told = Interrupted(
            f"training was stopped and saved; the same command with --out {run.directory} "
            "--resume goes on"
        )
        told.by = error.by
        raise told from None
