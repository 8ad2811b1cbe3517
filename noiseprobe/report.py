"""What the commands print: short tables of a run and of replays, as text."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noiseprobe.defaults import METHODS, defaults_of
from noiseprobe.errors import UserError
from noiseprobe.files import written_whole

if TYPE_CHECKING:
    import pandas as pd

RULES = {"dvar": "DVAR", "clip": "The CLIP rule"}


def print_summary(summary: dict[str, Any]) -> None:
    """Print a run's summary: noise-to-signal by factor, the stop, and where the figures are."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
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


def replay_sources(
    sources: Sequence[Path],
    column: str | None,
    window: int | None,
    threshold: float | None,
    grid: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Replay DVAR over each source: what `--json` prints, and the grids if asked for.

    Where window or threshold is None, a run directory's own counts, else the published one of
    textual inversion (310, 0.15).
    """
    from noiseprobe.replay import default_grid, replay, replay_grid
    from noiseprobe.run import Run
    from noiseprobe.sources import read_series

    replays, grids = [], []
    for source in sources:
        series = read_series(source, column)
        own: Any = Run(source).config if (source / "config.toml").is_file() else None
        usual = own.model_dump() if own else defaults_of("stable-diffusion", METHODS[0])
        chosen_window = usual["window"] if window is None else window
        chosen_threshold = usual["threshold"] if threshold is None else threshold
        replays.append(asdict(replay(series, chosen_window, chosen_threshold)))
        if grid:
            stops = replay_grid(series, *default_grid(len(series.values)))
            grids.append(
                {
                    "trace": series.name,
                    "thresholds": [float(each) for each in stops.columns],
                    "windows": [int(each) for each in stops.index],
                    "stop_steps": [
                        [None if cell != cell or cell is None else int(cell) for cell in row]
                        for row in stops.astype(object).where(stops.notna(), None).to_numpy()
                    ],
                }
            )
    return replays, grids


def replay_table(replays: Sequence[dict[str, Any]]) -> str:
    """One line per trace: where DVAR fires and what that saves."""
    rows = [
        (
            row["trace"],
            str(row["points"]),
            str(row["window"]),
            f"{row['threshold']:g}",
            "never" if row["stop_step"] is None else str(row["stop_step"]),
            "-" if row["ratio"] is None else f"{row['ratio']:.3g}",
            f"{row['saved_fraction']:.0%}",
        )
        for row in replays
    ]
    return aligned(
        [("trace", "points", "window", "threshold", "stop step", "ratio", "saved"), *rows]
    )


def grid_table(grids: Sequence[dict[str, Any]]) -> str:
    """The stop steps of each trace, windows down, thresholds across."""
    return "\n\n".join(
        f"{grid['trace']}: stop step by window (down) and threshold (across)\n"
        + aligned(
            [
                ("", *(f"{threshold:g}" for threshold in grid["thresholds"])),
                *(
                    (str(window), *("-" if step is None else str(step) for step in row))
                    for window, row in zip(grid["windows"], grid["stop_steps"], strict=True)
                ),
            ]
        )
        for grid in grids
    )


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
    import json

    from noiseprobe.comparison import latex, markdown, records

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


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """A table as text: the first column to the left, the others to the right."""
    if not rows:
        raise UserError("nothing to show: no source was given")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
