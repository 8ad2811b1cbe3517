"""What a person reads about recorded losses: replays, grids, regret, and the list of criteria."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from noiseprobe.cli.tables import cell, paragraph, plain, with_interval
from noiseprobe.core.words import visible
from noiseprobe.stopping import FixedSteps, build
from noiseprobe.stopping.params import shown_params
from noiseprobe.stopping.window import shown_window

if TYPE_CHECKING:
    import pandas as pd

    from noiseprobe.analysis.sources import Judged


def catalogue_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The criteria as a person reads them: a paragraph each."""
    return "\n\n".join(
        f"{row['name']}: {shown_params(row['parameters']) or 'no parameters'}"
        f"{_of_any_log(row['scale_free'])}\n"
        f"    stops when {row['formula']}\n"
        f"    {row['source']}"
        for row in rows
    )


def _of_any_log(scale_free: Mapping[str, float]) -> str:
    return f"; {shown_params(scale_free)} on a log of no run" if scale_free else ""


def list_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per source and tag."""
    cells = [
        (row["trace"], row["tag"], str(row["points"]), f"{row['first_step']}..{row['last_step']}")
        for row in rows
    ]
    return plain([("trace", "tag", "points", "steps"), *cells], left=(0, 1), paths=0)


def replay_table(replays: Sequence[Mapping[str, Any]]) -> str:
    """One line per trace and criterion: where it fires, what that saves, what it keeps.

    What is of the trace alone stands above the table where there is only one.
    """
    columns = {
        "trace": [row["trace"] for row in replays],
        "tag": [row["tag"] for row in replays],
        "points": [str(row["points"]) for row in replays],
        "best step": [cell(row["best_step"], "d") for row in replays],
        "best": [cell(row["best"], ".4g") for row in replays],
        "criterion": [row["criterion"] for row in replays],
        "stop step": [_stop(row) for row in replays],
        "saved": [f"{row['saved_fraction']:.0%}" for row in replays],
        "loss there": [cell(row["loss_at_stop"], ".4g") for row in replays],
        "keep step": [str(row["kept_step"]) for row in replays],
        "loss kept": [cell(row["loss_at_keep"], ".4g") for row in replays],
        "ratio": [cell(row.get("ratio")) for row in replays],
        "parameters": [shown_params(row["params"]) for row in replays],
    }
    above, paths = "", 0 if replays else None
    if len({(row["trace"], row["tag"]) for row in replays}) == 1:
        trace, tag, points, step, best = (columns.pop(name)[0] for name in list(columns)[:5])
        number = f"{points} point{'' if points == '1' else 's'}"
        found = f", best {best} at step {step}" if replays[0]["best"] is not None else ""
        above = paragraph(f"{trace}, {tag}: {number}{found}") + "\n"
        paths = None
    heads = list(columns)
    left = [heads.index(name) for name in ("trace", "tag", "criterion") if name in columns]
    rows = [heads, *(list(row) for row in zip(*columns.values(), strict=True))]
    return above + plain(rows, [*left, len(heads) - 1], paths)


def _stop(row: Mapping[str, Any]) -> str:
    """The step at which a criterion stops, or why it does not."""
    if row["stop_step"] is not None:
        return str(row["stop_step"])
    return "never" if row["could_fire"] or row["criterion"] == "never" else "cannot fire"


def cannot_fire(replays: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each criterion that had no chance to fire on a trace, whatever the losses."""
    hopeless: dict[str, list[Mapping[str, Any]]] = {}
    for row in replays:
        if not row["could_fire"] and row["criterion"] != "never":
            hopeless.setdefault(row["criterion"], []).append(row)
    lines = []
    for name, (first, *others) in hopeless.items():
        criterion = build(name, first["params"], first.get("every", 1))
        needs = f"{criterion.least} finite losses, of {first['points']} points in all"
        if isinstance(criterion, FixedSteps):
            needs = f"a step of at least {criterion.steps}"
        mend = "; give a smaller --window, or a share such as 20%" if name == "dvar" else ""
        more = f" (and {len(others)} more like it)" if others else ""
        lines.append(f"{first['trace']}: {criterion!r} cannot fire: it needs {needs}{mend}{more}")
    return lines


def grid_table(grids: Sequence[Mapping[str, Any]]) -> str:
    """The stop steps of each trace, windows down, thresholds across."""
    blocks = []
    for grid in grids:
        rows = [["", *(f"{threshold:g}" for threshold in grid["thresholds"])]]
        for window, steps in zip(grid["windows"], grid["stop_steps"], strict=True):
            rows.append([shown_window(window), *(cell(step, "d") for step in steps)])
        title = f"{visible(grid['trace'])}: stop step by window (down) and threshold (across)\n"
        blocks.append(title + plain(rows))
    return "\n\n".join(blocks)


def regret_text(
    traces: "Sequence[Judged]",
    raw: "pd.DataFrame",
    summary: "pd.DataFrame",
    paired: "pd.DataFrame",
) -> str:
    """The means, what is left out, what cannot fire, and the differences."""
    judge, way = visible(traces[0].judge.column), "high" if traces[0].maximize else "low"
    over, origins = f"{len(traces)} traces", len({judged.origin for judged in traces})
    if origins < len(traces):
        over = f"{origins} origin{'s' * (origins > 1)} of {over}"
    title = f"Regret by {judge} ({way} is good), means over {over} with 95% intervals"
    lines = [paragraph(title), _means(summary, raw)]
    left_out = int(summary["left_out"].max())
    if left_out:
        traces_left = f"{left_out} trace{'s' * (left_out > 1)}"
        lines.append(
            paragraph(f"Left out: {traces_left} on which {judge} never improved (enough).")
        )
    for row in summary.to_dict("records"):
        hopeless = row["traces"] - row["could_fire"]
        if hopeless and row["criterion"] != "never":
            lines.append(
                paragraph(
                    f"{row['criterion']} cannot fire on {hopeless} of {row['traces']} traces: they "
                    "are too short for its parameters, and it is charged with their last step."
                )
            )
    if len(paired):
        lines += ["", _differences(paired)]
    return "\n".join(lines)


def _means(summary: "pd.DataFrame", raw: "pd.DataFrame") -> str:
    """One line per criterion: parameters, regret, steps spent, how often it never fires."""
    heads = ("criterion", "parameters", "traces", "median")
    rows: list[tuple[str, ...]] = [(*heads, "regret", "kept regret", "steps / best", "never")]
    for row in summary.to_dict("records"):
        name, measures = str(row["criterion"]), ("regret", "kept_regret", "steps_spent", "never")
        chosen = _chosen(raw[raw["criterion"] == name])
        middle = cell(row["regret_median"], ".2f")
        means = (with_interval(row, measure) for measure in measures)
        rows.append((name, chosen, str(row["traces"]), middle, *means))
    return plain(rows, left=(0, 1))


def _differences(paired: "pd.DataFrame") -> str:
    """One line per criterion: its difference from the one it is held against."""
    measures, shares = ("regret", "kept_regret", "steps_spent"), ("better", "worse")
    heads = (f"less {paired['against'].iloc[0]}", "traces", "regret", "kept regret")
    rows: list[tuple[str, ...]] = [(*heads, "steps / best", *shares)]
    for row in paired.to_dict("records"):
        gaps = (with_interval(row, measure, "+.2f") for measure in measures)
        ways = (cell(row[share], ".0%") for share in shares)
        rows.append((str(row["criterion"]), str(row["traces"]), *gaps, *ways))
    return plain(rows)


def _chosen(rows: "pd.DataFrame") -> str:
    """The parameters that were chosen most often, and for what share if not always.

    Traces without a regret do not count, unless there are no others.
    """
    known = rows[rows["regret"].notna()]
    counts = (known if len(known) else rows)["params"].value_counts()
    share = counts.iloc[0] / counts.sum()
    often = "" if share == 1 else f" ({share:.0%})"
    return shown_params(json.loads(str(counts.index[0]))) + often
