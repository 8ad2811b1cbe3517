"""The command line: one short function per command; what they do lives in the rooms they call."""

import os.path
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noiseprobe.cli import doctoring, estimating, picking, probing
from noiseprobe.cli import recorded as commands_replay
from noiseprobe.cli.ends import to_the_end
from noiseprobe.cli.flags import (
    Debug,
    FewFlags,
    HelpAll,
    Json,
    PlotFile,
    changed,
    check_plot,
    option,
    taking,
)
from noiseprobe.cli.tables import print_json, print_next, print_verdict
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import visible
from noiseprobe.run.declaring import FOREIGN, MACHINE, PROBE

if TYPE_CHECKING:
    from noiseprobe.core.progress import Reporter
    from noiseprobe.run.directory import Run
    from noiseprobe.run.settings import RunConfig
    from noiseprobe.training.preparing import Personalization


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(asked: bool) -> None:
    """Say which version this is, and end."""
    if asked:
        print(f"noiseprobe {version('noiseprobe')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=print_version
        ),
    ] = False,
) -> None:
    """Shows which randomness hides the progress of a diffusion fine-tune, and stops the
    fine-tune when it has stopped learning.
    """


OneRun = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]
Out = Annotated[
    Path | None, option("Where the run is written (default: a new folder in runs/).", MACHINE)
]
ConfigFile = Annotated[
    Path | None,
    option("TOML with any of these flags, underscores for dashes.", MACHINE, "--config"),
]
Resume = Annotated[bool, option("Go on with the run in --out.", MACHINE)]
Design = Annotated[
    str,
    option(
        "settings (default): one factor redrawn at a time; sobol: pairs for variance shares.", PROBE
    ),
]


@app.command(cls=FewFlags, epilog="Every flag: noiseprobe run --help-all")
@taking("run")
def run(
    context: typer.Context,
    out: Out = None,
    config: ConfigFile = None,
    resume: Resume = False,
    json_output: Json = False,
    debug: Debug = False,
    help_all: HelpAll = False,
) -> None:
    """Train, probe, replay the criterion and plot: the whole analysis of one concept."""
    from noiseprobe.cli.terminal import Terminal

    with Terminal() as terminal:
        opened, chosen, ready = begin(context, out, config, resume, terminal)

        from noiseprobe.cli.text_runs import print_summary
        from noiseprobe.stages import pipeline

        summary = pipeline.finish(opened, chosen, ready, terminal)
    print_json(summary) if json_output else print_summary(summary)


@app.command(cls=FewFlags, epilog="Every flag: noiseprobe train --help-all")
@taking("train")
def train(
    context: typer.Context,
    out: Out = None,
    config: ConfigFile = None,
    resume: Resume = False,
    json_output: Json = False,
    debug: Debug = False,
    help_all: HelpAll = False,
) -> None:
    """Train alone, with L_det tracked and checkpoints written; probe later."""
    from noiseprobe.cli.terminal import Terminal

    with Terminal() as terminal:
        opened, chosen, ready = begin(context, out, config, resume, terminal)

        from noiseprobe.analysis.ending import ending_of
        from noiseprobe.analysis.verdicts import of_training
        from noiseprobe.cli.text_runs import ending_table
        from noiseprobe.stages import pipeline

        pipeline.train_stage(opened, chosen, ready, terminal)
    ending = ending_of(opened)
    verdict = of_training(ending)
    if json_output:
        ends = {"fired": dict(ending.fired), "take": ending.take, "result": ending.result}
        best = {} if ending.best_step is None else {"best_step": ending.best_step}
        print_json({"run": ending.run} | opened.status | ends | best | verdict.document)
    else:
        print_verdict(verdict.sentences)
        print(ending_table(ending, opened.train_trace()))
        print_next(verdict.next)


@app.command()
@taking("probe")
def probe(
    context: typer.Context,
    run_directory: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="A run directory.", show_default=False),
    ] = None,
    checkpoints: Annotated[
        list[str] | None,
        option(
            "Probe what another trainer left, in place of a run: a pattern in quotes, files or a "
            "folder; repeatable.",
            FOREIGN,
            metavar="GLOB",
        ),
    ] = None,
    caption: Annotated[
        str | None,
        option(
            "The caption that training had, or a file with one per line (default: the .txt beside "
            "each photograph).",
            FOREIGN,
            metavar="TEXT|FILE",
        ),
    ] = None,
    out: Out = None,
    budget: Annotated[
        str | None,
        option(
            "Choose redraws and samples such that it takes about so long, e.g. 10min, and say how "
            "sure that is.",
            FOREIGN,
            metavar="TIME",
        ),
    ] = None,
    design: Design = "settings",
    held_out: Annotated[
        bool,
        option("Evaluate the held-out photographs, for the gap to the others.", PROBE),
    ] = False,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Evaluate every checkpoint of a run with one factor redrawn at a time, then plot.

    With --checkpoints of files that another trainer left: they become a run in --out, on which
    every other command works. --model is what they were trained on, --concept the photographs.

    With --design sobol, on pairs of draws that share some factors, for the variance shares of
    noiseprobe analyze; --replicates is then how many pairs (default: 32) and --probe-batch the
    samples of each (default: 8).
    """
    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.cli.text_runs import print_summary
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    if checkpoints:
        if held_out or design != "settings":
            raise UserError(
                "--checkpoints: probe them first; then the run that this makes, with --held-out or "
                "--design"
            )
        # A pattern without quotes was spelt out by the shell.
        patterns = [*checkpoints, *map(str, run_directory or [])]
        return probing.probe_foreign(patterns, changed(context), caption, out, budget, json_output)
    directory = probing.one_run(run_directory, caption, out, budget)
    if held_out:
        if design != "settings":
            raise UserError("--design: with --held-out it is settings; leave it out")
        return probing.probe_held_out(directory, changed(context), json_output)
    if design != "settings":
        return probing.probe_sobol(design, directory, changed(context), json_output)
    with Terminal() as terminal:
        opened, chosen = pipeline.reopen(directory, changed(context))
        ready = prepare(chosen, opened)
        pipeline.probe_stage(opened, chosen, ready, terminal)
        summary = pipeline.summarise(opened, pipeline.plot_stage(opened))
    print_json(summary) if json_output else print_summary(summary)


@app.command()
def analyze(
    run_directory: OneRun,
    second_order: Annotated[
        bool, typer.Option("--second-order", help="Also what two factors do only together.")
    ] = False,
    plot: Annotated[bool, typer.Option(help="Draw figures into RUN/figures.")] = True,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say what the noise is made of, how much of each trace is progress, and where it is made."""
    from noiseprobe.run.directory import Run

    probing.print_analysis(Run.open(run_directory), second_order, plot, json_output)


@app.command()
def plot(
    runs: Runs,
    across: Annotated[
        Path | None,
        typer.Option(
            help="Folder for figures over all runs: where criteria stop, which trace tells.",
            show_default=False,
        ),
    ] = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Draw the figures of runs, as PNG and SVG, into each one's figures/.

    Also of a folder that a noiseprobe.Tracker wrote.
    """
    from noiseprobe.core.files import check_folder
    from noiseprobe.run.directory import Run
    from noiseprobe.stages import drawing

    if across:
        check_folder("--across", across)
    trackers = [each for each in runs if Run(each).tracker_file.is_file()]
    opened = [Run.open(directory) for directory in runs if directory not in trackers]
    paths = [path for folder in trackers for path in drawing.plot_tracker(folder)]
    paths += [path for run in opened for path in drawing.plot_stage(run)]
    figures = [str(path) for path in paths]
    if across:
        figures += map(str, drawing.plot_across(opened, across))
    if json_output:
        print_json(figures)
    else:
        print("\n".join(map(visible, figures)))


@app.command()
def measure(
    runs: Runs,
    steps: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated; the nearest checkpoints are measured (default: where the "
            "criteria end the run, and the last).",
            show_default=False,
        ),
    ] = None,
    dino: Annotated[
        str | None,
        typer.Option(
            help="Also DINO similarity, by this directory or hub id, e.g. facebook/dino-vits16.",
            show_default=False,
        ),
    ] = None,
    lpips: Annotated[
        bool,
        typer.Option("--lpips", help="Also LPIPS diversity; needs the lpips package."),
    ] = False,
    plot_file: PlotFile = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Draw from checkpoints, and measure the CLIP similarity of the pictures.

    A step that was measured before is not measured again.
    """
    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.cli.text_runs import metrics_table
    from noiseprobe.run.directory import Run
    from noiseprobe.stages import drawing, pipeline

    check_plot(plot_file)
    opened = [Run.open(directory) for directory in runs]
    with Terminal() as terminal:
        for run in opened:
            wanted = pipeline.steps_to_measure(run, steps)
            pipeline.measure_stage(run, run.config, wanted, terminal, dino, lpips)
    measured = {str(run.directory): run.metrics_trace() for run in opened}
    if plot_file:
        from noiseprobe.plots import plot_metrics
        from noiseprobe.plots.saving import save_one

        ends = {str(run.directory): drawing.ends_of(run) for run in opened}
        save_one(plot_metrics(measured, ends), plot_file)
    if json_output:
        print_json({name: trace.to_dict("records") for name, trace in measured.items()})
    else:
        from noiseprobe.analysis.verdicts import of_measures

        verdict = of_measures(measured)
        print_verdict(verdict.sentences)
        print(metrics_table(measured))
        print_next(verdict.next)


@app.command()
def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="What to run; see docs/stopping.md.")
    ],
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes (default: those of the file).", show_default=False),
    ] = None,
    plot_file: PlotFile = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Run concepts x methods x seeds in several processes, and measure them; resumable."""
    from dataclasses import replace

    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.stages.sweep import progress_of, read_sweep, run_sweep

    check_plot(plot_file)
    chosen = read_sweep(file)
    if workers:
        chosen = replace(chosen, workers=workers)
    with Terminal() as terminal:
        failed = run_sweep(chosen, terminal)
    done = [str(out) for out in chosen.runs if str(out) not in failed]
    if plot_file:
        from noiseprobe.plots import plot_sweep
        from noiseprobe.plots.saving import save_one

        save_one(plot_sweep(progress_of(chosen, failed)), plot_file)
    if json_output:
        print_json({"done": done, "failed": failed})
    else:
        from noiseprobe.analysis.verdicts import of_sweep

        verdict = of_sweep(done, failed, Path(os.path.commonpath(list(chosen.runs))))
        print_verdict(verdict.sentences)
        print("\n".join(map(visible, done)))
        for out, reason in failed.items():
            print(f"failed: {visible(out)}: {visible(reason)}", file=sys.stderr)
        print_next(verdict.next)
    if failed:
        raise typer.Exit(1)


@app.command()
def table(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, or folders that hold some."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Also write comparison.md, .csv, .tex, .json and runs.csv there.",
            show_default=False,
        ),
    ] = None,
    plot_file: PlotFile = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Compare stopping criteria over runs: similarity, iterations, minutes, speed-up."""
    from noiseprobe.analysis import comparison
    from noiseprobe.analysis.verdicts import of_comparison
    from noiseprobe.cli.tables import records
    from noiseprobe.cli.text_runs import comparison_text, write_comparison
    from noiseprobe.core.files import check_folder
    from noiseprobe.run.directory import find_runs

    check_plot(plot_file)
    if out:
        check_folder("--out", out)
    found = find_runs(runs)
    raw = comparison.raw_numbers(found)
    summary = comparison.table(raw)
    if out:
        write_comparison(raw, summary, out)
    if plot_file:
        from noiseprobe.plots import plot_comparison
        from noiseprobe.plots.saving import save_one

        save_one(plot_comparison(summary), plot_file)
    if json_output:
        print_json(records(summary))
    else:
        verdict = of_comparison(raw, summary, runs, [run.directory for run in found])
        print_verdict(verdict.sentences)
        print(comparison_text(summary))
        print_next(verdict.next)


app.command()(estimating.estimate)
app.command()(picking.pick)
app.command("dvar-replay")(commands_replay.dvar_replay)
app.command()(commands_replay.criteria)
app.command()(commands_replay.regret)
app.command()(doctoring.doctor)


def begin(
    context: typer.Context,
    out: Path | None,
    file: Path | None,
    resume: bool,
    reporter: "Reporter",
) -> "tuple[Run, RunConfig, Personalization]":
    """A new run, or the one in `out` to go on with; its settings; and what it works on.

    Says what that is, before anything takes long.
    """
    from noiseprobe.run.defaults import BUNDLED_MODEL
    from noiseprobe.run.resolving import resolve

    # Wrong settings end it at once; whatever takes long to import is imported after them.
    settled = None if resume else resolve(changed(context), file)

    from noiseprobe.training.concept import bundled_concepts, load_concept

    if settled is not None:
        with warnings.catch_warnings(action="ignore"):  # they come where it is used
            load_concept(settled.concept, settled.class_noun, settled.placeholder)

    from noiseprobe.run.directory import new_directory
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    if settled is None:
        if out is None:
            raise UserError("--resume: which run? add --out with its folder")
        if file is not None:
            raise UserError("--config: a run goes on with its own settings; give flags instead")
        run, config = pipeline.reopen(out, changed(context))
        pipeline.require_own(run)
        ready = prepare(config, run)
    else:
        config = settled
        place = out or new_directory(config.concept, config.method)
        run, ready = pipeline.start(config, place, reporter)
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


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    to_the_end(lambda: app(prog_name="noiseprobe", standalone_mode=False))
