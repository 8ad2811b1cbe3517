"""The tables of the study of turn, and what they say."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from experiments.turn.forms import FORMS, TURN
from experiments.turn.measure import BATCHES, CONFIDENCE, PASSING
from experiments.turn.pools import DENSE, DRAWS, EVERY, STEPS
from noiseprobe.core.files import written_whole

SHARES = ("level", "fires", "unfounded", "early")

_SAYS = f"""`Turn` is the form `{TURN}`. What it was chosen for:

- **A test at each evaluation is sure of nothing.** Where the truth never rises, the plain paired t
  test at 95% fires on about half of the batches: it has sixty chances, and holds each against the
  luckiest of those before. Two in a row, a smoothed best, random signs, or a count that begins anew
  at each best mend little of that.
- **Spending mends it**: evaluation k has 1 / (k (k + 1)) of the 5%.
- **Neighbours tell the error of a stratified batch.** The usual one counts what differs between
  timesteps as if it were chance. With 16 samples and the error from neighbours, two thirds
  more of the stratified batches fire. Of a random batch both are the same.
- **A rise that is sure can pass.** Hardly a stop is unfounded, yet with textual inversion and
  Custom Diffusion, whose held-out loss goes down in waves, and in the first steps of DreamBooth,
  most are early, the more the larger the batch: a test of draws knows nothing of how the weights
  wander. Waiting as long again as the best took ends that, in all of these runs, for as many steps
  as it says. It also is what keeps `level` well below 5% in any process.
- **Each evaluation costs some sureness**, so that fewer batches of 16 find a turn where it is
  looked for at every step. Every 5 or 10 steps, and 32 samples, find more, for less time. Sharing
  the 5% by doublings of k depends less on that, yet exceeds it in long runs whose losses forget
  (fresh noise, autoregression).
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


def write_report(tables: Mapping[str, pd.DataFrame], directory: Path) -> None:
    """Write each table, and `RESULTS.md` from what was written."""
    for name, table in tables.items():
        with written_whole(directory / f"{name}.csv") as beside:
            table.to_csv(beside, index=False, float_format="%.4g")
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(directory), encoding="utf-8")


def report(directory: Path) -> str:
    """`RESULTS.md`, from the tables in the folder."""
    names = ("runs", "simulated", "spacing", "dense")
    runs, made, spacing, dense = (pd.read_csv(directory / f"{name}.csv") for name in names)
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
    parts.append("## How often it is evaluated, and the confidence: Turn, stratified batches\n")
    parts.append(_spacing(spacing, "confidence"))
    parts.append("## A DreamBooth that is evaluated at every step\n")
    parts.append(
        f"{DENSE['steps']} steps, {DENSE['draws']} draws, confidence {CONFIDENCE:g}. In the first "
        "steps the loss rises and falls again.\n"
    )
    parts.append(_spacing(dense, "form"))
    return "\n".join(parts)


def _over_runs(part: pd.DataFrame) -> str:
    head = ["form", "level, median", "level, largest", "fires", "unfounded", "early"]
    rows = []
    for form in FORMS:
        own = part[part["form"] == form]
        numbers = [own["level"].median(), own["level"].max()]
        numbers += [own[each].mean() for each in SHARES[1:]]
        told = [f"{each:.2f}" for each in numbers]
        known = own["delay"].dropna()
        delay = f"{known.median():.0f}" if len(known) else "-"
        told += [delay, f"{own['regret'].mean():.3f}", f"{own['regret_never'].mean():.3f}"]
        rows.append([form, *told])
    return _table([*head, "delay", "regret", "without"], rows)


def _by_method(runs: pd.DataFrame) -> str:
    shown = runs["form"].isin(["neighbours, spent", TURN])
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


def _spacing(spacing: pd.DataFrame, by: str) -> str:
    rows = []
    for key, part in spacing.groupby(["size", "every", by], sort=False):
        told = [f"{part[each].mean():.2f}" for each in SHARES]
        known = part["delay"].dropna()
        tail = [f"{known.median():.0f}" if len(known) else "-", f"{part['regret'].mean():.3f}"]
        rows.append([*(str(each) for each in key), *told, *tail])
    return _table(["size", "steps between", by, *SHARES, "delay", "regret"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
