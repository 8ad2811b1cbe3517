"""What the doctor says of a log, in sentences: what it is, each fault with its mend, each limit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from noiseprobe.analysis.doctor import Examined
from noiseprobe.analysis.faults import Fault, Limit
from noiseprobe.analysis.verdicts import shown
from noiseprobe.core.words import command, visible
from noiseprobe.logs.tools import AI_TOOLKIT, KOHYA, ONETRAINER

IN_OUT = "in --out"


class Told(NamedTuple):
    """One fault in words.

    Attributes:
        what: what is wrong.
        where: the trace and the steps.
        mend: what was done, or is to be done.
    """

    what: str
    where: str
    mend: str


def of_fault(fault: Fault) -> Told:
    """The fault in words."""
    told = _OF_KIND[fault.kind](fault.facts)
    where = ", ".join(part for part in (visible(fault.tag), told.where) if part)
    return told._replace(where=where or "the whole log", what=visible(told.what))


def of_limit(limit: Limit) -> dict[str, str]:
    """What such a trace can and cannot show: `tag`, `what`, `can`, `cannot`."""
    return {"tag": limit.tag, **_LIMITS[limit.kind if limit.kind != "timesteps" else limit.tool]}


def of_examined(found: Examined) -> list[str]:
    """What the log is, and how many faults it has."""
    log = found.log
    tool = f"{found.tool}, " if found.tool and found.tool.lower() not in log.kind.lower() else ""
    told = f"{visible(log.path)}: {tool}{log.kind}, {_plural(len(log.tags), 'trace')}"
    if not found.faults:
        return [
            f"{told}; nothing wrong was found in {_plural(len(found.mended), 'loss', 'losses')}."
        ]
    mended = sum(fault.mended for fault in found.faults)
    how = "all mended" if mended == len(found.faults) else f"{mended} of them mended"
    if not mended:
        how = "which no number in the log can mend" if len(found.faults) == 1 else "none mended"
    return [
        f"{told}; {_plural(len(found.faults), 'fault')}, {how}{' ' + IN_OUT if mended else ''}."
    ]


def next_of_doctor(found: Sequence[Examined], out: str | None) -> str:
    """What to do next: write the mended series, or replay them."""
    if len(found) != 1 or not any(fault.mended for fault in found[0].faults):
        return ""
    if out is None:
        return command("noiseprobe", "doctor", found[0].log.path, "--out", "mended.csv")
    return command("noiseprobe", "dvar-replay", out)


def _cumulative(facts: Mapping[str, Any]) -> Told:
    what = (
        f"a mean over all validations so far: kohya's LossRecorder appends in its first epoch "
        f"(to step {facts['epoch']}), which has {facts['inside']} of the {facts['points']}"
    )
    if facts["after"]:
        what += (
            f"; in the {facts['after']} after it, {facts['inside'] - 1} stale ones of "
            f"{facts['inside']} still count"
        )
    where = f"steps {facts['first']} to {facts['last']}" + (" and later" if facts["after"] else "")
    reason = facts.get("reason")
    if reason:
        return Told(what, where, f"it cannot be undone: {_REASONS[reason]}")
    mend = f"undone {IN_OUT}, exactly but for rounding (at most {facts['error']:.0e} of a value)"
    if facts["shown"] != facts["true"]:
        mend += f": the lowest is at step {facts['true']}, not {facts['shown']}"
    return Told(what, where, mend)


_REASONS = {
    "restart": "training was restarted, and the mean began anew at a place that is not recorded; "
    "give the log of one session alone",
    "missing": "validations are missing, so that how many a mean is over is not known; give the "
    "whole log, not one that was thinned out",
    "not finite": "after a NaN every mean is NaN; read the validations before it alone",
}


def _maybe(facts: Mapping[str, Any]) -> Told:
    return Told(
        "kohya's LossRecorder shows a mean over all validations of the first epoch, and noise that "
        "dies away as in such a mean hints that there are several",
        f"to about step {facts['step']}",
        "say where the first epoch ended with --first-epoch STEP; the log does not tell, for want "
        "of loss/current and loss/average",
    )


def _epochs(facts: Mapping[str, Any]) -> Told:
    if facts["by"] == "column":
        what, where = "the only column that counts is one of epochs", f"0 to {facts['last']}"
        return Told(what, where, "record the step too: a window or a stop is in epochs here")
    what = f"epochs stand where steps should: the others go on to step {facts['end']}"
    where = f"steps to {facts['last']}"
    if facts["length"] is None:
        return Told(what, where, "how many steps an epoch has cannot be told; --first-epoch STEP")
    return Told(what, where, f"{facts['length']} steps for each epoch {IN_OUT}")


def _smoothed(facts: Mapping[str, Any]) -> Told:
    what = f"smoothed: von Neumann's ratio {facts['ratio']:.2g}"
    if not facts["raw"]:
        return Told(what, "", "log the loss of each step too: a smoothed one shows a turn late")
    what += f", where {visible(facts['raw'])} has {facts['raw_ratio']:.2g}"
    return Told(what, "", f"left out {IN_OUT}; read {visible(facts['raw'])} (--tag)")


def _restart(facts: Mapping[str, Any]) -> Told:
    return Told(f"restarted: {facts['told']}", "", "what was recorded last is kept")


def _repeated(facts: Mapping[str, Any]) -> Told:
    what = f"{_plural(facts['points'], 'point')} more than steps: some were recorded twice"
    return Told(what, _steps(facts), f"the last at each step is kept {IN_OUT}")


def _numbered(facts: Mapping[str, Any]) -> Told:
    return Told(f"no steps: {facts['told']}", "", "record a column step")


def _cut_off(facts: Mapping[str, Any]) -> Told:
    return Told(f"cut off: {facts['told']}", "", "copy the file again if its writer still has it")


def _constant(facts: Mapping[str, Any]) -> Told:
    what = f"all {facts['points']} values are {shown(facts['value'])}"
    return Told(what, "", "nothing was measured, or nothing is trained: check what is logged")


def _not_finite(facts: Mapping[str, Any]) -> Told:
    kind = "infinite" if facts["infinite"] == facts["points"] else "NaN or empty"
    if 0 < facts["infinite"] < facts["points"]:
        kind = "NaN, empty or infinite"
    what = f"{facts['points']} of {facts['of']} values are {kind}"
    if facts["to_the_end"]:
        mend = f"left out {IN_OUT}; training broke there: take a checkpoint before it"
        return Told(what, f"from step {facts['step']} to the end", mend)
    return Told(what, f"first at step {facts['step']}", f"left out {IN_OUT}")


def _missing(facts: Mapping[str, Any]) -> Told:
    what = f"{_plural(facts['points'], 'point')} missing, where there is one every {facts['every']}"
    mend = "the gap stays: a window of N values spans more steps there; give the whole log"
    return Told(what, f"first at step {facts['step']}", mend)


def _redrawn(facts: Mapping[str, Any]) -> Told:
    what = (
        f"it jumps by {facts['share']:.0%} of its level from value to value (von Neumann's ratio "
        f"{facts['ratio']:.2f}; 2 is noise alone): its timesteps and noise are drawn anew each time"
    )
    mend = "seed them anew before each validation; no number in the log can mend it"
    return Told(what, f"{facts['points']} points", mend)


_OF_KIND: dict[str, Callable[[Mapping[str, Any]], Told]] = {
    "cumulative": _cumulative,
    "maybe cumulative": _maybe,
    "epochs": _epochs,
    "smoothed": _smoothed,
    "restart": _restart,
    "repeated": _repeated,
    "numbered": _numbered,
    "cut off": _cut_off,
    "constant": _constant,
    "not finite": _not_finite,
    "missing": _missing,
    "redrawn": _redrawn,
}

_LIMITS = {
    KOHYA: {
        "what": "kohya validates at timesteps 200, 400, 600 and 800 (fifths of --min_timestep to "
        "--max_timestep), seeded anew each time; FLUX, Lumina, HunyuanImage and Anima ignore these "
        "and draw timesteps from the same seed",
        "can": "compare steps of one training, since the draws recur",
        "cannot": "show what is learned near 0 and 1000, or be compared with loss/current, which "
        "is at all timesteps",
    },
    ONETRAINER: {
        "what": "OneTrainer validates at one timestep, the middle one (499 of 1000), with one seed",
        "can": "show overfitting at that timestep without noise from draws",
        "cannot": "show any other: photographs are memorized at other timesteps first or last",
    },
    AI_TOOLKIT: {
        "what": "ai-toolkit validates at σ = 1, 0.75, 0.5 and 0.25 (unless validation_sigmas says "
        "otherwise), on noise that is drawn once, and takes the plain mean",
        "can": "compare steps of one training, since the draws recur",
        "cannot": "show small σ, where details are learned; the σ with the largest loss decides",
    },
    "unknown mean": {
        "what": "kohya shows a mean over all validations of the first epoch, and the log does not "
        "tell where that ended (no loss/current with loss/average); its noise shows no such mean",
        "can": "be read as it is if the first epoch had one validation at most",
        "cannot": "else be undone without --first-epoch STEP",
    },
}


def _steps(facts: Mapping[str, Any]) -> str:
    first, last = facts["first"], facts["last"]
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _plural(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"
