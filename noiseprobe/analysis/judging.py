"""Losses and their judge from sources, and the tables that `noiseprobe regret` prints."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from noiseprobe.analysis.regret import Judged
from noiseprobe.analysis.replaying import shown_params
from noiseprobe.core.errors import UserError
from noiseprobe.core.tables import aligned, records
from noiseprobe.logs import choose_tags, read_logs, run_of
from noiseprobe.stopping import to_be_high


def judged_traces(
    given: Sequence[Path], judge: str, pattern: str | None, maximize: bool | None
) -> list[Judged]:
    """The losses of each source with the judge that was recorded beside them.

    Args:
        given: the sources; each must hold both. A table of several runs, as Weights & Biases
            exports them, gives each run with its own judge.
        judge: the judge's tag, or a pattern that one tag matches, or one of each such run.
        pattern: the same of the losses; by default `l_det`, or what else is plain.
        maximize: whether the judge is to be high; by default its tag says so.

    Raises:
        UserError: a source cannot be read, or lacks either, or the choice is not clear.
    """
    judged = []
    for log, tags in read_logs(given, lambda tags: _flat(_pairs(tags, judge, pattern))):
        pairs = _pairs(log.tags, judge, pattern)
        for trace, verdict in pairs:
            if trace not in tags or verdict not in tags:
                continue  # a single point, or unreadable, and passed over
            high = to_be_high(verdict) if maximize is None else maximize
            losses = log.series(trace)
            if len(pairs) > 1:
                losses = replace(losses, name=f"{losses.name}: {run_of(trace)}")
            judged.append(Judged(losses, log.series(verdict), high))
    return judged


def _pairs(tags: Sequence[str], judge: str, pattern: str | None) -> list[tuple[str, str]]:
    """The tag of the losses and that of the judge, for each run of which a log tells."""
    verdicts = _chosen(tags, judge, "--judge")
    if len({run_of(verdict) for verdict in verdicts}) < len(verdicts):
        raise UserError(f"--judge {judge} is {', '.join(verdicts)}; choose one of them")
    pairs = []
    for verdict in verdicts:
        beside = [tag for tag in tags if run_of(tag) == run_of(verdict)]
        others = beside if pattern else [tag for tag in beside if tag != verdict]
        if not others:
            raise UserError(f"nothing but the judge {verdict}; record a loss beside it")
        losses = _chosen(others, pattern, "--tag")
        if len(losses) > 1:
            raise UserError(f"--tag {pattern} is {', '.join(losses)}; choose one of them")
        pairs.append((losses[0], verdict))
    return pairs


def _flat(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(tag for pair in pairs for tag in pair))


def _chosen(tags: Sequence[str], pattern: str | None, flag: str) -> list[str]:
    try:
        return choose_tags(tags, pattern)
    except UserError as error:
        raise UserError(str(error).replace("--tag", flag)) from None


def losses(traces: Sequence[Judged]) -> list[str]:
    """The tags of the losses, each once."""
    return list(dict.fromkeys(judged.trace.column for judged in traces))


def document(
    traces: Sequence[Judged], raw: pd.DataFrame, summary: pd.DataFrame, paired: pd.DataFrame
) -> dict[str, Any]:
    """What `--json` prints; the tables are those of `noiseprobe.analysis.regret`."""
    return {
        "losses": losses(traces),
        "judge": traces[0].judge.column,
        "maximize": traces[0].maximize,
        "summary": records(summary),
        "paired": records(paired),
        "traces": [row | {"params": json.loads(row["params"])} for row in records(raw)],
    }


def report_text(
    traces: Sequence[Judged], raw: pd.DataFrame, summary: pd.DataFrame, paired: pd.DataFrame
) -> str:
    """What a person reads: how it was judged, the means, and the differences."""
    judge, way = traces[0].judge.column, "high" if traces[0].maximize else "low"
    lines = [
        f"Regret by {judge} ({way} is good): 0 is its best, 1 its first value; means over "
        "traces with 95% intervals.",
        summary_text(summary, raw),
    ]
    left_out = int(summary["left_out"].max())
    if left_out:
        traces_left = f"{left_out} trace{'s' * (left_out > 1)}"
        lines.append(f"Left out: {traces_left} on which {judge} never improved (enough).")
    if len(paired):
        lines += ["", paired_text(paired)]
    return "\n".join(lines)


def summary_text(summary: pd.DataFrame, raw: pd.DataFrame) -> str:
    """One line per criterion: parameters, regret, steps spent, how often it never fires."""
    heads = (
        "criterion",
        "parameters",
        "traces",
        "median",
        "regret",
        "kept regret",
        "steps / best",
        "never",
    )
    rows = [
        (
            str(row["criterion"]),
            _shown_choice(raw[raw["criterion"] == row["criterion"]]),
            str(row["traces"]),
            "-" if math.isnan(row["regret_median"]) else f"{row['regret_median']:.2f}",
            *(_interval(row, name) for name in ("regret", "kept_regret", "steps_spent", "never")),
        )
        for row in summary.to_dict("records")
    ]
    return aligned([heads, *rows], left=(0, 1))


def paired_text(paired: pd.DataFrame) -> str:
    """One line per criterion: its difference from the one it is held against."""
    heads = (f"less {paired['against'].iloc[0]}", "traces", "regret", "kept regret", "steps / best")
    rows = [
        (
            str(row["criterion"]),
            str(row["traces"]),
            *(_interval(row, name, "+") for name in ("regret", "kept_regret", "steps_spent")),
            *("-" if math.isnan(row[way]) else f"{row[way]:.0%}" for way in ("better", "worse")),
        )
        for row in paired.to_dict("records")
    ]
    return aligned([(*heads, "better", "worse"), *rows])


def _shown_choice(rows: pd.DataFrame) -> str:
    """The parameters that were chosen most often, and for what share if not always.

    Traces without a regret do not count, unless there are no others.
    """
    known = rows[rows["regret"].notna()]
    counts = (known if len(known) else rows)["params"].value_counts()
    share = counts.iloc[0] / counts.sum()
    often = "" if share == 1 else f" ({share:.0%})"
    return shown_params(json.loads(str(counts.index[0]))) + often


def _interval(row: dict[Any, Any], name: str, sign: str = "") -> str:
    values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
    middle, low, high = ("-" if math.isnan(value) else f"{value:{sign}.2f}" for value in values)
    return middle if math.isnan(values[1]) else f"{middle} [{low}, {high}]"
