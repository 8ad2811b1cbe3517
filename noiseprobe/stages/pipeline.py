"""The stages as functions on a run directory: train, probe, measure, and all in a row."""

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import linked, write_json, written_whole
from noiseprobe.core.progress import Reporter, Silent
from noiseprobe.draws.factors import FACTORS
from noiseprobe.run.directory import Run
from noiseprobe.run.holding import require_own_places
from noiseprobe.run.resolving import recorded, resumed
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import drop_damaged, parts
from noiseprobe.stages.drawing import plot_stage
from noiseprobe.stages.log_tools import require_tools
from noiseprobe.stages.log_with import Tools, logged, observer_of
from noiseprobe.training.preparing import Personalization, prepare
from noiseprobe.training.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noiseprobe.stages.sharing import Sharing
    from noiseprobe.training.prior import Prior


Stage = ParamSpec("Stage")
Told = TypeVar("Told")


def alone(
    stage: Callable[Concatenate[Run, Stage], Told],
) -> Callable[Concatenate[Run, Stage], Told]:
    """A stage that holds the run it is given against other processes; see `Run.held`.

    Raises `UserError` where the run was removed since it was begun or opened.
    """

    @functools.wraps(stage)
    def inside(run: Run, *args: Stage.args, **named: Stage.kwargs) -> Told:
        if not (run.directory / "config.toml").is_file():  # nothing is made in its place
            raise UserError(f"'{run.directory}' was removed meanwhile; put it back, or begin anew")
        with run.held():
            return stage(run, *args, **named)

    return inside


def start(
    config: RunConfig, out: Path | str, reporter: Reporter | None = None
) -> tuple[Run, Personalization]:
    """A new run in `out`, prepared. Bad input leaves nothing behind."""
    Run.require_vacant(out)
    require_tools(config.log_with)
    ready = prepare(config, reporter=reporter)
    _ = ready.objective, ready.held_out, ready.previews  # which find what else is wrong
    model = ready.model
    path = model.path
    run = Run.create(out, ready.config, str(model.device), path.num_timesteps, path.axis)
    with run.held():
        ready.cache.settle_in(run.cache_directory)
        if ready.initializer:
            run.write_initializer(ready.initializer)
    return run, ready


def reopen(out: Path | str, given: dict[str, Any]) -> tuple[Run, RunConfig]:
    """An existing run, and its settings with those that were given anew.

    Nothing is written: a stage records the settings that it begins with.
    """
    run = Run.open(out)
    require_own_places(run.directory)
    config = resumed(run.config, given)
    done = run.status["step"]
    if config.steps < done:
        raise UserError(f"--steps: {config.steps} given, but {done} are done; give as many or more")
    return run, config


@alone
def train_stage(
    run: Run,
    config: RunConfig,
    ready: Personalization,
    reporter: Reporter | None = None,
    team: Team = ALONE,
) -> RunConfig:
    """Train, or go on training; see `noiseprobe.training.driver.train`. Returns the settings.

    With `cross` it takes the steps that were best with each photograph left out, which the settings
    returned say. With `refit` it trains anew on all photographs at the end. What to take is then
    in `RUN/result`. Where a `team` trains, this is for its leader, and `take_part` for the others.
    """
    from noiseprobe.analysis.ending import ending_of
    from noiseprobe.analysis.verdicts import of_training

    reporter = reporter or Silent()
    with logged(run, config, reporter) as tools:
        config = _train(run, config, ready, reporter, team, tools)
        if tools:
            ending = ending_of(run)
            tools.tell(ending, of_training(ending).sentences)
    return config


def _train(
    run: Run,
    config: RunConfig,
    ready: Personalization,
    reporter: Reporter,
    team: Team,
    tools: Tools | None,
) -> RunConfig:
    from noiseprobe.analysis.crossing import crossed, recommended
    from noiseprobe.analysis.ending import ending_of
    from noiseprobe.stages import beside
    from noiseprobe.training.driver import train

    require_own(run)
    objective, previews = ready.objective, ready.previews  # which find what is wrong
    if config.precision == "auto":
        config = config.model_copy(update={"precision": ready.config.precision})
    run.record(config)
    prior = prepare_prior(run, config, ready, reporter) if config.prior else None
    team.wait()  # the others may read what there is now
    if config.cross:
        beside.cross(run, config, ready, reporter)
        steps = recommended(crossed([fold.train_trace() for fold in run.cross_runs()]))
        fixed = {"stop": "fixed", "param": (f"steps={steps}",)}
        config = recorded(config.model_dump() | fixed)
        run.record(config)
    observer, held_out = observer_of(tools), ready.held_out
    train(run, objective, ready.method, config, reporter, prior, previews, held_out, team, observer)
    if config.refit:
        if best := ending_of(run).best_step:
            beside.refit(run, config, ready, best, reporter)
        else:
            reporter.note("refit: the held-out loss was never below its start; nothing to train")
    write_result(run)
    return config


def take_part(run: Run, config: RunConfig, ready: Personalization, team: Team) -> None:
    """What the others do in the training of a `team`, of which the leader is in `train_stage`."""
    from noiseprobe.training.driver import train

    objective, held_out = ready.objective, ready.held_out
    config = config.model_copy(update={"precision": ready.config.precision})
    team.wait()
    prior = prepare_prior(run, config, ready) if config.prior else None
    train(run, objective, ready.method, config, prior=prior, held_out=held_out, team=team)


def require_own(run: Run) -> None:
    """Raise `UserError` where the checkpoints of `run` were trained elsewhere."""
    if run.foreign:
        raise UserError(
            f"'{run.directory}' is about checkpoints of another trainer, which does not go on "
            f"here; probe them: noiseprobe probe {run.directory}"
        )


def write_result(run: Run) -> None:
    """Put the checkpoint to take into `RUN/result`; its files are shared where the disk can.

    Raises `UserError` where the checkpoint is not as it was written.
    """
    from noiseprobe.analysis.ending import ending_of

    take = ending_of(run).take
    if take is not None:
        manifest.check(Path(take))
        with written_whole(run.result_directory) as beside:
            copytree(take, beside, copy_function=linked)


def prepare_prior(
    run: Run, config: RunConfig, ready: Personalization, reporter: Reporter | None = None
) -> "Prior":
    """The class images, drawn now by the untrained model where they are missing, and encoded."""
    from noiseprobe.core.progress import Silent
    from noiseprobe.pictures.sampling import Sampler
    from noiseprobe.training.prior import Prior, draw_class_images, find_class_images
    from noiseprobe.training.views import Flips

    model = ready.model
    images = find_class_images(config, ready.concept, run.directory)
    sampler = Sampler(model, config.sampling_steps, config.guidance)
    paths = draw_class_images(images, sampler, config.sampling_seed, reporter or Silent())
    seen = Flips(model.resolution, flip=config.flip)
    objective = ready.objective_on("class-images", paths, seen, images.captions)
    return Prior(objective, images.captions, config.prior_weight)


@alone
def probe_stage(
    run: Run,
    config: RunConfig,
    ready: Personalization,
    reporter: Reporter | None = None,
    steps: "Sequence[int] | None" = None,
    sharing: "Sharing | None" = None,
) -> None:
    """Probe the checkpoints (default: all) not probed yet; see `probing.probe`."""
    from noiseprobe.stages.foreign import follow
    from noiseprobe.stages.probing import probe

    require_checkpoints(run)
    objective = ready.objective  # which finds what is wrong
    run.record(_with_measured(run, config))
    with counted(run):
        if run.foreign:
            follow(run, config, ready, reporter)
        probe(run, objective, ready.method, config, reporter, steps, sharing=sharing)
    status = run.status
    if status["stage"] == "trained":
        run.write_status("probed", status["step"], status["stopped_by"])


@alone
def held_out_stage(
    run: Run,
    config: RunConfig,
    ready: Personalization,
    reporter: Reporter | None = None,
    sharing: "Sharing | None" = None,
) -> None:
    """Probe the checkpoints on the photographs that were held out, and on the others as well.

    See `probing.probe`.
    """
    from noiseprobe.stages.probing import probe

    require_checkpoints(run)
    if ready.held_out is None:
        raise UserError(
            f"--held-out: no photograph was held out of '{run.directory}'; train one with "
            "--hold-out 1 or --validation DIR"
        )
    probe_stage(run, config, ready, reporter, sharing=sharing)
    with counted(run):
        probe(run, ready.held_out, ready.method, config, reporter, held_out=True, sharing=sharing)


def _with_measured(run: Run, config: RunConfig) -> RunConfig:
    """The settings of a probe that adds to what was measured: of both."""
    before = run.config
    if not parts(run.probe_directory):
        return config
    both = {
        "settings": tuple(dict.fromkeys((*before.settings, *config.settings))),
        "replicates": max(before.replicates, config.replicates),
        "probe_batch": max(before.probe_batch, config.probe_batch),
    }
    return config.model_copy(update=both)


@contextmanager
def counted(run: Run) -> Iterator[None]:
    """Count the time of a probe, also of one that Ctrl-C ends."""
    started = time.monotonic()
    try:
        yield
    finally:
        run.add_probe_seconds(time.monotonic() - started)


@alone
def design_stage(
    run: Run,
    config: RunConfig,
    ready: Personalization,
    reporter: Reporter | None = None,
    sharing: "Sharing | None" = None,
) -> None:
    """Evaluate the Sobol design where it is missing; see `probing.probe_design`."""
    from noiseprobe.stages.probing import probe_design

    require_checkpoints(run)
    objective = ready.objective
    run.record(config)
    probe_design(run, objective, ready.method, config, reporter, sharing=sharing)


def require_checkpoints(run: Run) -> None:
    """Raise `UserError` if `run` has no checkpoints."""
    if not run.checkpoint_steps():
        raise UserError(
            f"'{run.directory}' has no checkpoints; train it first: "
            f"noiseprobe train --out {run.directory} --resume"
        )


@alone
def measure_stage(
    run: Run,
    config: RunConfig,
    steps: "Sequence[int]",
    reporter: Reporter | None = None,
    dino: str | None = None,
    lpips: bool = False,
) -> None:
    """Measure checkpoints that lack a metric that is asked; see `measuring.measure`.

    `dino` names a vision transformer for `val_dino_img`; with `lpips` there is `val_lpips`, the
    diversity of the pictures of one prompt.
    """
    from noiseprobe.pictures.photographs import read_photograph
    from noiseprobe.pictures.similarity import Dino, diversity, load_lpips, mean_similarity
    from noiseprobe.stages.measuring import Metric, measure, unmeasured

    for wrong in drop_damaged(run.metrics_directory):
        (reporter or Silent()).note(f"warning: {wrong}; measured anew")
    asked = ["val_dino_img"] * bool(dino) + ["val_lpips"] * lpips
    if not unmeasured(run, steps, asked):
        return
    ready = prepare(config, run)
    device = ready.model.device
    extra: dict[str, Metric] = {}
    if dino:
        judge_of_things = Dino.load(dino, device)
        seen = judge_of_things.embed_images(map(read_photograph, ready.concept.photographs))
        extra["val_dino_img"] = lambda pictures, _: mean_similarity(
            judge_of_things.embed_images(pictures), seen
        )
    if lpips:
        distances = load_lpips(device)
        extra["val_lpips"] = lambda pictures, captions: diversity(pictures, captions, distances)
    measure(run, ready, config, steps, reporter, extra)


def steps_to_measure(run: Run, asked: str | None) -> list[int]:
    """The checkpoints nearest to the steps `asked`, "0,100"; by default where criteria end it."""
    from noiseprobe.analysis.stops import stops

    require_checkpoints(run)
    if asked is None:
        wanted = [stop.step for stop in stops(run.train_trace(), run.config).values()]
    else:
        try:
            wanted = [int(step) for step in asked.split(",")]
        except ValueError:
            raise UserError(f"--steps: '{asked}' given; give numbers, such as 0,100") from None
    return sorted({run.nearest_checkpoint(step) for step in wanted})


def summarise(run: Run, figures: list[Path]) -> dict[str, Any]:
    """Write and return `summary.json`: what `noiseprobe run --json` prints.

    In `noise_to_signal_interval` an end that is not known is null.
    """
    from noiseprobe.analysis import noise_to_signal
    from noiseprobe.analysis.ending import ending_of
    from noiseprobe.analysis.noise import fewest_redraws
    from noiseprobe.analysis.verdicts import of_run

    config, ending, probe = run.config, ending_of(run), run.probe_trace()
    ratios = noise_to_signal(probe)
    verdict = of_run(ending, ratios, fewest_redraws(probe))
    factors = [factor for factor in FACTORS if factor in ratios.index]
    numbers = {
        factor: [_finite(ratios[name][factor]) for name in ("noise_to_signal", "low", "high")]
        for factor in factors
    }
    summary = {
        "run": str(run.directory),
        "method": config.method,
        "model": config.model,
        "steps": ending.steps,
        "max_steps": config.steps,
        "stopped_by": ending.stopped_by,
        "stop_step": next(iter(ending.fired.values())),
        "train_seconds": ending.seconds,
        "probe_seconds": run.status["probe_seconds"],
        "noise_to_signal": {factor: found[0] for factor, found in numbers.items()},
        "noise_to_signal_interval": {
            factor: ends if any(end is not None for end in ends) else None
            for factor, (_, *ends) in numbers.items()
        },
        "figures": [str(path) for path in figures],
        "skipped": ending.skipped,
        "fired": dict(ending.fired),
        "cannot_fire": list(ending.cannot_fire),
        "take": ending.take,
        "result": ending.result,
        **({"best_step": ending.best_step} if ending.best_step is not None else {}),
        **verdict.document,
    }
    write_json(run.directory / "summary.json", summary)
    return summary


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def run_all(config: RunConfig, out: Path | str, reporter: Reporter | None = None) -> dict[str, Any]:
    """A new run in `out`: train, probe, replay, plot. Returns the summary."""
    run, ready = start(config, out, reporter)
    return finish(run, config, ready, reporter)


def resume_all(
    out: Path | str, given: dict[str, Any] | None = None, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Go on with the run in `out`, at the stage and step where it stopped. Returns the summary."""
    run, config = reopen(out, given or {})
    return finish(run, config, prepare(config, run), reporter)


@alone
def finish(
    run: Run,
    config: RunConfig,
    ready: Personalization,
    reporter: Reporter | None = None,
    team: Team = ALONE,
) -> dict[str, Any]:
    """All that a run still lacks of training, probing, figures and summary.

    Of a `team` the training alone; its leader does the rest.
    """
    from noiseprobe.analysis.ending import ending_of

    reporter = reporter or Silent()
    with logged(run, config, reporter) as tools:
        config = _train(run, config, ready, reporter, team, tools)
        probe_stage(run, config, ready, reporter)
        figures = plot_stage(run)
        summary = summarise(run, figures)
        run.write_status("done", summary["steps"], summary["stopped_by"])
        if tools:
            tools.tell(ending_of(run), summary["verdict"], figures)
    return summary
