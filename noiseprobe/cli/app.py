"""The command line: one short function per command; what they do lives in the rooms they call."""

import functools
import inspect
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from noiseprobe.cli.ends import to_the_end


class Outline(NamedTuple):
    """What is known of a command before its module is imported.

    Attributes:
        place: its module here, and its function there.
        told: the first paragraph of its help.
        few: whether its `--help` shows the common settings alone.
    """

    place: str
    told: str
    few: bool = False


COMMANDS = {
    "run": Outline(
        "training.run",
        "Train, probe, replay the criterion and plot: the whole analysis of one concept.",
        few=True,
    ),
    "train": Outline(
        "training.train",
        "Train alone, with L_det tracked and checkpoints written; probe later.",
        few=True,
    ),
    "probe": Outline(
        "probing.probe",
        "Evaluate every checkpoint of a run with one factor redrawn at a time, then plot.",
    ),
    "analyze": Outline(
        "probing.analyze",
        "Say what the noise is made of, how much of each trace is progress, and where it is made.",
    ),
    "plot": Outline(
        "over_runs.plot", "Draw the figures of runs, as PNG and SVG, into each one's figures/."
    ),
    "measure": Outline(
        "over_runs.measure",
        "Draw from checkpoints, and measure the CLIP similarity of the pictures.",
    ),
    "sweep": Outline(
        "training.sweep",
        "Run concepts x methods x seeds in several processes, and measure them; resumable.",
    ),
    "fetch": Outline(
        "fetching.fetch",
        "Copy the runs of a sweep from a bucket into folders, each in one state and verified.",
    ),
    "table": Outline(
        "over_runs.table",
        "Compare stopping criteria over runs: similarity, iterations, minutes, speed-up.",
    ),
    "report": Outline(
        "reporting.report",
        "Write one HTML page of what was found: verdict, curves, pictures, settings.",
    ),
    "estimate": Outline(
        "estimating.estimate",
        "Say how much memory a training takes, and whether it fits a card; no weights are loaded.",
    ),
    "pick": Outline(
        "picking.pick",
        "Say which checkpoint to take, how sure that is, and when training could have stopped.",
        few=True,
    ),
    "dvar-replay": Outline(
        "recorded.dvar_replay",
        "Say where DVAR, or another criterion, would have stopped recorded losses.",
    ),
    "criteria": Outline(
        "recorded.criteria",
        "List the stopping criteria: formula, parameters with their defaults, source.",
    ),
    "regret": Outline(
        "recorded.regret",
        "Say how far from a judge's best each criterion stops: mean and 95% interval over origins.",
    ),
    "doctor": Outline(
        "doctoring.doctor",
        "Say what a log is, what is wrong with it and how to mend it; --out writes it mended.",
    ),
    "verify": Outline(
        "verifying.verify",
        "Say whether runs are whole: files and checksums, columns, gaps in steps, versions.",
    ),
    "survey make": Outline(
        "surveying.make", "Write blinded questionnaires about what measured runs drew."
    ),
    "survey score": Outline(
        "surveying.score",
        "Say what raters preferred, how surely, and how many more would tell.",
    ),
}
"""The commands by the words that call them, in the order of the help page."""


class Later(TyperGroup):
    """A group that imports the module of a command only once that command is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the command that `args` begin with."""
        name, outline, rest = super().resolve_command(ctx, args)
        words = f"{ctx.info_name} {name}" if ctx.parent else name
        return name, whole(words) if words in COMMANDS else outline, rest


@functools.cache
def whole(words: str) -> TyperCommand:
    """Import a command of `COMMANDS`."""
    about = COMMANDS[words]
    module, name = about.place.split(".")
    function = getattr(import_module(f"noiseprobe.cli.{module}"), name)
    # A paragraph is one line: where it is broken is for the terminal to say.
    told = [" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n")]
    more: dict[str, Any] = {}
    if about.few:
        from noiseprobe.cli.flags import FewFlags

        more = {"cls": FewFlags, "epilog": f"Every flag: noiseprobe {words} --help-all"}
    alone = typer.Typer(add_completion=False)
    alone.command(words.split()[-1], help="\n\n".join(told), **more)(function)
    command = typer.main.get_command(alone)
    assert isinstance(command, TyperCommand)
    return command


app = typer.Typer(
    cls=Later,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(asked: bool) -> None:
    """Say which version this is, and end."""
    if asked:
        from importlib.metadata import version

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


survey = typer.Typer(cls=Later, no_args_is_help=True)
app.add_typer(survey, name="survey", help="Ask people which pictures they prefer, blindly.")
for _words, _outline in COMMANDS.items():
    _group = survey if _words.startswith("survey ") else app
    _group.command(_words.split()[-1], help=_outline.told)(lambda: None)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    to_the_end(lambda: app(prog_name="noiseprobe", standalone_mode=False))
