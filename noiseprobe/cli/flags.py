"""Flags of the commands, made from the settings of a run as they are declared."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from noiseprobe.run.declaring import MACHINE
from noiseprobe.run.settings import ABOUT, flag, kind, of_command, told_default


def option(help: str, panel: str, *names: str, **more: Any) -> Any:
    """A Typer option that belongs to a panel of the help page."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


PlotFile = Annotated[
    Path | None,
    option("Draw the result there: PNG, SVG or PDF.", MACHINE, "--plot", metavar="FILE.png"),
]
Out = Annotated[
    Path | None, option("Where the run is written (default: a new folder in runs/).", MACHINE)
]
Json = Annotated[bool, option("Print one JSON document, nothing else.", MACHINE, "--json")]


def forbid_network(asked: bool) -> bool:
    """Let the clients of the hub, which are imported later, answer from their cache alone.

    Weights & Biases keeps on disk what it would send; MLflow tells its makers nothing.
    """
    if asked:
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        if os.environ.get("WANDB_MODE") != "disabled":
            os.environ["WANDB_MODE"] = "offline"
        if "huggingface_hub" in sys.modules:
            sys.modules["huggingface_hub"].constants.HF_HUB_OFFLINE = True
    return asked


Offline = Annotated[
    bool,
    option(
        "Ask no hub: a hub id means what was fetched before.",
        MACHINE,
        "--offline",
        is_eager=True,
        callback=forbid_network,
    ),
]
Debug = Annotated[bool, option("Show the traceback of an error.", MACHINE)]


class FewFlags(TyperCommand):
    """A command whose `--help` shows the common settings alone; `--help-all` shows every one."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the short help page."""
        with self._without_rare():
            super().format_help(ctx, formatter)

    def format_whole_help(self, ctx: Any) -> str:
        """Write, or return, the help page with every flag."""
        formatter = ctx.make_formatter()
        super().format_help(ctx, formatter)
        return str(formatter.getvalue())

    @contextmanager
    def _without_rare(self) -> Iterator[None]:
        every = self.params
        self.params = [each for each in every if each.name not in ABOUT or ABOUT[each.name].common]
        try:
            yield
        finally:
            self.params = every


def show_all_help(context: typer.Context, asked: bool) -> None:
    """Show the help page with every flag, and end."""
    if asked and isinstance(context.command, FewFlags):
        typer.echo(context.command.format_whole_help(context), nl=False)
        raise typer.Exit


HelpAll = Annotated[
    bool,
    option(
        "Show every flag and exit.", MACHINE, "--help-all", is_eager=True, callback=show_all_help
    ),
]


def flag_of(key: str) -> Any:
    """The parameter of a command that is the setting `key`; None where it was not given."""
    about, name = ABOUT[key], flag(key)
    names = f"{name}/--no-{name.removeprefix('--')}" if kind(key) is bool else name
    help = f"{about.help} (default: {told_default(key)})."
    return inspect.Parameter(
        key,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            kind(key) | None,
            option(help, about.panel, names, metavar=about.metavar),
        ],
    )


def taking(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of its settings; it reads them with `changed`."""

    def widen(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        context, *others = own.parameters.values()
        flags = [flag_of(key) for key in of_command(command)]
        others = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in others]

        @functools.wraps(function)
        def widened(*positional: Any, **named: Any) -> None:
            function(*positional, **{key: named[key] for key in named if key in own.parameters})

        # Required arguments first, then settings, then where files go.
        required = [each for each in others if each.default is inspect.Parameter.empty]
        rest = [each for each in others if each not in required]
        parameters = [context, *required, *flags, *rest]
        widened.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        widened.__annotations__ = {each.name: each.annotation for each in parameters}
        return widened

    return widen


def changed(context: typer.Context) -> dict[str, Any]:
    """The run settings that were given as flags."""
    return {
        key: value
        for key, value in context.params.items()
        if key in ABOUT and value not in (None, [], ())  # an empty list was not given
    }


def check_plot(path: Path | None) -> None:
    """Raise `UserError` unless a figure can be written at the `path` of --plot, if it is given."""
    if path is not None:
        from noiseprobe.core.files import check_file
        from noiseprobe.plots.saving import check_format

        check_file("--plot", path)
        check_format("--plot", path)
