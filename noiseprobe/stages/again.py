"""The command that makes a run again, from the settings that it was started with."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from noiseprobe.core.errors import UserError
from noiseprobe.core.words import command
from noiseprobe.run.directory import Run
from noiseprobe.run.foreign import Series, find
from noiseprobe.run.pacing import PACED
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig, flag, kind, of_command


def again(run: Run, config: RunConfig) -> str:
    """The command that makes it again: the settings that differ from the defaults, as flags.

    Where flags do not give these very settings, as when the model's folder is gone, it is the file
    of settings. "" of another trainer's checkpoints that no flags give.
    """
    if run.foreign is not None:
        return _probed_again(run.foreign, config)
    first = ["model", "method", "concept"]
    if config.optimizer != RunConfig.model_fields["optimizer"].default:
        first.append("optimizer")  # on which other defaults rest
    words = _words_for(config, of_command("run"), first, resolve)
    if words is None:
        return command("noiseprobe", "run", "--config", run.directory / "config.toml")
    return " ".join(["noiseprobe run", *words])


def _probed_again(series: Series, config: RunConfig) -> str:
    """The command that probes another trainer's checkpoints again; "" where no flags give it."""
    from noiseprobe.stages.foreign import settings_of

    first = ["model", "concept", *(["validation"] if config.validation else [])]
    words = _words_for(config, of_command("probe"), first, partial(settings_of, series))
    if words is None or len(series.captions) > 1:
        return ""
    named = [word for path in _named(series) for word in ("--checkpoints", command(path))]
    caption = ["--caption", command(series.captions[0])] if series.captions else []
    return " ".join(["noiseprobe probe", *named, *words, *caption])


def _named(series: Series) -> list[str]:
    """Patterns or paths that mean the checkpoints of a series, as few as do."""
    files = [each.path for each in series.checkpoints if each.files]
    pattern = str(files[0].parent / "*")
    with suppress(UserError):
        if [each.path for each in find([pattern], "").checkpoints if each.files] == files:
            return [pattern]
    return [str(path) for path in files]


def _words_for(
    config: RunConfig,
    keys: Sequence[str],
    first: Sequence[str],
    settled: Callable[[dict[str, Any]], RunConfig],
) -> list[str] | None:
    """Flags that give these settings: those that come `first`, and what differs from defaults.

    Args:
        keys: the settings that count.
        settled: the settings that given ones result in.

    Returns:
        None where there are no such flags.
    """
    values = config.model_dump(mode="json", exclude_none=True)
    given = {key: values[key] for key in first}
    # What follows from others comes after them, if it is not what it would be.
    paced = [key for key in keys if key in PACED]
    try:
        for some in ([key for key in keys if key not in PACED], paced, keys):
            found = settled(given)
            differ = [key for key in some if getattr(found, key) != getattr(config, key)]
            given |= {key: values[key] for key in differ if key in values}
    except UserError:
        return None
    if differ:
        return None
    return [word for key, value in given.items() for word in _flags(key, value)]


def _flags(key: str, value: Any) -> list[str]:
    """A setting as words of a command line."""
    name = flag(key)
    if kind(key) is bool:
        return [name if value else f"--no-{name.removeprefix('--')}"]
    if key == "param":
        return [word for each in value for word in (name, shlex.quote(str(each)))]
    return [name, command(worded(value))]


def worded(value: Any) -> str:
    """A setting as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
