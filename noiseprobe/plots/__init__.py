"""Figures from traces: one function each, and `draw_all`, which writes those that a run can fill.

Each function takes the data and, to draw into, an optional figure; it returns the figure. Nothing
is shown or printed, and nothing is written but by `draw_all`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from noiseprobe.analysis import correlations, noise_to_signal
from noiseprobe.plots.correlation import correlation_figure
from noiseprobe.plots.dvar import dvar_figure
from noiseprobe.plots.needed_batch import plot_needed_batch
from noiseprobe.plots.ratios import noise_to_signal_figure
from noiseprobe.plots.samples import Drawn, samples_figure
from noiseprobe.plots.settings import settings_figure
from noiseprobe.plots.shares import plot_shares
from noiseprobe.plots.stops import plot_stops
from noiseprobe.plots.style import save
from noiseprobe.plots.timesteps import plot_timesteps
from noiseprobe.plots.training import training_figure

__all__ = [
    "Drawn",
    "correlation_figure",
    "draw_all",
    "dvar_figure",
    "noise_to_signal_figure",
    "plot_needed_batch",
    "plot_shares",
    "plot_stops",
    "plot_timesteps",
    "samples_figure",
    "settings_figure",
    "training_figure",
]


def draw_all(
    train: pd.DataFrame,
    probe: pd.DataFrame,
    threshold: float,
    stop_step: int | None,
    out: Path,
    drawn: Sequence[Drawn] = (),
    num_timesteps: int = 1000,
) -> list[Path]:
    """Write each figure that the traces can fill into `out`, as PNG and SVG; return the paths.

    The names are `1-training`, `2-settings`, `3-dvar`, `4-noise-to-signal`, `5-correlation` and
    `6-samples`. A figure whose data is absent is left out: the first without any finite value in
    the training trace, the second without a finite probed loss, the third without L_det, the fourth
    without a defined ratio, the fifth without CLIP checks, the sixth without pictures `drawn`. The
    same traces give the same bytes. `num_timesteps` is the model's.
    """
    figures = {}
    if _recorded(train, ["loss", "grad_norm", "l_det"]):
        figures["1-training"] = training_figure(train)
    if _recorded(probe, ["loss"]):
        figures["2-settings"] = settings_figure(probe)
    if _recorded(train, ["l_det"]):
        figures["3-dvar"] = dvar_figure(train, threshold, stop_step)
    table = noise_to_signal(probe)
    if _recorded(table, ["noise_to_signal"]):
        figures["4-noise-to-signal"] = noise_to_signal_figure(table)
    told = correlations(train, probe, num_timesteps)
    if _recorded(told, ["rho"]):
        figures["5-correlation"] = correlation_figure(told)
    if drawn:
        figures["6-samples"] = samples_figure(drawn)
    return [path for name, figure in figures.items() for path in save(figure, out / name)]


def _recorded(frame: pd.DataFrame, columns: list[str]) -> bool:
    return bool(np.isfinite(frame[columns].to_numpy(dtype="float64")).any())
