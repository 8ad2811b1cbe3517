"""What `probe` and `analyze` do beside the usual probe: Sobol design, held-out photographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.cli.tables import print_json, print_next, print_verdict
from noiseprobe.core.errors import UserError
from noiseprobe.core.words import visible

if TYPE_CHECKING:
    from noiseprobe.run.directory import Run


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


def probe_foreign(
    patterns: list[str],
    given: dict[str, Any],
    caption: str | None,
    out: Path | None,
    budget: str | None,
    json_output: bool,
) -> None:
    """Make a run of checkpoints that another trainer left, probe it, and print what that says."""
    from noiseprobe.cli.terminal import Terminal
    from noiseprobe.cli.text_runs import print_summary
    from noiseprobe.run.directory import new_directory
    from noiseprobe.stages import foreign, pipeline
    from noiseprobe.stages.budget import parse_budget

    if budget and {"replicates", "probe_batch"} & given.keys():
        raise UserError("--budget: it chooses --replicates and --probe-batch; leave them out")
    seconds = None if budget is None else parse_budget(budget)
    with Terminal() as terminal:
        series = foreign.find_series(patterns, given, caption)
        config = foreign.settings_of(series, given)
        place = out or new_directory(config.concept, config.method)
        run, ready = foreign.start_foreign(series, config, place, terminal, seconds)
        terminal.note(f"run: {run.directory}")
        first, last = series.steps[1 if len(series.steps) > 1 else 0], series.steps[-1]
        terminal.note(
            f"model {config.model}, {len(series.steps)} checkpoints with the model itself, "
            f"{series.unit} {first} to {last}, {ready.model.device}, {ready.config.precision}"
        )
        for note in series.notes:
            terminal.note(note)
        pipeline.probe_stage(run, ready.config, ready, terminal)
        summary = pipeline.summarise(run, pipeline.plot_stage(run))
    print_json(summary) if json_output else print_summary(summary)


def probe_sobol(design: str, directory: Path, given: dict[str, Any], json_output: bool) -> None:
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
        pipeline.design_stage(opened, chosen, ready, terminal)
    print_analysis(opened, False, True, json_output)


def probe_held_out(directory: Path, given: dict[str, Any], json_output: bool) -> None:
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
        pipeline.held_out_stage(opened, chosen, prepare(chosen, opened), terminal)
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
