"""Which trace of a log is the loss to follow, and which of its columns counts steps."""

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from noiseprobe.errors import UserError
from noiseprobe.sources.log import one_line

STEP_COLUMNS = (
    "step",
    "steps",
    "iteration",
    "global_step",
    "trainer/global_step",
    "train/global_step",
    "iterations",
    "iter",
    "_step",
    "epoch",
)
"""Names of a column that counts steps, in any case of letters; the first that is there counts."""

_CLOCKS = {"wall_time", "time", "timestamp", "_timestamp", "_runtime", "_wandb"}
_CLOCKS |= {"relative_time_(process)", "relative_time_(wall)"}
_VALIDATION = {"val", "valid", "validation", "eval", "evaluation", "test", "dev", "heldout"}
_VALIDATION |= {"valloss", "validloss", "validationloss", "evalloss", "testloss", "devloss"}
_NO_LOSS = {
    "lr",
    "learning",
    "grad",
    "gradient",
    "gradients",
    "norm",
    "gradnorm",
    "scale",
    "scaler",
}
_NO_LOSS |= {"runtime", "time", "seconds", "sec", "weight", "weights", "lambda", "memory"}
_NO_LOSS |= {"std", "variance", "divergence", "scaler", "scaling", "ratio"}
_BOOKKEEPING = _NO_LOSS | {"epoch", "epochs", "step", "steps", "samples", "flos", "flops", "speed"}
_PLAIN = {"loss", "train", "training", "trainloss", "total", "step", "current"} | _VALIDATION
_NOT_A_LOSS = (3, False)
_MOST_SHOWN = 12


def choose_tags(tags: Sequence[str], pattern: str | None) -> list[str]:
    """The tags that a user means, in the order of `tags`.

    Args:
        tags: those that there are.
        pattern: the whole name of a tag, or a glob (`*`, `?`, `[…]`, case-sensitive; `*` also
            matches slashes). None chooses: `l_det`; else the first loss whose name says validation;
            else the first other loss (of both, rather one whose name says nothing more, such as
            average or prior); else the only trace that is no learning rate, epoch, norm, time or
            count. Where a table holds that loss of several runs, as `run - loss`, all of them.

    Returns:
        At least one tag.

    Raises:
        UserError: no tag matches, or none stands out.

    Example:
        >>> choose_tags(["lr", "train/loss", "eval/loss"], None)
        ['eval/loss']
        >>> choose_tags(["lr", "train/loss", "eval/loss"], "*/loss")
        ['train/loss', 'eval/loss']
    """
    if pattern is not None:
        chosen = [tag for tag in tags if tag == pattern]
        chosen = chosen or [tag for tag in tags if fnmatchcase(tag, pattern)]
        if not chosen:
            raise UserError(f"no trace matches {one_line(pattern)!r}; {suggestion(pattern, tags)}")
        return chosen
    ranks = {tag: _rank(tag) for tag in tags}
    best = min(ranks.values(), default=_NOT_A_LOSS)
    if best < _NOT_A_LOSS:
        first = _metric(next(tag for tag in tags if ranks[tag] == best))
        return [tag for tag in tags if _metric(tag) == first]
    candidates = [tag for tag in tags if not _BOOKKEEPING & _words(tag) and not is_clock(tag)]
    candidates = candidates or list(tags)
    if len(candidates) == 1:
        return candidates
    if not candidates:
        raise UserError("no trace of numbers; record at least one loss")
    raise UserError(f"no trace that must be the loss among {listed(tags)}; choose with --tag NAME")


def no_such_tag(path: Path, tag: str, tags: Sequence[str]) -> UserError:
    """What to raise where the log at `path` has `tags`, but not `tag`."""
    return UserError(f"{path}: no trace {one_line(tag)!r}; {suggestion(tag, tags)}")


def suggestion(tag: str, tags: Sequence[str]) -> str:
    """What to name instead of `tag`."""
    by_lower = {name.lower(): name for name in tags}
    near = difflib.get_close_matches(tag.lower()[:200], by_lower, n=3)
    if near:
        return f"did you mean --tag {' or '.join(one_line(by_lower[name]) for name in near)}?"
    if not tags:
        return "it has no trace of numbers; record at least one loss"
    return f"choose one of {listed(tags)} with --tag NAME"


def listed(tags: Sequence[str]) -> str:
    """The tags in a message: all of a few, the first of many."""
    shown = ", ".join(one_line(tag) for tag in tags[:_MOST_SHOWN])
    return shown if len(tags) <= _MOST_SHOWN else f"{shown} and {len(tags) - _MOST_SHOWN} more"


def step_columns(names: Sequence[str]) -> list[str]:
    """Those of `names` that count steps, the best first.

    A table of several runs may hold one for each, as `run - global_step`.
    """
    places = {name: place for place, name in enumerate(STEP_COLUMNS)}
    found = [(places[_plain(name)], name) for name in names if _plain(name) in places]
    return [name for _, name in sorted(found, key=lambda each: each[0])]


def is_clock(name: str) -> bool:
    """Whether a column of this name tells when something was recorded."""
    return _plain(name) in _CLOCKS


def is_loss(tag: str) -> bool:
    """Whether the name is that of a loss."""
    return _rank(tag) < _NOT_A_LOSS


def _metric(tag: str) -> str:
    """The tag without the name of the run that Weights & Biases writes before it."""
    return tag.rpartition(" - ")[2]


def _plain(name: str) -> str:
    return _metric(name).strip().lower().replace(" ", "_")


def _words(tag: str) -> set[str]:
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", _metric(tag))
    return set(re.findall(r"[a-z]+", split.lower()))


def _rank(tag: str) -> tuple[int, bool]:
    """The lower, the rather it is the loss to follow; `_NOT_A_LOSS` for what is none."""
    if _metric(tag) == "l_det":
        return 0, False
    words = _words(tag)
    if _NO_LOSS & words or not any("loss" in word for word in words):
        return _NOT_A_LOSS
    return 1 if _VALIDATION & words else 2, bool(words - _PLAIN)
