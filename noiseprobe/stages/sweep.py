"""Many runs from one file: concepts × methods × seeds, several at once, resumable.

Each run goes on to its last step with every criterion watched; then the steps at which they would
have stopped it are measured. Runs are in folders, or in a bucket.
"""

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from os.path import isdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noiseprobe.analysis.stops import clip_step, stops
from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.core.manifest import NAME
from noiseprobe.core.progress import Reporter
from noiseprobe.run.bucket import Bucket, is_url
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import load_toml, resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import part_path
from noiseprobe.stages.in_bucket import in_bucket
from noiseprobe.stages.workers import Engine, Jobs, in_processes

WATCHED = {"stop": "none", "checks": True}


RESOURCES = {
    "cpus": "a number above 0 is expected",
    "gpus": "a number of 0 or more is expected, below 1 for a share of one",
    "memory": "a number of GB above 0 is expected",
}
"""What a run may be said to take on a cluster, and what is expected of each."""

GB = 2**30


@dataclass(frozen=True)
class Sweep:
    """What to run: one `RunConfig` per run directory, and how many processes of how many threads.

    `probe` is the number of steps between the checkpoints at which the factors are probed; 0: none.
    Without `workers` an engine does as many at once as it finds right. `resources` is what a run
    takes on a cluster: `cpus`, `gpus`, and `memory` in bytes.

    With a `bucket` the run directories are paths below its prefix, and each run is worked on in a
    folder in `scratch` of the machine that does it (default: that for temporary files).
    """

    runs: dict[Path, RunConfig]
    workers: int | None = None
    threads: int = 1
    probe: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    bucket: Bucket | None = None
    scratch: str | None = None

    def place(self, out: Path) -> str:
        """The full name of a run: its folder, or its address."""
        return str(out) if self.bucket is None else self.bucket.run(out).url

    def job(self, out: Path, function: Callable[..., None], *arguments: object) -> tuple[Any, ...]:
        """What an engine does for a run: `function(folder, *arguments)`, wherever the run is."""
        if self.bucket is None:
            return function, out, *arguments
        return in_bucket, self.bucket, self.scratch, out, function, arguments

    @contextmanager
    def read(self, runs: Iterable[Path], wanted: Callable[[str], bool]) -> Iterator[Path]:
        """Where the `wanted` files of `runs` are below: they themselves, or copies for a while."""
        if self.bucket is None:
            yield Path()
            return
        with self.bucket.copied(runs, wanted) as folder:
            yield folder


class _File(BaseModel):
    """What a sweep's file may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    concepts: list[str] = Field([], min_length=1, validate_default=True)
    methods: list[str] = Field([METHODS[0]], min_length=1)
    seeds: list[int] = Field([0], min_length=1)
    out: str = "runs/sweep"
    workers: int | None = Field(None, ge=1)
    threads: int = Field(1, ge=1)
    probe: int = Field(0, ge=0)
    resources: dict[str, float] = {}
    storage: dict[str, Any] = {}
    scratch: str | None = None
    settings: dict[str, Any] = {}
    method: dict[str, dict[str, Any]] = {}


_EXPECTED = {
    "list_type": "a list is expected",
    "too_short": "a list of at least one is expected",
    "string_type": "a text in quotes is expected",
    "dict_type": "a table is expected: [{key}]",
    "float_type": "a number is expected",
    "int_type": "a whole number is expected",
    "greater_than_equal": "a whole number of {ge} or more is expected",
}
"""What to say of a wrong value, by the type of pydantic's error."""


def read_sweep(file: Path) -> Sweep:
    """The sweep that a TOML file describes; raises `UserError` naming a key and the nearest one.

    `concepts` are names, folders or patterns, relative to the file; `settings` are for all runs,
    those in a table `method.NAME` for one method.
    """
    content = load_toml(file)
    _known(file, "unknown key '{}'", content, _File.model_fields)
    try:
        said = _File.model_validate(content)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(str(part) for part in wrong["loc"] if isinstance(part, str))
        expected = _EXPECTED[wrong["type"]].format(key=key, **wrong.get("ctx", {}))
        raise UserError(f"{file}: {key}: {wrong['input']!r} given, but {expected}") from None
    _known(file, "methods: unknown '{}'", said.methods, METHODS)
    _known(file, "unknown key 'method.{}'", said.method, METHODS)
    for name, table in {"settings": said.settings, **said.method}.items():
        _known(file, f"unknown key '{name}.{{}}'", table, [*RunConfig.model_fields, "class"])
    for key in WATCHED.keys() & said.settings.keys():
        raise UserError(
            f"{file}: settings.{key}: a sweep watches every criterion to the end; remove it"
        )
    _known(file, "unknown key 'resources.{}'", said.resources, RESOURCES)
    for key, amount in said.resources.items():
        if not (amount > 0 or (key == "gpus" and amount == 0)):
            raise UserError(f"{file}: resources.{key}: {amount:g} given, but {RESOURCES[key]}")
    bucket = _bucket(file, said)
    root = Path() if bucket else file.parent / said.out
    runs: dict[Path, RunConfig] = {}
    for method, concept, seed in product(said.methods, _concepts(file, said), said.seeds):
        given = said.settings | said.method.get(method, {})
        given = (WATCHED if not given.get("cross") else {"checks": True}) | given
        if "class" in given:
            given["class_noun"] = given.pop("class")
        if bucket and given.get("cross"):
            raise UserError(f"{file}: settings.cross: it does not go with a bucket; leave one out")
        place = root / method / Path(concept).name / f"seed-{seed}"
        if place in runs:
            raise UserError(
                f"{file}: concepts: '{runs[place].concept}' and '{concept}' have the same "
                "name; rename one folder"
            )
        runs[place] = resolve(given | {"concept": concept, "method": method, "seed": seed})
    _require_usable(runs.values())
    resources = {key: n * GB if key == "memory" else n for key, n in said.resources.items()}
    at = said.workers, said.threads, said.probe, resources, bucket, said.scratch
    return Sweep(runs, *at)


def _bucket(file: Path, said: _File) -> Bucket | None:
    """The bucket that `out` names, if it names one that can be opened here."""
    if not is_url(said.out):
        for key in ("storage", "scratch"):
            if getattr(said, key):
                raise UserError(f'{file}: {key}: it belongs to out = "s3://…"; leave it out')
        return None
    bucket = Bucket(said.out, said.storage)
    try:
        bucket.opened()
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    return bucket


def _require_usable(configs: Iterable[RunConfig]) -> None:
    """Raise `UserError` for a concept, model or method that no run can begin with, before any does.

    Nothing is loaded: what is wrong with weights shows where a run begins.
    """
    from noiseprobe.models import family_at
    from noiseprobe.training.methods import method_of
    from noiseprobe.training.preparing import concept_of

    seen: set[tuple[object, ...]] = set()
    for config in configs:
        concept = config.concept, config.class_noun, config.placeholder
        held = config.hold_out, config.validation, config.seed if config.hold_out else 0
        if (*concept, *held) not in seen:
            concept_of(config)
        model = config.model, config.revision, config.method
        if model not in seen:
            method_of(config).require(family_at(config.model, config.revision), config)
        seen |= {(*concept, *held), model}


def _known(file: Path, wrong: str, words: Iterable[str], known: Iterable[str]) -> None:
    for word in words:
        if word not in known:
            mend = did_you_mean(word, known, f"known are {', '.join(known)}", cutoff=0.4)
            raise UserError(f"{file}: {wrong.format(word)}; {mend}")


def _concepts(file: Path, said: _File) -> list[str]:
    """Bundled names as they are, folders and patterns as full paths."""
    found: list[str] = []
    for each in said.concepts:
        folders = [path for path in sorted(glob.glob(str(file.parent / each))) if isdir(path)]
        if glob.has_magic(each) and not folders:
            raise UserError(f"{file}: concepts: no folder matches '{each}'; mend the pattern")
        found += [str(Path(path).resolve()) for path in folders] or [each]
    return list(dict.fromkeys(found))


def run_sweep(sweep: Sweep, reporter: Reporter, engine: Engine = in_processes) -> dict[str, str]:
    """Train what is not trained, then measure what is not measured; the errors by run.

    A run that fails does not hold up the others. Raises `Interrupted` on Ctrl-C, after the runs in
    progress have saved their state. The `engine` does the work, wherever that is.
    """
    failed = train_sweep(sweep, reporter, engine)
    trained = [out for out in sweep.runs if str(out) not in failed]
    with sweep.read(trained, _of_training) as root:
        few = few_of([root / out for out in trained])
    jobs: Jobs = {out: sweep.job(out, measure_one, few[sweep.runs[out].method]) for out in trained}
    return failed | engine("measuring", jobs, sweep.workers, sweep.threads, reporter)


def train_sweep(sweep: Sweep, reporter: Reporter, engine: Engine = in_processes) -> dict[str, str]:
    """The first half of `run_sweep`: train, and probe where the sweep says so.

    Raises `UserError` where a bucket cannot be written to, before anything is trained.
    """
    if sweep.bucket:
        sweep.bucket.require_writable()
    failed = cross_sweep(sweep, reporter, engine)
    runs = {out: config for out, config in sweep.runs.items() if str(out) not in failed}
    jobs: Jobs = {
        out: sweep.job(out, train_one, config, sweep.probe) for out, config in runs.items()
    }
    with sweep.read(runs, _of_status) as root:
        steps = _steps_of(runs, root)
    return failed | engine("training", jobs, sweep.workers, sweep.threads, reporter, steps)


def cross_sweep(sweep: Sweep, reporter: Reporter, engine: Engine = in_processes) -> dict[str, str]:
    """Train what the runs with `cross` need before they are trained: each photograph left out once.

    These trainings are jobs like any other, so that those of all runs go on side by side. The
    errors by run.
    """
    from noiseprobe.stages.beside import folds_of

    crossed = {out: config for out, config in sweep.runs.items() if config.cross}
    begun: Jobs = {out: (begin_one, out, config) for out, config in crossed.items()}
    failed = engine("beginning", begun, sweep.workers, sweep.threads, reporter)
    folds: dict[Path, RunConfig] = {}
    run_of: dict[Path, Path] = {}
    for out, config in crossed.items():
        if str(out) not in failed:
            own = folds_of(*_reopened(out, config))
            folds |= own
            run_of |= dict.fromkeys(own, out)
    jobs: Jobs = {place: (train_one, place, config, 0) for place, config in folds.items()}
    wrong = engine("cross", jobs, sweep.workers, sweep.threads, reporter, _steps_of(folds))
    for place, reason in wrong.items():
        failed.setdefault(str(run_of[Path(place)]), f"{place}: {reason}")
    return failed


def _of_status(path: str) -> bool:
    """Whether a file of a run tells how far it is."""
    return path in ("status.json", NAME)


def _of_training(path: str) -> bool:
    """Whether a file of a run tells of its training."""
    return (
        path in ("config.toml", "environment.json")
        or _of_status(path)
        or (path.startswith("traces/train/"))
    )


def _steps_of(runs: Mapping[Path, RunConfig], root: Path = Path()) -> dict[Path, tuple[int, int]]:
    """How many steps of each run below `root` are done, and of how many."""
    return {
        out: (min(steps_done(root / out), config.steps), config.steps)
        for out, config in runs.items()
    }


def progress_of(sweep: Sweep, failed: Mapping[str, str]) -> pd.DataFrame:
    """Where each run stands: columns method, concept, seed, step, steps (at most), failed."""
    columns = ["method", "concept", "seed", "step", "steps", "failed"]
    rows = []
    with sweep.read(sweep.runs, _of_status) as root:
        for out, config in sweep.runs.items():
            stands = steps_done(root / out), config.steps, str(out) in failed
            rows.append((config.method, Path(config.concept).name, config.seed, *stands))
    return pd.DataFrame(rows, columns=columns)


def steps_done(out: Path) -> int:
    """How many steps of the run in `out` are done; 0 where its damage is for its job to tell."""
    try:
        return int(Run(out).status["step"])
    except UserError:
        return 0


def few_of(runs: Sequence[Path]) -> dict[str, float]:
    """The average steps of the CLIP criterion by method, over the runs in these directories."""
    by_method: dict[str, list[int]] = {}
    for run in map(Run.open, runs):
        config = run.config
        step = clip_step(str(run.directory), run.train_trace(), config)
        by_method.setdefault(config.method, []).append(step)
    return {method: float(np.mean(steps)) for method, steps in by_method.items()}


def begin_one(out: Path, config: RunConfig) -> None:
    """Make the directory of a run whose training waits for others, and its class images."""
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    if (out / "config.toml").is_file():
        run, config = _reopened(out, config)
        if run.cross_runs() or not config.prior:
            return
        ready = prepare(config, run)
    else:
        run, ready = pipeline.start(config, out)
    if config.prior:
        with run.held():
            pipeline.prepare_prior(run, config, ready)


def train_one(out: Path, config: RunConfig, probe: int, reporter: Reporter | None = None) -> None:
    """Train the run in `out` to its end, or go on with it; probe every `probe` steps.

    Raises `UserError` if the run there was started with settings that do not go with `config`.
    """
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    if (out / "config.toml").is_file():
        run, config = _reopened(out, config)
        if _trained(run, config) and not _unprobed(run, probe):
            return
        ready = prepare(config, run)
    else:
        run, ready = pipeline.start(config, out)
    config = pipeline.train_stage(run, config, ready, reporter)
    if steps := _unprobed(run, probe):
        pipeline.probe_stage(run, config, ready, reporter, steps)


def _reopened(out: Path, config: RunConfig) -> tuple[Run, RunConfig]:
    """The run in `out` with its settings; with `cross`, those that it found stay as they are."""
    from noiseprobe.stages import pipeline

    found = {"stop", "param", "watch", "keep"} if config.cross else set()
    return pipeline.reopen(out, config.model_dump(exclude=found))


def _trained(run: Run, config: RunConfig) -> bool:
    """Whether the training has come to its end: all steps, or with `cross` those that were best.

    What is to be taken is written after all else.
    """
    status = run.status
    if not run.result_directory.is_dir():
        return False
    if config.cross:
        return bool(status["stopped_by"] == "fixed" == config.stop)
    return bool(status["stopped_by"] == "steps" and status["step"] >= config.steps)


def _unprobed(run: Run, every: int) -> list[int]:
    """The checkpoints at every so many steps that were not probed yet; none for 0."""
    chosen = [step for step in run.checkpoint_steps() if every and step % every == 0]
    return [step for step in chosen if not part_path(run.probe_directory, step).is_file()]


def measure_one(out: Path, few: float, reporter: Reporter | None = None) -> None:
    """Measure the checkpoints at which the criteria end the run in `out`."""
    from noiseprobe.stages import pipeline

    run = Run.open(out)
    found = stops(run.train_trace(), run.config, few)
    steps = sorted({run.nearest_checkpoint(stop.step) for stop in found.values()})
    pipeline.measure_stage(run, run.config, steps, reporter)
