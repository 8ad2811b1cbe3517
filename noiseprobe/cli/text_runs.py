"""What a person reads about runs: a summary, measures, the comparison, an analysis."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.cli.tables import (
    between,
    cell,
    csv_of,
    latex,
    markdown,
    paragraph,
    plain,
    print_json,
    print_next,
    print_verdict,
    records,
    with_interval,
)
from noiseprobe.core.files import written_whole
from noiseprobe.core.words import visible

if TYPE_CHECKING:
    import pandas as pd

    from noiseprobe.analysis.ending import Ending
    from noiseprobe.analysis.run_tables import Analysis
    from noiseprobe.analysis.verdicts import Verdict

TITLES = {
    "method": "method",
    "variant": "variant",
    "runs": "runs",
    "train_clip_img": "Train CLIP img",
    "val_clip_img": "Val CLIP img",
    "val_clip_txt": "Val CLIP txt",
    "step": "iterations",
    "minutes": "minutes",
    "speedup": "speed-up",
}
"""The columns of the comparison, as they were published."""
FORMS = {"step": ".0f", "minutes": ".2f", "speedup": ".1f"}
SHAPES = {plain: "{}", markdown: "{} [{}, {}]", latex: "${}$ {{\\small[{}, {}]}}"}


def print_summary(summary: dict[str, Any]) -> None:
    """Print what a run found, its factors with their intervals, and where the figures are."""
    print_verdict(summary["verdict"])
    intervals = summary["noise_to_signal_interval"]
    noise = [
        (factor, cell(value), _interval(intervals[factor]))
        for factor, value in summary["noise_to_signal"].items()
    ]
    if noise:
        print(plain([("factor", "noise-to-signal", "95%"), *noise]), end="\n\n")
    if summary["figures"]:
        print(f"Figures: {visible(Path(summary['figures'][0]).parent)}/")
    print_next(summary["next"])


def _interval(ends: Sequence[float | None] | None) -> str:
    """The ends of an interval in a cell; one that has no end is open."""
    if ends is None:
        return "-"
    low, high = ends
    return f"{cell(low)} or more" if high is None else f"{cell(low)} to {cell(high)}"


def ending_table(ending: "Ending", train: "pd.DataFrame") -> str:
    """One line per criterion that looked on: where it would have ended the training."""
    losses = train.set_index("step")["l_det"]
    rows = [("criterion", "fires at step", "L_det there")]
    for name, step in ending.fired.items():
        there = None if step is None else float(losses[step])
        rows.append((name, "never" if step is None else str(step), cell(there, ".5f")))
    ends = [None, *losses.dropna()]
    rows.append(("all steps", str(ending.steps), cell(ends[-1], ".5f")))
    return plain(rows)


def gap_text(table: "pd.DataFrame", bins: "pd.DataFrame") -> str:
    """The change of the loss on both kinds of photographs, by checkpoint and by timestep."""
    kinds = ("trained", "held", "gap")
    heads = ("trained on", "95%", "held out", "95%", "gap", "95%")

    def numbers(row: dict[Any, Any]) -> Sequence[str]:
        cells = [
            (cell(row[kind], "+.4f"), between(row[f"{kind}_low"], row[f"{kind}_high"], "+.4f"))
            for kind in kinds
        ]
        return [each for pair in cells for each in pair]

    by_step: list[Sequence[str]] = [("step", *heads)]
    by_step += [(str(row["step"]), *numbers(row)) for row in table.to_dict("records")]
    by_bin: list[Sequence[str]] = [("timesteps", *heads)]
    by_bin += [(f"{row['from']}-{row['to'] - 1}", *numbers(row)) for row in bins.to_dict("records")]
    last = table["step"].max()
    return "\n\n".join(
        [
            f"{paragraph('Change of the loss since the first checkpoint')}\n{plain(by_step)}",
            f"{paragraph(f'The same by timestep, at step {last}')}\n{plain(by_bin)}",
        ]
    )


def metrics_table(measured: "dict[str, pd.DataFrame]") -> str:
    """One line per run and measured step, one column per metric."""
    names = sorted({str(name) for trace in measured.values() for name in trace["metric"].unique()})
    rows = [("run", "step", *names)]
    for run, trace in measured.items():
        for step, values in trace.groupby("step"):
            here = values.set_index("metric")["value"]
            rows.append((run, str(step), *(cell(here.get(name), ".3f") for name in names)))
    return plain(rows, paths=0)


def comparison_text(summary: "pd.DataFrame", write: Callable[..., str] = plain) -> str:
    """The comparison, written by `plain` (means alone), `markdown` or `latex` (with intervals)."""
    from noiseprobe.analysis.comparison import NAMES

    first, measures = list(TITLES)[:3], list(TITLES)[3:]
    rows = [list(TITLES.values())]
    for row in summary.to_dict("records"):
        cells = [str(row[name]) for name in first]
        cells[1] = NAMES[cells[1]]
        for name in measures:
            cells.append(with_interval(row, name, FORMS.get(name, ".3f"), SHAPES[write]))
        rows.append(cells)
    return write(rows, left=(0, 1))


def write_comparison(raw: "pd.DataFrame", summary: "pd.DataFrame", out: Path) -> None:
    """Write the table in four formats, and the raw numbers of the runs, into the folder `out`."""
    texts = {
        "comparison.md": comparison_text(summary, markdown) + "\n",
        "comparison.csv": csv_of(summary, float_format="%.6g"),
        "comparison.tex": comparison_text(summary, latex) + "\n",
        "comparison.json": json.dumps(records(summary), indent=2) + "\n",
        "runs.csv": csv_of(raw, float_format="%.6g"),
    }
    for name, text in texts.items():
        with written_whole(out / name) as beside:
            beside.write_text(text, encoding="utf-8")


def print_analysis_json(found: "Analysis", figures: Sequence[Path], verdict: "Verdict") -> None:
    """Print run, each table as a list of rows, missing, figures, verdict; NaN is null."""
    tables = {
        name: records(table.reset_index() if table.index.name else table)
        for name, table in found.tables.items()
    }
    ends = {"missing": found.missing, "figures": [str(path) for path in figures]}
    print_json({"run": found.run} | tables | ends | verdict.document)


def analysis_text(found: "Analysis") -> str:
    """Compact tables for people: shares and bins at the last checkpoint, with 95% intervals."""
    written = {
        "shares": _shares,
        "interactions": _interactions,
        "signal_to_noise": _signal,
        "timestep_losses": lambda table: _timesteps(table, found.tables["learning_bins"]),
        "correlations": _correlations,
    }
    blocks = [write(found.tables[name]) for name, write in written.items() if name in found.tables]
    return "\n\n".join([*blocks, visible("\n".join(found.missing), keep="\n")]).rstrip()


def _last(table: "pd.DataFrame") -> list[dict[Any, Any]]:
    return table[table["step"] == table["step"].max()].to_dict("records")


def _shares(table: "pd.DataFrame") -> str:
    first, last = table["step"].min(), table["step"].max()
    begun = table[table["step"] == first].set_index("factor")["first"]
    rows = [("factor", f"step {first}", f"step {last}", "95%", "with interactions", "95%")]
    for row in _last(table):
        numbers = [cell(each, ".1%") for each in (begun[row["factor"]], row["first"], row["total"])]
        ends = [between(row[f"{name}_low"], row[f"{name}_high"]) for name in ("first", "total")]
        rows.append((row["factor"], *numbers[:2], ends[0], numbers[2], ends[1]))
    return "Share of the batch loss's variance\n" + plain(rows)


def _interactions(table: "pd.DataFrame") -> str:
    rows = [("factors", "share", "95%")]
    for row in _last(table):
        names = f"{row['first']} x {row['second']}"
        rows.append((names, cell(row["share"], ".1%"), between(row["low"], row["high"])))
    title = f"Share of what two factors do only together, step {table['step'].max()}"
    return f"{paragraph(title)}\n{plain(rows)}"


def _signal(table: "pd.DataFrame") -> str:
    rows = [("setting", "signal", "noise", "progress", "batch", "needed batch", "95%")]
    for setting, row in table.iterrows():
        numbers = (cell(row["signal"]), cell(row["noise"]), cell(row["progress"], ".1%"))
        needed, low, high = (
            f"{math.ceil(row[name]):,}" if math.isfinite(row[name]) else "-"
            for name in ("needed_batch", "needed_low", "needed_high")
        )
        reach = f"{low} or more" if row["needed_high"] == math.inf else f"{low} to {high}"
        reach = "-" if low == "-" else reach
        rows.append((str(setting), *numbers, cell(row["batch"]), needed, reach))
    title = "Progress in each trace, and the batch that makes noise as small"
    return f"{paragraph(title)}\n{plain(rows)}"


def _timesteps(losses: "pd.DataFrame", learning: "pd.DataFrame") -> str:
    trends = learning.set_index("bin")["trend"].to_dict()
    rows = [("timesteps", "loss", "change", "95%", "last third")]
    for row in _last(losses):
        bounds = f"{row['from']}-{row['to'] - 1}"
        change = cell(row["relative"], ".1%")
        ends = between(row["relative_low"], row["relative_high"])
        rows.append((bounds, cell(row["loss"]), change, ends, trends.get(row["bin"], "-")))
    last = losses["step"].max()
    title = f"Loss by timestep at step {last}, and its change since the start"
    return f"{paragraph(title)}\n{plain(rows)}"


def _correlations(table: "pd.DataFrame") -> str:
    rows = [("trace", "rho", "95%", "points")]
    for trace, row in table.iterrows():
        ends = between(row["low"], row["high"], ".2f")
        rows.append((str(trace), cell(row["rho"], ".2f"), ends, f"{row['points']:.0f}"))
    return "Rank correlation with CLIP similarity\n" + plain(rows)
