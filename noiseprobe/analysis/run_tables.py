"""All statistics that a run's traces allow, as tables, text, JSON and figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noiseprobe.analysis import (
    correlations,
    interactions,
    learning_bins,
    signal_to_noise,
    timestep_losses,
    variance_shares,
)
from noiseprobe.core.errors import UserError
from noiseprobe.core.tables import aligned, records
from noiseprobe.run.directory import Run


@dataclass(frozen=True)
class Analysis:
    """The tables of a run by name, as `noiseprobe.analysis` returns them; and what is missing.

    Names, in this order: `shares`, `interactions` (on request), `signal_to_noise`,
    `timestep_losses`, `learning_bins`, `correlations`. A table that the traces do not allow is left
    out, and a line of `missing` says why and which command provides it.
    """

    run: str
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def analyze(run: Run, second_order: bool = False) -> Analysis:
    """Every table that the traces of `run` allow; raises `UserError` where they allow none."""
    probe, sobol, train = run.probe_trace(), run.sobol_trace(), run.train_trace()
    found = Analysis(str(run.directory))
    tables, missing = found.tables, found.missing
    if len(sobol):
        tables["shares"] = variance_shares(sobol)
        if second_order:
            tables["interactions"] = interactions(sobol)
        if not np.isfinite(tables["shares"]["total_high"]).all():
            pairs = sobol["replicate"].nunique()
            command = f"noiseprobe probe {run.directory} --design sobol"
            missing.append(
                f"no interval (-) of some variance shares: {pairs} pairs are too few; "
                f"{command} --replicates {max(2 * pairs, 32)}"
            )
    else:
        command = f"noiseprobe probe {run.directory} --design sobol"
        missing.append(f"no variance shares: no Sobol design was probed; {command}")
    redrawn = probe[probe["setting"] != "deterministic"]
    if redrawn["replicate"].nunique() > 1 and redrawn["step"].nunique() > 1:
        tables["signal_to_noise"] = signal_to_noise(probe)
    else:
        command = f"noiseprobe probe {run.directory} --replicates 8"
        missing.append(
            "no signal to noise: fewer than 2 checkpoints or redraws of a setting were probed; "
            f"{command}"
        )
    losses = timestep_losses(probe, sobol)
    if losses["step"].nunique() > 1:
        tables["timestep_losses"] = losses
        tables["learning_bins"] = learning_bins(probe, sobol)
    else:
        command = f"noiseprobe probe {run.directory} --settings deterministic,timesteps,original"
        missing.append(
            "no loss by timestep: fewer than 2 checkpoints were probed with timesteps redrawn; "
            f"{command}"
        )
    told = correlations(train, probe)
    if told["rho"].notna().any():
        tables["correlations"] = told
    else:
        missing.append(
            "no correlation with CLIP similarity: it was not checked in training; start a run "
            "with --checks"
        )
    if not tables:
        raise UserError(
            f"'{run.directory}' has no trace to analyze; probe it first: "
            f"noiseprobe probe {run.directory}"
        )
    return found


def document(found: Analysis, figures: Sequence[Path]) -> dict[str, Any]:
    """What `--json` prints: run, each table as a list of rows, missing, figures; NaN is null."""
    tables = {
        name: records(table.reset_index() if table.index.name else table)
        for name, table in found.tables.items()
    }
    return {
        "run": found.run,
        **tables,
        "missing": found.missing,
        "figures": [str(path) for path in figures],
    }


def text(found: Analysis) -> str:
    """Compact tables for people: shares and bins at the last checkpoint, with 95% intervals."""
    written = {
        "shares": _shares_text,
        "interactions": _interactions_text,
        "signal_to_noise": _signal_text,
        "timestep_losses": lambda table: _timesteps_text(table, found.tables["learning_bins"]),
        "correlations": _correlations_text,
    }
    blocks = [write(found.tables[name]) for name, write in written.items() if name in found.tables]
    return "\n\n".join([*blocks, "\n".join(found.missing)]).rstrip()


def _shares_text(table: pd.DataFrame) -> str:
    first, last = int(table["step"].min()), int(table["step"].max())
    begun = table[table["step"] == first].set_index("factor")["first"]
    rows = [("factor", f"step {first}", f"step {last}", "95%", "with interactions", "95%")]
    for row in table[table["step"] == last].to_dict("records"):
        rows.append(
            (
                row["factor"],
                _percent(begun[row["factor"]]),
                _percent(row["first"]),
                _between(row["first_low"], row["first_high"], _percent),
                _percent(row["total"]),
                _between(row["total_low"], row["total_high"], _percent),
            )
        )
    return "Share of the batch loss's variance\n" + aligned(rows)


def _interactions_text(table: pd.DataFrame) -> str:
    last = int(table["step"].max())
    rows = [("factors", "share", "95%")]
    for row in table[table["step"] == last].to_dict("records"):
        names = f"{row['first']} x {row['second']}"
        rows.append((names, _percent(row["share"]), _between(row["low"], row["high"], _percent)))
    return f"Share of what two factors do only together, step {last}\n" + aligned(rows)


def _signal_text(table: pd.DataFrame) -> str:
    rows = [("setting", "signal", "noise", "progress", "batch", "needed batch")]
    for setting, row in table.iterrows():
        needed = row["needed_batch"]
        rows.append(
            (
                str(setting),
                _number(row["signal"]),
                _number(row["noise"]),
                _percent(row["progress"]),
                _number(row["batch"]),
                f"{math.ceil(needed):,}" if math.isfinite(needed) else "-",
            )
        )
    return "Progress in each trace, and the batch that makes noise as small\n" + aligned(rows)


def _timesteps_text(losses: pd.DataFrame, learning: pd.DataFrame) -> str:
    last = int(losses["step"].max())
    trends = learning.set_index("bin")["trend"].to_dict()
    rows = [("timesteps", "loss", "change", "95%", "last third")]
    for row in losses[losses["step"] == last].to_dict("records"):
        rows.append(
            (
                f"{row['from']}-{row['to'] - 1}",
                _number(row["loss"]),
                _percent(row["relative"]),
                _between(row["relative_low"], row["relative_high"], _percent),
                trends.get(row["bin"], "-"),
            )
        )
    return f"Loss by timestep at step {last}, and its change since the start\n" + aligned(rows)


def _correlations_text(table: pd.DataFrame) -> str:
    rows = [("trace", "rho", "95%", "points")]
    for trace, row in table.iterrows():
        ends = _between(row["low"], row["high"], lambda value: f"{value:.2f}")
        rho = "-" if math.isnan(row["rho"]) else f"{row['rho']:.2f}"
        rows.append((str(trace), rho, ends, f"{row['points']:.0f}"))
    return "Rank correlation with CLIP similarity\n" + aligned(rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if math.isfinite(value) else "-"


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"


def _between(low: float, high: float, written: Any) -> str:
    return f"{written(low)} to {written(high)}" if math.isfinite(low + high) else "-"
