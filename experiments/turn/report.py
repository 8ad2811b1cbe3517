"""The tables of the study of turn, and what they say."""

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.turn.forms import FORMS, TURN
from experiments.turn.measure import BATCHES, CONFIDENCE, PASSING
from experiments.turn.pools import DRAWS, EVERY, STEPS
from noiseprobe.core.files import written_whole

SHARES = ("level", "fires", "unfounded", "early")

_SAYS = f"""`Turn` is the form `{TURN}`. What it is chosen for:

- **A test at each evaluation is sure of nothing.** Where the truth never rises, the plain paired t
  test at 95% fires on about half of the batches: it has sixty chances, and holds each against the
  luckiest of those before. Two in a row, a smoothed best, random signs or a count that begins anew
  at each best mend little of that.
- **What is spent over the evaluations is kept**: 1 / (k (k + 1)) of the 5% at evaluation k. Beside
  made losses with fresh noise at each evaluation, which no fixed batch has, only batches of
  independent draws in which single ones rise far above the others (DreamBooth) exceed it. Spending
  on pairs bounds even those, and finds half as many turns with 16 samples.
- **Neighbours tell the error of a stratified batch.** The usual one counts what differs between
  timesteps as if it were chance: with DreamBooth it is three times too large, and 16 samples then
  find a fifth of the turns that they find with the error from neighbours.
- **A rise that is sure can pass**: hardly a stop is unfounded, yet with textual inversion, whose
  held-out loss goes down in waves, many are early, the more the larger the batch. No form that asks
  whether the loss has risen can know that it will fall again; a higher confidence waits for larger
  rises.
"""

_COLUMNS = f"""Columns:

- `level`: how often a form fires where the truth is kept from rising (the pool's mean is put at its
  lowest so far, while the draws go their own ways). At most {1 - CONFIDENCE:.0%} is promised.
  Median and largest over runs.
- `fires`: how often it does on the run as it was.
- `unfounded`: of all batches, those that fire while the truth is not above that at the best that
  they name.
- `early`: those after whose stop the truth falls by more than {PASSING:.0%} of the gain below its
  lowest up to then.
- `delay`: from the true best up to the stop, to the stop, in steps; the median.
- `regret`: what the named best lacks of the true best, in shares of the gain. `without`: the same
  of the best of the whole curve, without any stop.
"""


def write_report(
    runs: pd.DataFrame, made: pd.DataFrame, spacing: pd.DataFrame, directory: Path
) -> None:
    """Write the three tables and `RESULTS.md`."""
    told = []
    for name, table in {"runs": runs, "simulated": made, "spacing": spacing}.items():
        with written_whole(directory / f"{name}.csv") as beside:
            table.to_csv(beside, index=False, float_format="%.4g")
        told.append(pd.read_csv(directory / f"{name}.csv"))
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(*told), encoding="utf-8")


def report(runs: pd.DataFrame, made: pd.DataFrame, spacing: pd.DataFrame) -> str:
    """`RESULTS.md`."""
    count = len(runs[["method", "concept"]].drop_duplicates())
    parts = [
        "# When is a turn sure?\n",
        "    python -m experiments.turn\n",
        f"{count} runs of the bundled model, {runs['concept'].nunique()} concepts, one photograph "
        f"held out, {STEPS} steps, the losses of {DRAWS} held-out draws every {EVERY} steps. "
        f"{BATCHES} batches of these draws imitate `l_val`; the mean of all draws is the truth. "
        f"Confidence {CONFIDENCE:g}. All draws are of one photograph: what is uncertain here is "
        "the draw of noise and timesteps, not the photograph.\n",
        _SAYS,
        _COLUMNS,
    ]
    for (layout, size), part in runs.groupby(["layout", "size"], sort=False):
        parts.append(f"## Batches of {size}, {layout}\n")
        parts.append(_over_runs(part))
    parts.append("## By method, stratified batches\n")
    parts.append(_by_method(runs))
    parts.append("## Made losses, the expectation of which is level\n")
    parts.append(
        "Batches of 16 independent samples. How often each form fires within so many evaluations.\n"
    )
    parts.append(_made(made))
    parts.append(
        "## How often it is evaluated, and the confidence: Turn, stratified batches of 16\n"
    )
    parts.append(_spacing(spacing))
    return "\n".join(parts)


def _over_runs(part: pd.DataFrame) -> str:
    head = ["form", "level, median", "level, largest", "fires", "unfounded", "early"]
    rows = []
    for form in FORMS:
        own = part[part["form"] == form]
        numbers = [own["level"].median(), own["level"].max()]
        numbers += [own[each].mean() for each in SHARES[1:]]
        told = [f"{each:.2f}" for each in numbers]
        delay = f"{own['delay'].median():.0f}"
        told += [delay, f"{own['regret'].mean():.3f}", f"{own['regret_never'].mean():.3f}"]
        rows.append([form, *told])
    return _table([*head, "delay", "regret", "without"], rows)


def _by_method(runs: pd.DataFrame) -> str:
    shown = runs["form"].isin(["t, spent", TURN, "neighbours, spent on pairs"])
    own = runs[shown & (runs["layout"] == "stratified")]
    rows = []
    for (method, size, form), part in own.groupby(["method", "size", "form"], sort=False):
        told = [f"{part[each].mean():.2f}" for each in SHARES]
        delay = "-" if part["delay"].isna().all() else f"{part['delay'].median():.0f}"
        regrets = [f"{part[each].mean():.3f}" for each in ("regret", "regret_never")]
        rows.append([str(method), str(size), str(form), *told, delay, *regrets])
    return _table(["method", "size", "form", *SHARES, "delay", "regret", "without"], rows)


def _made(made: pd.DataFrame) -> str:
    wide = made.pivot(index="form", columns=["process", "looks"], values="level")
    columns = list(dict.fromkeys(zip(made["process"], made["looks"], strict=True)))
    forms = [form for form in FORMS if form in wide.index]
    rows = [[form, *(f"{wide.loc[form, each]:.2f}" for each in columns)] for form in forms]
    return _table(["form", *(f"{process}, {looks}" for process, looks in columns)], rows)


def _spacing(spacing: pd.DataFrame) -> str:
    rows = []
    for (every, confidence), part in spacing.groupby(["every", "confidence"], sort=True):
        told = [f"{part[each].mean():.2f}" for each in SHARES]
        tail = [f"{np.nanmedian(part['delay']):.0f}", f"{part['regret'].mean():.3f}"]
        rows.append([str(every), f"{confidence:g}", *told, *tail])
    return _table(["steps between", "confidence", *SHARES, "delay", "regret"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
