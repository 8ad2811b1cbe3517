"""The command line: one short function per command; what they do lives in the rooms they call."""

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from noiseprobe.defaults import shown
from noiseprobe.errors import Interrupted, UserError

if TYPE_CHECKING:
    from noiseprobe.config import RunConfig
    from noiseprobe.pipeline import Personalization
    from noiseprobe.run import Run

app = typer.Typer(
    help="Shows which randomness hides the progress of a diffusion fine-tune, and stops the "
    "fine-tune when it has stopped learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TRAINING, STOPPING, PROBE, MACHINE = "What is trained", "When to stop", "Probe", "Machine and files"


def option(help: str, panel: str, *names: str, **more: Any) -> Any:
    """A Typer option that belongs to a panel of the help page."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


Concept = Annotated[
    str | None,
    option(
        "Folder with 3-6 photographs, or a bundled concept (default: banded-cup).",
        TRAINING,
        metavar="DIR|NAME",
    ),
]
ClassNoun = Annotated[
    str | None,
    option("What kind of thing it is, e.g. dog.", TRAINING, "--class", metavar="NOUN"),
]
Placeholder = Annotated[str | None, option("The new word (default: <v>).", TRAINING)]
Model = Annotated[
    str | None,
    option("Stable Diffusion directory or hub id (default: tiny-sd, the bundled one).", TRAINING),
]
Method = Annotated[str | None, option("textual-inversion (default).", TRAINING)]
Initializer = Annotated[
    str | None, option("One-token word to start from (default: the class noun).", TRAINING)
]
NumVectors = Annotated[int | None, option("Vectors per placeholder (default: 1).", TRAINING)]
CenterCrop = Annotated[
    bool | None, option("Crop photographs to a square, or squeeze them (default: crop).", TRAINING)
]
LearningRate = Annotated[
    float | None, option(f"AdamW's learning rate {shown('learning_rate')}.", TRAINING)
]
ScaleLr = Annotated[bool | None, option("Multiply it by the batch size (default: yes).", TRAINING)]
TrainBatchSize = Annotated[
    int | None, option(f"Samples per step {shown('train_batch_size')}.", TRAINING)
]
Seed = Annotated[int | None, option("Seed of every draw (default: 0).", TRAINING)]
Steps = Annotated[int | None, option(f"Most steps to train {shown('steps')}.", STOPPING)]
Stop = Annotated[str | None, option("dvar (default), fixed or none: run all --steps.", STOPPING)]
Window = Annotated[int | None, option(f"DVAR: last values of L_det {shown('window')}.", STOPPING)]
Threshold = Annotated[
    float | None,
    option(f"DVAR: stop below this variance ratio {shown('threshold')}.", STOPPING),
]
EvalBatch = Annotated[
    int | None, option(f"Samples of the fixed batch of L_det {shown('eval_batch')}.", STOPPING)
]
EvalEvery = Annotated[int | None, option("Steps between values of L_det (default: 1).", STOPPING)]
Settings = Annotated[
    str | None,
    option(
        "Comma-separated: deterministic, images, captions, vae_noise, timesteps, noise, original, "
        "a sum such as timesteps+noise, or a code such as 11110 (default: all seven).",
        PROBE,
    ),
]
Replicates = Annotated[int | None, option(f"Redraws per setting {shown('replicates')}.", PROBE)]
ProbeBatch = Annotated[int | None, option(f"Samples per redraw {shown('probe_batch')}.", PROBE)]
MicroBatch = Annotated[
    int | None, option("Samples that the denoiser takes at once (default: 64).", PROBE)
]
CheckpointEvery = Annotated[
    int | None, option(f"Steps between checkpoints {shown('checkpoint_every')}.", MACHINE)
]
Out = Annotated[
    Path | None, option("Where the run is written (default: a new folder in runs/).", MACHINE)
]
ConfigFile = Annotated[
    Path | None,
    option("TOML with any of these flags, underscores for dashes.", MACHINE, "--config"),
]
Resume = Annotated[bool, option("Go on with the run in --out.", MACHINE)]
Device = Annotated[str | None, option("auto (default), cuda, mps, cpu.", MACHINE)]
Precision = Annotated[str | None, option("Of the denoiser: fp32 (default), bf16, fp16.", MACHINE)]
Json = Annotated[bool, option("Print one JSON document, nothing else.", MACHINE, "--json")]
Debug = Annotated[bool, option("Show the traceback of an error.", MACHINE)]

QUIET_LIBRARIES = {
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
NOT_SETTINGS = {"out", "config", "resume", "json_output", "debug", "run_directory"}


@app.command()
def run(
    context: typer.Context,
    concept: Concept = None,
    class_noun: ClassNoun = None,
    placeholder: Placeholder = None,
    model: Model = None,
    method: Method = None,
    initializer: Initializer = None,
    num_vectors: NumVectors = None,
    center_crop: CenterCrop = None,
    learning_rate: LearningRate = None,
    scale_lr: ScaleLr = None,
    train_batch_size: TrainBatchSize = None,
    seed: Seed = None,
    steps: Steps = None,
    stop: Stop = None,
    window: Window = None,
    threshold: Threshold = None,
    eval_batch: EvalBatch = None,
    eval_every: EvalEvery = None,
    settings: Settings = None,
    replicates: Replicates = None,
    probe_batch: ProbeBatch = None,
    micro_batch: MicroBatch = None,
    checkpoint_every: CheckpointEvery = None,
    out: Out = None,
    config: ConfigFile = None,
    resume: Resume = False,
    device: Device = None,
    precision: Precision = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Train, probe, replay the stopping rule and plot: the whole analysis of one concept."""
    from noiseprobe import pipeline
    from noiseprobe.report import print_summary
    from noiseprobe.terminal import Terminal

    with Terminal() as terminal:
        opened, chosen, ready = begin(context, out, config, resume)
        terminal.note(f"run: {opened.directory}")
        summary = pipeline.finish(opened, chosen, ready, terminal)
    print_json(summary) if json_output else print_summary(summary)


@app.command()
def train(
    context: typer.Context,
    concept: Concept = None,
    class_noun: ClassNoun = None,
    placeholder: Placeholder = None,
    model: Model = None,
    method: Method = None,
    initializer: Initializer = None,
    num_vectors: NumVectors = None,
    center_crop: CenterCrop = None,
    learning_rate: LearningRate = None,
    scale_lr: ScaleLr = None,
    train_batch_size: TrainBatchSize = None,
    seed: Seed = None,
    steps: Steps = None,
    stop: Stop = None,
    window: Window = None,
    threshold: Threshold = None,
    eval_batch: EvalBatch = None,
    eval_every: EvalEvery = None,
    checkpoint_every: CheckpointEvery = None,
    out: Out = None,
    config: ConfigFile = None,
    resume: Resume = False,
    device: Device = None,
    precision: Precision = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Train alone, with L_det tracked and checkpoints written; probe later."""
    from noiseprobe import pipeline
    from noiseprobe.terminal import Terminal

    with Terminal() as terminal:
        opened, chosen, ready = begin(context, out, config, resume)
        terminal.note(f"run: {opened.directory}")
        pipeline.train_stage(opened, chosen, ready, terminal)
    status = {"run": str(opened.directory)} | opened.status
    if json_output:
        print_json(status)
    else:
        print(f"stopped by {status['stopped_by']} at step {status['step']}: {status['run']}")


@app.command()
def probe(
    context: typer.Context,
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    settings: Settings = None,
    replicates: Replicates = None,
    probe_batch: ProbeBatch = None,
    micro_batch: MicroBatch = None,
    device: Device = None,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Evaluate every checkpoint of a run with one factor redrawn at a time, then plot."""
    from noiseprobe import pipeline
    from noiseprobe.report import print_summary
    from noiseprobe.terminal import Terminal

    with Terminal() as terminal:
        opened, chosen = pipeline.reopen(run_directory, changed(context))
        ready = pipeline.prepare(chosen)
        pipeline.probe_stage(opened, chosen, ready, terminal)
        summary = pipeline.summarise(opened, pipeline.plot_stage(opened))
    print_json(summary) if json_output else print_summary(summary)


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Draw the figures of runs, as PNG and SVG, into each one's figures/."""
    from noiseprobe import pipeline
    from noiseprobe.run import Run

    opened = [Run.open(directory) for directory in runs]
    figures = [str(path) for run in opened for path in pipeline.plot_stage(run)]
    if json_output:
        print_json(figures)
    else:
        print("\n".join(figures))


@app.command("dvar-replay")
def dvar_replay(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Run directories, CSV, JSON Lines or Parquet."),
    ],
    window: Annotated[
        int | None, option("Last values compared with all (default: 310).", STOPPING)
    ] = None,
    threshold: Annotated[
        float | None, option("Stop below this variance ratio (default: 0.15).", STOPPING)
    ] = None,
    column: Annotated[
        str | None, option("Which column (default: l_det, or the only numeric one).", STOPPING)
    ] = None,
    grid: Annotated[
        bool, option("The stop step for a range of windows and thresholds.", STOPPING)
    ] = False,
    json_output: Json = False,
    debug: Debug = False,
) -> None:
    """Say where DVAR would have stopped recorded losses.

    A run directory is replayed with its own window and threshold unless others are given.
    """
    from noiseprobe import report

    replays, grids = report.replay_sources(sources, column, window, threshold, grid)
    if json_output:
        print_json(grids if grid else replays)
    else:
        print(report.grid_table(grids) if grid else report.replay_table(replays))


def changed(context: typer.Context) -> dict[str, Any]:
    """The run settings that were given as flags."""
    given = {key: value for key, value in context.params.items() if key not in NOT_SETTINGS}
    if given.get("settings"):
        from noiseprobe.factors import parse_settings

        names = parse_settings(given["settings"].split(","))
        given["settings"] = tuple(setting.name for setting in names)
    return {key: value for key, value in given.items() if value is not None}


def begin(
    context: typer.Context, out: Path | None, file: Path | None, resume: bool
) -> "tuple[Run, RunConfig, Personalization]":
    """A new run, or the one in `out` to go on with; its settings; and what it works on."""
    from noiseprobe import pipeline
    from noiseprobe.config import resolve
    from noiseprobe.run import new_directory

    if resume:
        if out is None:
            raise UserError("--resume: which run? add --out with its folder")
        if file is not None:
            raise UserError("--config: a run goes on with its own settings; give flags instead")
        run, config = pipeline.reopen(out, changed(context))
        return run, config, pipeline.prepare(config)
    config = resolve(changed(context), file)
    run, ready = pipeline.start(config, out or new_directory(config.concept, config.method))
    return run, config, ready


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    import json

    print(json.dumps(document, indent=2, allow_nan=False))


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of ours in one line; those of libraries are theirs to mend, not the user's."""
    if category.__module__.startswith("noiseprobe"):
        print(f"noiseprobe: warning: {message}", file=sys.stderr)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    debug = "--debug" in sys.argv
    if not debug:
        warnings.showwarning = show_warning
        for name, value in QUIET_LIBRARIES.items():
            os.environ.setdefault(name, value)
    try:
        app()
    except UserError as error:
        if debug:
            raise
        print(f"noiseprobe: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        if debug:
            raise
        print(
            f"noiseprobe: no permission for '{error.filename}'; choose another folder with --out",
            file=sys.stderr,
        )
        sys.exit(2)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"noiseprobe: {str(error) or 'interrupted'}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:  # the last resort: a user never sees a traceback
        if debug:
            raise
        print(
            f"noiseprobe: {type(error).__name__}: {error}; run again with --debug for the details",
            file=sys.stderr,
        )
        sys.exit(1)
