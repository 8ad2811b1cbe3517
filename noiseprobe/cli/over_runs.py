"""The commands that look at runs: figures, pictures that are measured, the table of criteria."""

from pathlib import Path
from typing import Annotated

import typer

from noiseprobe.cli.flags import Debug, Json, Offline, PlotFile, check_plot
from noiseprobe.cli.tables import print_json, print_next, print_verdict
from noiseprobe.core.words import visible

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")]


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
    offline: Offline = False,
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
    if lpips and offline:
        from noiseprobe.pictures.similarity import require_lpips_here

        require_lpips_here()
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
