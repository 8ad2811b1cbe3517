"""The tags of a recorded log, as far as `noiseprobe.sources` tells columns: runs and tables."""

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noiseprobe.errors import UserError
from noiseprobe.sources import STEP_COLUMNS, Series, _holds_numbers, _read_table, read_series


@dataclass(frozen=True)
class Log:
    """One source: its path, what kind it is, and the tags under which it recorded numbers."""

    path: Path
    kind: str
    tags: list[str]

    def series(self, tag: str) -> Series:
        """What was recorded under `tag`; raises `UserError` if nothing was."""
        return read_series(self.path, tag)


def find_sources(given: Sequence[str | Path]) -> list[Path]:
    """The sources that are meant, each once."""
    return list(dict.fromkeys(Path(each) for each in given))


def read_log(path: Path) -> Log:
    """The log at `path`; raises `UserError` if nothing readable lies there."""
    table = _read_table(path)
    columns = [str(name) for name in table.cells.columns]
    told = [name for name in columns if name.lower() not in STEP_COLUMNS]
    if path.is_dir():
        # A run's trace has all columns of the schema, also those that nothing was written to.
        tags = [name for name in told if table.cells[name].notna().any()]
        return Log(path, "run", tags)
    return Log(path, "table", [name for name in told if _holds_numbers(table.cells[name])] or told)


def choose_tags(tags: Sequence[str], pattern: str | None) -> list[str]:
    """The tags that match the glob `pattern`; by default `l_det`, a validation loss, or the one.

    Raises:
        UserError: none matches, or without a pattern the choice is not clear.
    """
    held = ", ".join(tags)
    if pattern is not None:
        # A tag that is named in full is meant, also where it has a bracket or a star in it.
        chosen = [pattern] if pattern in tags else fnmatch.filter(tags, pattern)
        if not chosen:
            near = difflib.get_close_matches(pattern, tags, n=1)
            mend = f"did you mean --tag {near[0]}?" if near else f"choose one of {held}"
            raise UserError(f"no tag {pattern!r}; {mend}")
        return chosen
    for usual in ("l_det", "val_loss", "validation_loss", "eval_loss", "val/loss", "eval/loss"):
        if usual in tags:
            return [usual]
    if len(tags) == 1:
        return list(tags)
    raise UserError(f"more than one tag ({held}); choose with --tag")
