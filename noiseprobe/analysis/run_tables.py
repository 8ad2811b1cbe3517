"""All statistics that a run's traces allow, as tables."""

from dataclasses import dataclass, field
from html import escape

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
    pairs: int = 0
    """How many pairs of draws of the Sobol design the shares rest on."""

    time_axis: str = "timestep"
    """What the timesteps of this model are called on an axis."""

    def __repr__(self) -> str:
        return f"Analysis({self.run!r}, tables={list(self.tables)})"

    def _repr_html_(self) -> str:
        """In a notebook: each table below its name, and what is missing."""
        form = "{:.4g}".format
        shown = [
            f"<h4>{name.replace('_', ' ')}</h4>{table.to_html(max_rows=20, float_format=form)}"
            for name, table in self.tables.items()
        ]
        return "".join([*shown, *(f"<p>{escape(line)}</p>" for line in self.missing)])


def analyze(run: Run, second_order: bool = False) -> Analysis:
    """Every table that the traces of `run` allow; raises `UserError` where they allow none."""
    probe, sobol, train = run.probe_trace(), run.sobol_trace(), run.train_trace()
    pairs = sobol["replicate"].nunique()
    found = Analysis(str(run.directory), pairs=pairs, time_axis=run.time_axis)
    tables, missing = found.tables, found.missing
    if len(sobol):
        tables["shares"] = variance_shares(sobol)
        if second_order:
            tables["interactions"] = interactions(sobol)
        if not np.isfinite(tables["shares"]["total_high"]).all():
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
    losses = timestep_losses(probe, sobol, num_timesteps=run.num_timesteps)
    if losses["step"].nunique() > 1:
        tables["timestep_losses"] = losses
        tables["learning_bins"] = learning_bins(probe, sobol, num_timesteps=run.num_timesteps)
    else:
        command = f"noiseprobe probe {run.directory} --settings deterministic,timesteps,original"
        missing.append(
            "no loss by timestep: fewer than 2 checkpoints were probed with timesteps redrawn; "
            f"{command}"
        )
    told = correlations(train, probe, run.num_timesteps)
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
