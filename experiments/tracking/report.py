"""The tables of what rare values lose, and what they say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from noiseprobe.analysis.bootstrap import bootstrap_interval
from noiseprobe.core.files import written_whole

_HEAD = """# Tracking within a budget

Made by `python -m experiments.tracking`. Which losses are evaluated changes no weight: recorded
traces with L_det at every step, and the held-out loss of 32 samples at every fifth, say where a run
would have ended with fewer values. `every` is what `--track-budget` gives
(`noiseprobe/run/pacing.py`); windows stay in steps. Means over concepts with a 95% bootstrap
interval over concepts. `moved`: the stop on few values less that on all, over the latter, and the
median over runs of its size. `clip`, `unseen`: what that changes in CLIP similarity to
photographs and in the loss on photographs that nobody trained on.
"""

_STOPS = """
## DVAR on L_det

`comparison`: window and threshold of experiments/comparison, a random fixed batch, the similarity
in training. `defaults`: those of the package, a stratified batch, judged on unseen photographs.

"""

_STOP_COLUMNS = (
    *("set", "method", "budget", "every", "runs", "stop on all", "moved", "size of it"),
    *("clip", "unseen"),
)

_KEPT = """
## The best step of the held-out loss

`never`: the best of a whole run. `turn`: the best when turn ends it. Fewer samples are every so
many strata of the 32 that were recorded, and spacings are rounded up to multiples of 5.

"""

_KEPT_COLUMNS = (
    *("rule", "method", "budget", "every", "samples", "runs", "stop on all", "stop on few"),
    *("unseen", "clip"),
)


def write_report(tables: Mapping[str, pd.DataFrame], directory: Path) -> None:
    """Write each table, and `RESULTS.md` of them."""
    for name, table in tables.items():
        with written_whole(directory / f"{name}.csv") as beside:
            table.to_csv(beside, index=False, float_format="%.5g")
    with written_whole(directory / "RESULTS.md") as beside:
        beside.write_text(report(tables["stops"], tables["kept"]), encoding="utf-8")


def report(stops: pd.DataFrame, kept: pd.DataFrame) -> str:
    """The text of the report."""
    text = _HEAD + _STOPS + _row(_STOP_COLUMNS) + _rule(_STOP_COLUMNS)
    for (of, method, budget), rows in stops.groupby(["set", "method", "budget"]):
        moved = (rows["rare"] - rows["often"]) / rows["often"]
        cells = [
            str(of),
            str(method),
            f"{budget:.0%}",
            str(rows["every"].iloc[0]),
            str(len(rows)),
            f"{rows['often'].median():.0f}",
            _percent(moved, rows["concept"]),
            f"{moved.abs().median():.1%}",
            _interval(rows["clip"], rows["concept"], 3),
            _interval(rows["unseen"], rows["concept"], 4) if of == "defaults" else "",
        ]
        text += _row(cells)
    text += _KEPT + _row(_KEPT_COLUMNS) + _rule(_KEPT_COLUMNS)
    for (rule, method, budget), rows in kept.groupby(["rule", "method", "budget"]):
        cells = [
            str(rule),
            str(method),
            f"{budget:.0%}",
            str(rows["every"].iloc[0]),
            str(rows["samples"].iloc[0]),
            str(len(rows)),
            f"{rows['often'].mean():.0f}",
            f"{rows['rare'].mean():.0f}",
            _interval(rows["unseen"], rows["concept"], 4),
            _interval(rows["clip"], rows["concept"], 3),
        ]
        text += _row(cells)
    return text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _rule(columns: Sequence[str]) -> str:
    return f"|---|---|{'---:|' * (len(columns) - 2)}\n"


def _interval(values: pd.Series, concepts: pd.Series, digits: int) -> str:
    units = values.groupby(concepts.astype(str)).mean()
    low, high = bootstrap_interval(units.to_numpy())
    return f"{units.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _percent(values: pd.Series, concepts: pd.Series) -> str:
    units = 100 * values.groupby(concepts.astype(str)).mean()
    low, high = bootstrap_interval(units.to_numpy())
    return f"{units.mean():+.1f}% ({low:+.1f}% to {high:+.1f}%)"
