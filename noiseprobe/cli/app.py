"""The command line: one short function per command; what they do lives in the rooms they call."""

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from noiseprobe.cli import (
    doctoring,
    estimating,
    fetching,
    over_runs,
    picking,
    probing,
    recorded,
    reporting,
    surveying,
    training,
    verifying,
)
from noiseprobe.cli.ends import to_the_end
from noiseprobe.cli.flags import FewFlags

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


survey = typer.Typer(no_args_is_help=True)
app.add_typer(survey, name="survey", help="Ask people which pictures they prefer, blindly.")


def add(function: Callable[..., None], name: str, few: bool = False, to: typer.Typer = app) -> None:
    """Make a function a command; with `few`, its `--help` shows the common settings alone."""
    # A paragraph is one line: where it is broken is for the terminal to say.
    told = [" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n")]
    more: dict[str, Any] = (
        {"cls": FewFlags, "epilog": f"Every flag: noiseprobe {name} --help-all"} if few else {}
    )
    to.command(name, help="\n\n".join(told), **more)(function)


add(training.run, "run", few=True)
add(training.train, "train", few=True)
add(probing.probe, "probe")
add(probing.analyze, "analyze")
add(over_runs.plot, "plot")
add(over_runs.measure, "measure")
add(training.sweep, "sweep")
add(fetching.fetch, "fetch")
add(over_runs.table, "table")
add(reporting.report, "report")
add(estimating.estimate, "estimate")
add(picking.pick, "pick", few=True)
add(recorded.dvar_replay, "dvar-replay")
add(recorded.criteria, "criteria")
add(recorded.regret, "regret")
add(doctoring.doctor, "doctor")
add(verifying.verify, "verify")
add(surveying.make, "make", to=survey)
add(surveying.score, "score", to=survey)


def main() -> None:
    """Run the command line; bad input ends in one line and exit code 2."""
    to_the_end(lambda: app(prog_name="noiseprobe", standalone_mode=False))
