"""The commands that evaluate checkpoints and say what the noise is made of: probe, analyze."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseprobe.cli.engines import Address, EngineName, Workers, sharing_of
from noiseprobe.cli.flags import Debug, Json, Offline, Out, changed, option, taking
from noiseprobe.cli.foreign import Budget, Caption, Checkpoints, opened_series
from noiseprobe.cli.tables import print_json, print_next, print_verdict
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import visible
from noiseprobe.run.declaring import PROBE

if TYPE_CHECKING:
    from noiseprobe.run.directory import Run
    from noiseprobe.stages.sharing import Sharing


OneRun = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Design = Annotated[
    str,
    option(
        "settings (default): one factor redrawn at a time; sobol: pairs for variance shares.", PROBE
    ),
]


@taking("probe")
def probe(
    context: typer.Context,
    run_directory: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="A run directory.", show_default=False),
    ] = None,
    checkpoints: Checkpoints = None,
    caption: Caption = None,
    out: Out = None,
    budget: Budget = None,
    design: Design = "settings",
    held_out: Annotated[
        bool,
        option("Evaluate the held-out photographs, for the gap to the others.", PROBE),
    ] = False,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    json_output: Json = False,
    offline: Offline = False,
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
        with sharing_of(engine, address, workers) as sharing, Terminal() as terminal:
            made, ready = opened_series(patterns, changed(context), caption, out, budget, terminal)
            pipeline.probe_stage(made, ready.config, ready, terminal, sharing=sharing)
            summary = pipeline.summarise(made, pipeline.plot_stage(made))
        return print_json(summary) if json_output else print_summary(summary)
    directory = one_run(run_directory, caption, out, budget)
    if held_out and design != "settings":
        raise UserError("--design: with --held-out it is settings; leave it out")
    with sharing_of(engine, address, workers) as sharing:
        if held_out:
            return probe_held_out(directory, changed(context), json_output, sharing)
        if design != "settings":
            return probe_sobol(design, directory, changed(context), json_output, sharing)
        with Terminal() as terminal:
            opened, chosen = pipeline.reopen(directory, changed(context))
            ready = prepare(chosen, opened)
            pipeline.probe_stage(opened, chosen, ready, terminal, sharing=sharing)
            summary = pipeline.summarise(opened, pipeline.plot_stage(opened))
    print_json(summary) if json_output else print_summary(summary)


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

    print_analysis(Run.open(run_directory), second_order, plot, json_output)


def one_run(
    given: list[Path] | None, caption: str | None, out: Path | None, budget: str | None
) -> Path:
    """The run directory that is to be probed; raises `UserError` unless there is one."""
    for name, value in (("--caption", caption), ("--out", out), ("--budget", budget)):
        if value is not None:
            raise UserError(f"{name}: it belongs to --checkpoints, and a run has its own; leave it")
    if not given or len(given) > 1:
        raise UserError(
            f"{len(given or [])} run directories given; give one, or --checkpoints with what "
            "another trainer left"
        )
    return given[0]


def probe_sobol(
    design: str,
    directory: Path,
    given: dict[str, Any],
    json_output: bool,
    sharing: "Sharing | None" = None,
) -> None:
    """Probe the Sobol design, whose flags are its own, and print what it says."""
    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    if design != "sobol":
        raise UserError(f"--design: '{design}' given; choose from settings, sobol")
    if "settings" in given:
        raise UserError("--settings: a Sobol design redraws every factor; leave the flag out")
    for key, own in (("replicates", "design_replicates"), ("probe_batch", "design_batch")):
        if key in given:
            given[own] = given.pop(key)
    with Terminal() as terminal:
        opened, chosen = pipeline.reopen(directory, given)
        ready = prepare(chosen, opened)
        pipeline.design_stage(opened, chosen, ready, terminal, sharing)
    print_analysis(opened, False, True, json_output)


def probe_held_out(
    directory: Path, given: dict[str, Any], json_output: bool, sharing: "Sharing | None" = None
) -> None:
    """Probe the held-out photographs, and print how far their loss is from that of the others."""
    from noiseprobe.analysis.gap import gap_by_timestep, gaps
    from noiseprobe.analysis.verdicts import Verdict
    from noiseprobe.analysis.verdicts_held_out import of_gap
    from noiseprobe.cli.tables import records
    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.cli.text_runs import gap_text
    from noiseprobe.stages import pipeline
    from noiseprobe.training.preparing import prepare

    with Terminal() as terminal:
        opened, chosen = pipeline.reopen(directory, given)
        pipeline.held_out_stage(opened, chosen, prepare(chosen, opened), terminal, sharing)
        figures = pipeline.plot_stage(opened)
    trained, held = opened.probe_trace(), opened.held_out_trace()
    table = gaps(trained, held)
    bins = gap_by_timestep(trained, held, num_timesteps=opened.num_timesteps)
    sentences, following = of_gap(opened.directory, table)
    verdict = Verdict(sentences, following)
    if json_output:
        found = {"run": str(opened.directory), "gap": records(table), "timesteps": records(bins)}
        print_json(found | {"figures": [str(path) for path in figures]} | verdict.document)
    else:
        print_verdict(verdict.sentences)
        print(gap_text(table, bins))
        print_next(verdict.next)


def print_analysis(run: "Run", second_order: bool, plot: bool, json_output: bool) -> None:
    """Analyze a run, draw its figures, and print tables or JSON."""
    from noiseprobe.analysis.run_tables import analyze as analyzed
    from noiseprobe.analysis.verdicts import of_analysis
    from noiseprobe.cli.text_runs import analysis_text, print_analysis_json
    from noiseprobe.stages import drawing

    found = analyzed(run, second_order)
    figures = drawing.draw_analysis(found, run.figures_directory) if plot else []
    verdict = of_analysis(found)
    if json_output:
        print_analysis_json(found, figures, verdict)
    else:
        print_verdict(verdict.sentences)
        print(analysis_text(found))
        if figures:
            print(f"\nFigures: {visible(run.figures_directory)}/")
        print_next(verdict.next)
