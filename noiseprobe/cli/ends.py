"""How commands end: the exit code, and one line of what went wrong; never a traceback."""

import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, cast

import typer

from noiseprobe.core.errors import NO_ROOM, Interrupted, NotWritten, UserError, not_written
from noiseprobe.core.words import visible

NO_PLACE = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
DISK_ERRORS = (*NO_ROOM, errno.EROFS, errno.EIO)
UsageError: Any = typer.BadParameter.__base__  # click's, which typer may have under its own name

QUIET_LIBRARIES = {
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
}


def to_the_end(command_line: Callable[[], object]) -> None:
    """Call the command line, and end the process with what it returns or with what stopped it."""
    debug = "--debug" in sys.argv
    if not debug:
        warnings.showwarning = cast(Any, show_warning)
        for name, value in QUIET_LIBRARIES.items():
            os.environ.setdefault(name, value)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a name that it cannot spell
    try:
        code = int(cast(Any, command_line()) or 0)
        sys.stdout.flush()  # where what is printed finds no room, it is told
    except BrokenPipeError:  # who reads standard output, such as head, has gone
        _print_nowhere()
        code = 1
    except BaseException as error:
        told, ended = what_ended(error)
        if ended is None or (debug and isinstance(error, Exception) and ended < 128):
            raise
        # What ends all processes of a training, the first one tells.
        if told and (rank() == 0 or not isinstance(error, UserError | Interrupted)):
            print(f"noiseprobe: {visible(told)}", file=sys.stderr)
        code = ended
        try:
            sys.stdout.flush()
        except OSError:
            _print_nowhere()
    if processes() > 1:
        # Threads of gloo drop the tensors of the last exchange when they like. If Python is being
        # taken down by then, torch 2.13 aborts the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _print_nowhere() -> None:
    """Let standard output take what is left to print, for it takes nothing any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def processes() -> int:
    """How many processes `torchrun` or `accelerate launch` started together with this one."""
    return int(os.environ["WORLD_SIZE"]) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Which of them this is; the first one, 0, writes and speaks."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A warning of ours in one line; those of libraries are theirs to mend, not the user's."""
    if category.__module__.startswith("noiseprobe"):
        print(f"noiseprobe: warning: {visible(message)}", file=sys.stderr)


def what_ended(error: BaseException) -> tuple[str, int | None]:
    """What to say of an error in one line, and the exit code; None where it has one of its own."""
    if isinstance(error, UsageError):
        where = error.ctx.command_path if error.ctx else "noiseprobe"
        told = error.format_message().rstrip(".")
        # Without arguments the help page is all that there is to say.
        return f"{told[0].lower() + told[1:]}; see {where} --help" if told else "", 2
    if isinstance(error, UserError):
        return str(error), 2
    if isinstance(error, NotWritten):
        return str(error), error.exit_code
    if isinstance(error, PermissionError):
        return f"no permission for '{error.filename}'; allow it, or choose another place", 2
    if isinstance(error, OSError) and error.errno in NO_PLACE:
        told = str(error.filename or "")
        told = f"{told[:60]}…" if len(told) > 60 else told
        return f"'{told}': {os.strerror(error.errno).lower()}; check the path", 2
    if isinstance(error, Interrupted | KeyboardInterrupt | typer.Abort):
        number = error.by if isinstance(error, Interrupted) else signal.SIGINT
        return str(error) or "interrupted", 128 + number
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return not_written(error), 1
    if isinstance(error, Exception):  # the last resort: a user never sees a traceback
        return f"{type(error).__name__}: {error}; run again with --debug for the details", 1
    return "", None
