"""Which trace of a log is the loss to follow, and which of its columns counts steps."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from noiseprobe.core.errors import UserError
from noiseprobe.core.words import metric_of, words_of
from noiseprobe.logs.log import one_line

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
"""Names of a column that counts steps, in any case of letters; the first that is there counts.

Names that say as much in other words, such as `Training Step` or `batch_idx`, come after them.
"""

ADJUSTED = "(timestep-adjusted)"
"""What ends the name of a trace that `logs.adjusting` derives from a loss and its timesteps."""

_COUNTERS = (
    {"step", "steps"},
    {"iteration", "iterations", "iter", "iters"},
    {"update", "updates"},
    {"batch", "batches", "minibatch", "minibatches"},
    {"epoch", "epochs"},
)
_OF_COUNTERS = {"global", "local", "total", "current", "train", "training", "trainer", "model"}
_OF_COUNTERS |= {"optimizer", "optimiser", "opt", "num", "number", "no", "nr", "n", "of"}
_OF_COUNTERS |= {"idx", "index", "id", "count", "counter"}

_CLOCKS = {"wall_time", "time", "timestamp", "_timestamp", "_runtime", "_wandb"}
_CLOCKS |= {"relative_time_(process)", "relative_time_(wall)"}
_HELD_OUT = {"val", "valid", "validation", "eval", "evaluation", "test", "dev"}
_HELD_OUT |= {"heldout", "held", "holdout"}
_KINDS = {"loss", "mse", "mae", "rmse", "nll", "elbo", "huber", "objective"}
"""What trainers call a loss; `loss` may also be part of a word, as in `trainloss`."""
_VALIDATION = _HELD_OUT | {held + kind for held in _HELD_OUT for kind in _KINDS}
_AVERAGES = {"average", "avg", "mean", "total"}
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
_PLAIN = {"train", "training", "trainloss", "total", "step", "current"} | _KINDS | _VALIDATION
Rank = tuple[int, bool, bool]
_FIXED, _HELD, _TRAINING = range(3)
_NOT_A_LOSS: Rank = (3, False, False)
_MOST_SHOWN = 12


def choose_tags(tags: Sequence[str], pattern: str | None) -> list[str]:
    """The tags that a user means, in the order of `tags`.

    Args:
        tags: those that there are.
        pattern: the whole name of a tag, or a glob (`*`, `?`, `[…]`, case-sensitive; `*` also
            matches slashes; a timestep-adjusted trace is meant where it says `adjusted`). None
            chooses: `l_det`; else the first loss whose name says that it is
            held out (validation, eval, test, …); else the first other loss (of both, rather one
            whose name says nothing more, such as prior or a single photograph's; and rather a loss
            than an mse, objective or the like); else the only trace that is no learning rate,
            epoch, norm, time or count. Where a table holds that loss of several runs, as
            `run - loss`, all of them.

    Returns:
        At least one tag.

    Raises:
        UserError: no tag matches, or none stands out.

    Examples:
        >>> choose_tags(["lr", "train/loss", "eval/loss"], None)
        ['eval/loss']
        >>> choose_tags(["lr", "train/loss", "eval/loss"], "*/loss")
        ['train/loss', 'eval/loss']
    """
    if pattern is not None:
        chosen = [tag for tag in tags if tag == pattern]
        meant = [tag for tag in tags if "adjusted" in pattern or not tag.endswith(ADJUSTED)]
        chosen = chosen or [tag for tag in meant if fnmatchcase(tag, pattern)]
        if not chosen:
            raise UserError(f"no trace matches {one_line(pattern)!r}; {suggestion(pattern, tags)}")
        return chosen
    ranks = {tag: _rank(tag) for tag in tags}
    best = min(ranks.values(), default=_NOT_A_LOSS)
    if best < _NOT_A_LOSS:
        first = metric_of(next(tag for tag in tags if ranks[tag] == best))
        return [tag for tag in tags if metric_of(tag) == first]
    candidates = [tag for tag in tags if not _BOOKKEEPING & words_of(tag) and not is_clock(tag)]
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
    """Those of `names` that count steps, the best first: exact names, other words, epochs.

    A table of several runs may hold one for each, as `run - global_step`.

    Examples:
        >>> step_columns(["epoch", "batch_idx", "Training Step", "step_time", "iter"])
        ['iter', 'Training Step', 'batch_idx', 'epoch']
    """
    ranks = {name: _step_rank(name) for name in names}
    return sorted((name for name in names if ranks[name]), key=ranks.__getitem__)


def is_usual_step(name: str) -> bool:
    """Whether a column of this name counts steps for certain, whatever it holds."""
    return _plain(name) in STEP_COLUMNS


def counts_epochs(name: str) -> bool:
    """Whether a column that counts steps counts whole epochs."""
    return _step_rank(name)[:1] == (2,)


def is_clock(name: str) -> bool:
    """Whether a column of this name tells when something was recorded."""
    return _plain(name) in _CLOCKS


def is_loss(tag: str) -> bool:
    """Whether the name is that of a loss."""
    return _rank(tag) < _NOT_A_LOSS


def is_held_out(tag: str) -> bool:
    """Whether the name is that of a loss on what is not trained on.

    Examples:
        >>> is_held_out("loss/validation/step_average"), is_held_out("val_mse")
        (True, True)
        >>> is_held_out("train/loss"), is_held_out("val_accuracy")
        (False, False)
    """
    return _rank(tag)[0] == _HELD


def is_training_loss(tag: str) -> bool:
    """Whether the name is that of a loss on what is trained on, whatever each step draws."""
    return _rank(tag)[0] == _TRAINING


def run_of(tag: str) -> str:
    """The name of that run; "" where there is none.

    Examples:
        >>> run_of("dog - seed 1 - eval/loss")
        'dog - seed 1'
    """
    return tag.rpartition(" - ")[0]


def _plain(name: str) -> str:
    return metric_of(name).strip().lower().replace(" ", "_")


def _step_rank(name: str) -> tuple[int, ...]:
    """The lower, the rather it counts steps; empty for what does not."""
    plain, words = _plain(name), words_of(name)
    kinds = [place for place, counter in enumerate(_COUNTERS) if counter & words]
    if plain in STEP_COLUMNS and plain != "epoch":
        return 0, STEP_COLUMNS.index(plain)
    if not kinds or words.difference(_OF_COUNTERS, _VALIDATION, *_COUNTERS):
        return ()
    return 2 if kinds[0] == len(_COUNTERS) - 1 else 1, plain != "epoch", kinds[0]


def _rank(tag: str) -> Rank:
    """The lower, the rather it is the loss to follow; `_NOT_A_LOSS` for what is none."""
    metric = metric_of(tag)
    if metric in ("l_det", "l_val"):
        return _FIXED if metric == "l_det" else _HELD, False, False
    words = words_of(tag)
    named = any("loss" in word for word in words)
    held = bool(_VALIDATION & words)
    if _NO_LOSS & words or not (named or _KINDS & words or (_VALIDATION - _HELD_OUT) & words):
        return _NOT_A_LOSS
    usual = _PLAIN | _AVERAGES if held else _PLAIN
    return _HELD if held else _TRAINING, bool(words - usual), not named
