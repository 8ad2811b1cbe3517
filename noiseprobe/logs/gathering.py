"""The traces of all logs that are meant, without those that a folder only happens to hold."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from noiseprobe.core.errors import UserError
from noiseprobe.logs.finding import find_named
from noiseprobe.logs.log import Log, PassedOverWarning, one_line
from noiseprobe.logs.reading import read_log


def read_logs(
    given: Sequence[Path],
    choose: Callable[[Sequence[str]], list[str]],
    partly: bool = False,
) -> Iterator[tuple[Log, list[str]]]:
    """Each log that `given` names, with those of its traces that `choose` takes of its tags.

    A log that was found inside a folder is passed over where `choose` takes none or none can be
    read, and so are such traces of it that cannot, and those of a single point, as TensorBoard
    writes them for hyperparameters, as long as anything else remains. Each trace is read once.

    Args:
        given: files, folders and patterns.
        choose: gives some of the tags, or raises `UserError`.
        partly: pass over unreadable traces of a log that was named, too, if it has others.

    Raises:
        UserError: a log that was named cannot be read, or nothing remains of those found.

    Warns:
        PassedOverWarning: something was passed over; said at the end, once for each log or trace.
    """
    refused: list[str] = []
    single: list[tuple[Log, list[str]]] = []
    remains = False
    for path, named in find_named(given).items():
        try:
            log, tags, faults = _readable(path, choose, partly or not named)
        except UserError as error:
            if named:
                raise
            refused.append(str(error))
            continue
        refused += faults
        alone = [] if named else [tag for tag in tags if len(log.series(tag).values) == 1]
        if alone:
            single.append((log, alone))
        tags = [tag for tag in tags if tag not in alone]
        if tags or named:
            remains = True
            yield log, tags
    if not remains:
        if not single:
            several = f"none of {len(refused)} logs can be used; the first is "
            raise UserError(several * (len(refused) > 1) + refused[0])
        yield from single
        single = []
    for log, alone in single:
        refused.append(f"{log.path}: a single point of {', '.join(map(one_line, alone))}")
    for each in refused:
        warnings.warn(f"passed over {each}", PassedOverWarning, stacklevel=2)


def _readable(
    path: Path, choose: Callable[[Sequence[str]], list[str]], partly: bool
) -> tuple[Log, list[str], list[str]]:
    """The log, the chosen tags, and what is wrong with those that cannot be read, if `partly`."""
    log = read_log(path)
    log = replace(log, _read=cache(log.series))
    try:
        chosen = choose(log.tags)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    tags, faults = [], []
    for tag in chosen:
        try:
            log.series(tag)
            tags.append(tag)
        except UserError as error:
            if not partly:
                raise
            faults.append(error)
    if faults and not tags:
        raise faults[0]
    return log, tags, [str(fault) for fault in faults]
