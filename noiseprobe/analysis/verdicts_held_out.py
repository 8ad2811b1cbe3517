"""What was found beside L_det: held out, and against earlier weights, in sentences."""

import math
from pathlib import Path

import pandas as pd

from noiseprobe.analysis.ending import Ending
from noiseprobe.core.words import command


def of_held_out(ending: Ending) -> list[str]:
    """How the loss went on photographs that were not trained on; or that there were none."""
    if ending.crossed:
        row = ending.crossed
        reach = f" (95%: {row['low']:+.4f} to {row['high']:+.4f})" if row["folds"] > 1 else ""
        return [
            f"With each of {row['folds']:.0f} photographs left out once, the held-out loss is "
            f"lowest on average after {row['step']:.0f} steps: {row['mean']:+.4f}{reach} against "
            "its start."
        ]
    if not (held := ending.held_out):
        return [
            "Whether it overfits cannot be seen, since no photograph was held out: --hold-out 1 "
            "holds one out, --cross each in turn."
        ]
    if held.best_step == 0:
        return [f"The held-out loss was never below its start, {held.first:.4f}."]
    return [
        f"The held-out loss was lowest at step {held.best_step}: {held.best:.4f}, from "
        f"{held.first:.4f} at the start to {held.last:.4f} at the end."
    ]


def of_stretch(ending: Ending) -> list[str]:
    """What the last stretch of steps brought, where that was tracked."""
    if not (found := ending.stretch):
        return []
    told = (
        f"Steps {found.first_step} to {found.last_step} brought the training loss down by "
        f"{found.gain:.4f} (95%: {found.low:.4f} to {found.high:.4f})"
    )
    return [f"{told}; all stretches together brought {found.total:.4f}."]


def of_gap(run: Path, table: pd.DataFrame) -> "tuple[list[str], str]":
    """How the loss has changed on both kinds of photographs, and a command that is useful next.

    Args:
        run: the run directory.
        table: what `noiseprobe.analysis.gap.gaps` gives.
    """
    last = table.iloc[-1]
    told = [
        f"By step {last['step']:.0f} the loss has changed by {_signed(last, 'trained')} on the "
        f"photographs that were trained on, and by {_signed(last, 'held')} on those held out."
    ]
    if last["gap_low"] > 0:
        told.append(
            f"The gap is {_signed(last, 'gap')}: what was learned is in part these photographs."
        )
    else:
        told.append(
            f"Whether there is a gap cannot be told from these draws: {_signed(last, 'gap')}."
        )
    return told, command("noiseprobe", "plot", run)


def _signed(row: "pd.Series[float]", name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    reach = "" if math.isnan(low) else f" (95%: {low:+.4f} to {high:+.4f})"
    return f"{row[name]:+.4f}{reach}"
