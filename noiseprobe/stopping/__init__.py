"""Stopping criteria: losses in, a decision out. One file per criterion, nothing of torch.

`DVAR` stops when the deterministic loss has stopped varying: var(last `window` values) / var(all
values so far) < `threshold` (Voronov et al., NeurIPS 2023, arXiv 2302.04841). `FixedSteps` stops
after a number of steps, whatever the losses say. `ClipPlateau` stops when drawn pictures no longer
come nearer to the photographs.
"""

from noiseprobe.stopping.base import Criterion, NonFiniteLossWarning
from noiseprobe.stopping.clip import ClipPlateau, clip_stop
from noiseprobe.stopping.dvar import DVAR, dvar_ratios, dvar_stops
from noiseprobe.stopping.fixed import FixedSteps

__all__ = [
    "DVAR",
    "ClipPlateau",
    "Criterion",
    "FixedSteps",
    "NonFiniteLossWarning",
    "clip_stop",
    "dvar_ratios",
    "dvar_stops",
]
