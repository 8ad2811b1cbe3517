"""The tables of a report: words in cells, with a caption and a head."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from noiseprobe.analysis.comparison import METRICS, NAMES
from noiseprobe.core.words import visible
from noiseprobe.plots.report.contents import Checkpoints, RunReport
from noiseprobe.plots.style import plain_name
from noiseprobe.stopping.params import shown_params

UNKNOWN = "–"

_MEASURES = {
    "train_clip_img": "Train CLIP img",
    "val_clip_img": "Val CLIP img",
    "val_clip_txt": "Val CLIP txt",
    "step": "steps",
    "minutes": "minutes",
    "speedup": "speed-up",
}


@dataclass(frozen=True)
class Table:
    """Words in cells.

    Attributes:
        caption: what it is.
        head: a name per column.
        rows: as many cells each; the first names the row.
        marked: the places of rows that stand out.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: Sequence[int] = ()


def number(value: Any, form: str = ".4g") -> str:
    """A number in a cell; a dash where it is unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return format(value, form)


def of_ratios(ratios: pd.DataFrame) -> Table:
    """Noise-to-signal of each factor with its interval."""
    rows = [
        (plain_name(str(factor)), number(row["noise_to_signal"], ".3g"), reach(row))
        for factor, row in ratios.to_dict("index").items()
    ]
    return Table("Noise-to-signal", ("redrawn", "noise-to-signal", "95%"), rows)


def reach(row: Mapping[Any, float]) -> str:
    """The ends of an interval; one that is not known is open."""
    low, high = row["low"], row["high"]
    if math.isinf(high):
        return f"{number(low, '.3g')} or more"
    return f"{number(low, '.3g')} to {number(high, '.3g')}" if math.isfinite(high) else UNKNOWN


def of_checkpoints(found: Checkpoints) -> Table:
    """One row per checkpoint: only columns of which something is known."""
    columns = {
        "loss": (visible(found.loss) or "loss", ".4g"),
        "difference": ("above the lowest", ".3g"),
        "l_det": ("L_det", ".4g"),
        "l_val": ("held out", ".4g"),
        "likeness": ("likeness", ".3f"),
        "prompt": ("prompt", ".3f"),
    }
    table = found.table
    known = {name: told for name, told in columns.items() if table[name].notna().any()}
    for name in ("l_det", "l_val"):  # which the loss that decides may be itself
        if name in known and "loss" in known and _same(table[name], table["loss"]):
            del known[name]
    compared = "difference" in known
    head = [found.unit, *(title for title, _ in known.values())] + ["may be the best"] * compared
    rows = [
        [str(row["step"]), *(number(row[name], form) for name, (_, form) in known.items())]
        + [_may(row["candidate"])] * compared
        for row in table.to_dict("records")
    ]
    marked = [place for place, step in enumerate(table["step"]) if step == found.take]
    return Table("The checkpoints", head, rows, marked)


def _same(first: pd.Series, second: pd.Series) -> bool:
    return bool(np.allclose(first, second, rtol=1e-6, atol=0, equal_nan=True))


def _may(candidate: bool | None) -> str:
    return UNKNOWN if candidate is None else "yes" if candidate else "no"


def of_criteria(rows: Sequence[Mapping[str, Any]], loss: str) -> Table:
    """What each criterion would have done."""
    held = any(row.get("held_out") is not None for row in rows)
    head = ["criterion", "parameters", "stops at", "keeps step", f"{visible(loss)} there"]
    head += ["held-out loss there"] * held + ["saved of the recorded steps"]
    cells = []
    for row in rows:
        fired = row["stop_step"] is not None
        stop = str(row["stop_step"]) if fired else "never" if row["could_fire"] else "cannot fire"
        line = [row["criterion"], shown_params(row["params"]), stop, str(row["kept_step"])]
        line += [number(row["loss_at_keep"])] + [number(row.get("held_out"))] * held
        cells.append([*line, f"{row['saved_fraction']:.0%}" if fired else UNKNOWN])
    return Table("Where each criterion would have stopped", head, cells)


def of_comparison(summary: pd.DataFrame) -> Table:
    """Methods and criteria: means with 95% intervals over concepts."""
    forms = {"step": ".0f", "minutes": ".2f", "speedup": ".1f"}
    rows = []
    for row in summary.to_dict("records"):
        cells = [str(row["method"]), NAMES[row["variant"]], str(row["runs"])]
        for name in (*METRICS, "step", "minutes", "speedup"):
            form = forms.get(name, ".3f")
            columns = (name, f"{name}_low", f"{name}_high")
            middle, low, high = (number(row[each], form) for each in columns)
            cells.append(middle if UNKNOWN in (low, high) else f"{middle} ({low} to {high})")
        rows.append(cells)
    head = ["method", "criterion", "runs", *_MEASURES.values()]
    return Table("Criteria by method: means, 95% intervals over concepts", head, rows)


def of_runs(runs: Sequence[RunReport]) -> Table:
    """One row per run."""
    return Table("The runs", list(runs[0].row), [list(run.row.values()) for run in runs])


def of_words(caption: str, words: Mapping[str, str], name: str) -> Table:
    """Names and what they are."""
    return Table(caption, (name, "value"), list(words.items()))
