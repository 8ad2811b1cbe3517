"""What the commands print: JSON, and short tables as text."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.core.files import written_whole
from noiseprobe.core.tables import aligned, records

if TYPE_CHECKING:
    import pandas as pd

RULES = {"dvar": "DVAR", "clip": "The CLIP rule"}


def print_summary(summary: dict[str, Any]) -> None:
    """Print a run's summary: noise-to-signal by factor, the stop, and where the figures are."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    table = Table("factor", "noise-to-signal")
    table.columns[1].justify = "right"
    for factor, value in summary["noise_to_signal"].items():
        table.add_row(factor, "-" if value is None else f"{value:.3g}")
    if summary["noise_to_signal"]:
        console.print(table)
    console.print(stop_sentence(summary), soft_wrap=True)
    figures = summary["figures"]
    if figures:
        console.print(f"Figures: {Path(figures[0]).parent}/", soft_wrap=True)


def stop_sentence(summary: dict[str, Any]) -> str:
    """Where a rule stopped and what that saved, in one sentence."""
    took = f"{summary['steps']} steps in {summary['train_seconds']:.0f} s"
    if summary["stopped_by"] in RULES:
        saved = summary["max_steps"] - summary["steps"]
        return (
            f"{RULES[summary['stopped_by']]} stopped the training after {took}: {saved} of at most "
            f"{summary['max_steps']} steps saved."
        )
    if summary["stop_step"] is not None:
        return f"Trained {took}; DVAR would have stopped at step {summary['stop_step']}."
    return f"Trained {took}; DVAR did not fire."


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))


def metrics_table(measured: "dict[str, pd.DataFrame]") -> str:
    """One line per run and measured step, one column per metric."""
    names = sorted({str(name) for trace in measured.values() for name in trace["metric"].unique()})
    rows = [("run", "step", *names)]
    for run, trace in measured.items():
        for step, values in trace.groupby("step"):
            here = values.set_index("metric")["value"]
            cells = [f"{here[name]:.3f}" if name in here else "-" for name in names]
            rows.append((run, str(step), *cells))
    return aligned(rows)


def write_comparison(raw: "pd.DataFrame", summary: "pd.DataFrame", out: Path) -> None:
    """Write the table in four formats, and the raw numbers of the runs, into the folder `out`."""
    from noiseprobe.analysis.comparison import latex, markdown

    texts = {
        "comparison.md": markdown(summary),
        "comparison.csv": summary.to_csv(index=False, float_format="%.6g"),
        "comparison.tex": latex(summary),
        "comparison.json": json.dumps(records(summary), indent=2) + "\n",
        "runs.csv": raw.to_csv(index=False, float_format="%.6g"),
    }
    for name, text in texts.items():
        with written_whole(out / name) as beside:
            beside.write_text(text, encoding="utf-8")
