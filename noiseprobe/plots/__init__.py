"""Figures from traces: one function each, and `draw_all`, which writes those that a run can fill.

Each `plot_…` takes labelled data and, to draw into, optional axes; it returns the axes. Nothing is
shown or printed, and nothing is written but by `draw_all`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from PIL import Image

from noiseprobe.analysis import correlations, noise_to_signal
from noiseprobe.plots.comparison import plot_comparison
from noiseprobe.plots.correlation import plot_correlation
from noiseprobe.plots.criteria import plot_criteria
from noiseprobe.plots.dvar import plot_dvar
from noiseprobe.plots.metrics import plot_metrics
from noiseprobe.plots.needed_batch import plot_needed_batch
from noiseprobe.plots.ratios import plot_noise_to_signal
from noiseprobe.plots.regret import plot_regret
from noiseprobe.plots.replays import plot_replays
from noiseprobe.plots.samples import Drawn, plot_samples
from noiseprobe.plots.saving import save
from noiseprobe.plots.settings import plot_settings
from noiseprobe.plots.shares import plot_shares
from noiseprobe.plots.stops import plot_stops
from noiseprobe.plots.sweep import plot_sweep
from noiseprobe.plots.timesteps import plot_timesteps
from noiseprobe.plots.tracked import plot_cross, plot_gap, plot_paired, plot_recent, plot_tracked
from noiseprobe.plots.training import plot_training

__all__ = [
    "Drawn",
    "draw_all",
    "plot_comparison",
    "plot_correlation",
    "plot_criteria",
    "plot_cross",
    "plot_dvar",
    "plot_gap",
    "plot_metrics",
    "plot_needed_batch",
    "plot_noise_to_signal",
    "plot_paired",
    "plot_recent",
    "plot_regret",
    "plot_replays",
    "plot_samples",
    "plot_settings",
    "plot_shares",
    "plot_stops",
    "plot_sweep",
    "plot_timesteps",
    "plot_tracked",
    "plot_training",
]


def draw_all(
    train: pd.DataFrame,
    probe: pd.DataFrame,
    threshold: float,
    stop_step: int | None,
    out: Path,
    drawn: Sequence[Drawn] = (),
    num_timesteps: int = 1000,
    *,
    window: float | None = None,
    every: int = 1,
    seen: pd.DataFrame | None = None,
    ended: tuple[str, int] | None = None,
    photographs: Sequence[Image.Image] = (),
    kinds: Sequence[str] = ("png", "svg"),
) -> list[Path]:
    """Write each figure that the traces can fill into `out`, as PNG and SVG; return the paths.

    The names are `1-training`, `2-settings`, `3-dvar`, `4-noise-to-signal`, `5-correlation` and
    `6-samples`. A figure whose data is absent is left out: the first without any finite value in
    the training trace, the second without a finite probed loss, the third without L_det, the fourth
    without a defined ratio or a bound of one, the fifth without CLIP checks, the sixth without
    pictures `drawn`. The same traces give the same bytes.

    Args:
        threshold, window: of DVAR.
        every: for how many steps each value of L_det stands.
        stop_step: the step at which DVAR stops; None if it does not.
        num_timesteps: the model's.
        seen: what `Run.seen_trace` returns.
        ended: the criterion that ended training, and at which step; by default DVAR at `stop_step`.
        photographs: the concept's, which `drawn` are to resemble.
        kinds: the formats to write, of `noiseprobe.plots.saving.FORMATS`.
    """
    if ended is None and stop_step is not None:
        ended = "DVAR", stop_step
    figures: dict[str, Axes | list[Axes]] = {}
    if _recorded(train, ["loss", "grad_norm", "l_det", "clip_img"]):
        figures["1-training"] = plot_training(train, stop=ended)
    if _recorded(probe, ["loss"]):
        figures["2-settings"] = plot_settings(probe, seen=seen)
    if _recorded(train, ["l_det"]):
        figures["3-dvar"] = plot_dvar(train, threshold, stop_step, window=window, every=every)
    table = noise_to_signal(probe)
    if _recorded(table, ["noise_to_signal"]) or bool((table["low"] > 0).any()):
        figures["4-noise-to-signal"] = plot_noise_to_signal(table, over=_measured(probe))
    told = correlations(train, probe, num_timesteps)
    if _recorded(told, ["rho"]):
        figures["5-correlation"] = plot_correlation(told)
    if drawn:
        figures["6-samples"] = plot_samples(drawn, photographs=photographs)
    return [path for name, axes in figures.items() for path in save(axes, out / name, kinds)]


def _recorded(frame: pd.DataFrame, columns: list[str]) -> bool:
    return bool(np.isfinite(frame[columns].to_numpy(dtype="float64")).any())


def _measured(probe: pd.DataFrame) -> str:
    redraws = probe.loc[probe["setting"] != "deterministic", "replicate"].nunique()
    return f"{redraws} redraws of batches of {probe['sample'].nunique()}"
