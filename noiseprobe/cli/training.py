"""The commands that train: a run, the training alone, a sweep of many."""

import os.path
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noiseprobe.cli.ends import processes
from noiseprobe.cli.engines import Address, EngineName, check_engine, engine_of
from noiseprobe.cli.flags import (
    Debug,
    HelpAll,
    Json,
    Offline,
    Out,
    PlotFile,
    changed,
    check_plot,
    option,
    taking,
)
from noiseprobe.cli.tables import print_json, print_next, print_verdict
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import visible
from noiseprobe.run.declaring import MACHINE

if TYPE_CHECKING:
    from noiseprobe.core.progress import Reporter
    from noiseprobe.run.directory import Run
    from noiseprobe.run.settings import RunConfig
    from noiseprobe.training.preparing import Personalization
    from noiseprobe.training.team import Team

ConfigFile = Annotated[
    Path | None,
    option("TOML with any of these flags, underscores for dashes.", MACHINE, "--config"),
]
Resume = Annotated[bool, option("Go on with the run in --out.", MACHINE)]


@taking("run")
def run(
    context: typer.Context,
    out: Out = None,
    config: ConfigFile = None,
    resume: Resume = False,
    json_output: Json = False,
    offline: Offline = False,
    debug: Debug = False,
    help_all: HelpAll = False,
) -> None:
    """Train, probe, replay the criterion and plot: the whole analysis of one concept."""
    from noiseprobe.cli.terminal import Terminal

    with Terminal() as terminal:
        opened, chosen, ready, team = begin_together(context, out, config, resume, terminal)

        from noiseprobe.cli.text_runs import print_summary
        from noiseprobe.stages import pipeline

        if not team.leads:
            pipeline.take_part(opened, chosen, ready, team)
            return
        summary = pipeline.finish(opened, chosen, ready, terminal, team)
    print_json(summary) if json_output else print_summary(summary)


@taking("train")
def train(
    context: typer.Context,
    out: Out = None,
    config: ConfigFile = None,
    resume: Resume = False,
    json_output: Json = False,
    offline: Offline = False,
    debug: Debug = False,
    help_all: HelpAll = False,
) -> None:
    """Train alone, with L_det tracked and checkpoints written; probe later."""
    from noiseprobe.cli.terminal import Terminal

    with Terminal() as terminal:
        opened, chosen, ready, team = begin_together(context, out, config, resume, terminal)

        from noiseprobe.analysis.ending import ending_of
        from noiseprobe.analysis.verdicts import of_training
        from noiseprobe.cli.text_runs import ending_table
        from noiseprobe.stages import pipeline

        if not team.leads:
            pipeline.take_part(opened, chosen, ready, team)
            return
        pipeline.train_stage(opened, chosen, ready, terminal, team)
    ending = ending_of(opened)
    verdict = of_training(ending)
    if json_output:
        ends = {"skipped": ending.skipped, "fired": dict(ending.fired)}
        ends |= {"take": ending.take, "result": ending.result}
        best = {} if ending.best_step is None else {"best_step": ending.best_step}
        print_json({"run": ending.run} | opened.status | ends | best | verdict.document)
    else:
        print_verdict(verdict.sentences)
        print(ending_table(ending, opened.train_trace()))
        print_next(verdict.next)


def begin_together(
    context: typer.Context,
    out: Path | None,
    file: Path | None,
    resume: bool,
    reporter: "Reporter",
) -> "tuple[Run, RunConfig, Personalization, Team]":
    """What `begin` says, and the team of processes that train: where there are several, the leader
    begins, and the others open what it began, and say nothing.
    """
    if processes() == 1:
        begun = begin(context, out, file, resume, reporter)

        from noiseprobe.training.team import ALONE  # brings torch, which takes long

        return *begun, ALONE
    if out is None:
        raise UserError("--out: several processes train together; name the folder of the run")

    from noiseprobe.core.progress import Silent
    from noiseprobe.training.team import joined

    device = str(changed(context).get("device", "auto"))
    team = joined(device)
    if not team.leads:
        team.wait()
    begun = begin(context, out, file, resume, reporter if team.leads else Silent(), several=True)
    if team.leads:
        team.wait()
    return *begun, team


def begin(
    context: typer.Context,
    out: Path | None,
    file: Path | None,
    resume: bool,
    reporter: "Reporter",
    several: bool = False,
) -> "tuple[Run, RunConfig, Personalization]":
    """A new run, or the one in `out` to go on with; its settings; and what it works on.

    Says what that is, before anything takes long. With `several` processes it has one training.
    """
    from noiseprobe.run.defaults import BUNDLED_MODEL
    from noiseprobe.run.holding import began
    from noiseprobe.run.resolving import resolve

    # Wrong settings end it at once; whatever takes long to import is imported after them.
    if resume and out is None:
        raise UserError("--resume: which run? add --out with its folder")
    cut_off = out is not None and resume and began(out)  # before there was anything to go on with
    settled = None if resume and not cut_off else resolve(changed(context), file)
    if several and settled:
        require_one_training(settled)

    from noiseprobe.training.concept import bundled_concepts, load_concept

    if settled is not None:
        with warnings.catch_warnings(action="ignore"):  # they come where it is used
            load_concept(settled.concept, settled.class_noun, settled.placeholder)

    from noiseprobe.run.directory import new_directory
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    if out is not None and (out / "config.toml").is_file():
        if resume and file is not None:
            raise UserError("--config: a run goes on with its own settings; give flags instead")
        if settled is not None:
            require_same(out, settled, mend="or add --resume to go on with that one")
            reporter.note(f"{out} holds this run already: going on with it")
        run, config = pipeline.reopen(out, {} if settled else changed(context))
        pipeline.require_own(run)
        if several:
            require_one_training(config)
        ready = prepare(config, run)
    elif settled is not None:
        place = out or new_directory(settled.concept, settled.method)
        run, ready = pipeline.start(settled, place, reporter)
    else:
        raise UserError(
            f"--resume: '{out}' is not a run directory (no config.toml in it); give the folder "
            "that --out named"
        )
    config = ready.config
    reporter.note(f"run: {run.directory}")
    reporter.note(
        f"model {config.model}, {config.method}, {ready.model.device}, {config.precision}, "
        f"seed {config.seed}"
    )
    if config.model == BUNDLED_MODEL and config.concept not in bundled_concepts():
        reporter.note(
            f"warning: {BUNDLED_MODEL} draws 64x64 pixels and knows little: with your photographs "
            "the mechanics are real, the pictures will be blobs; --model names another"
        )
    return run, config, ready


def require_one_training(config: "RunConfig") -> None:
    """Raise `UserError` where the settings ask for trainings beside that of the run."""
    for name in ("cross", "refit"):
        if getattr(config, name):
            raise UserError(
                f"--{name}: that trains several times, which one process does; leave it out, or "
                "start without torchrun or accelerate launch"
            )


def require_same(
    out: Path, settled: "RunConfig", mend: str = "or other settings", but: Iterable[str] = ()
) -> None:
    """Raise `UserError` unless the run in `out` was started with these settings, `but` for some."""
    from noiseprobe.run.directory import Run
    from noiseprobe.run.settings import flag

    before = Run.open(out).config
    for key, now in settled.model_dump().items():
        then = getattr(before, key)
        if then != now and key not in but and not (key == "precision" and now == "auto"):
            raise UserError(
                f"--out: '{out}' holds a run that was started with {flag(key)} {then}, not {now}; "
                f"choose another folder, {mend}"
            )


def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="What to run; see docs/stopping.md.")
    ],
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes (default: those of the file).", show_default=False),
    ] = None,
    engine: EngineName = "local",
    address: Address = None,
    plot_file: PlotFile = None,
    json_output: Json = False,
    offline: Offline = False,
    debug: Debug = False,
) -> None:
    """Run concepts x methods x seeds in several processes, and measure them; resumable.

    The runs are in a folder, or in a bucket (`out = "s3://..."` in the file; docs/cluster.md).
    """
    from dataclasses import replace

    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.stages.sweep import progress_of, read_sweep, run_sweep

    check_plot(plot_file)
    check_engine(engine, address)
    chosen = read_sweep(file)
    if workers:
        chosen = replace(chosen, workers=workers)
    with engine_of(engine, address, chosen.resources) as work, Terminal() as terminal:
        failed = run_sweep(chosen, terminal, work)
    done = [chosen.place(out) for out in chosen.runs if str(out) not in failed]
    told = {chosen.place(Path(out)): reason for out, reason in failed.items()}
    if plot_file:
        from noiseprobe.plots import plot_sweep
        from noiseprobe.plots.saving import save_one

        save_one(plot_sweep(progress_of(chosen, failed)), plot_file)
    if json_output:
        print_json({"done": done, "failed": told})
    else:
        from noiseprobe.analysis.verdicts import of_sweep

        place = chosen.bucket.url if chosen.bucket else Path(os.path.commonpath(list(chosen.runs)))
        verdict = of_sweep(done, told, place)
        print_verdict(verdict.sentences)
        print("\n".join(map(visible, done)))
        for out, reason in told.items():
            print(f"failed: {visible(out)}: {visible(reason)}", file=sys.stderr)
        print_next(verdict.next)
    if failed:
        raise typer.Exit(1)
