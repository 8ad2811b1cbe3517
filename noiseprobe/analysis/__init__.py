"""Statistics over a run's traces: what is noise, what is progress, and what tells them apart.

Each takes traces (`noiseprobe.run.traces`) and returns a labelled table; none needs torch.
"""

from noiseprobe.analysis.correlation import correlations
from noiseprobe.analysis.losses import (
    as_seen,
    batch_losses,
    deterministic_losses,
    settings_in_order,
)
from noiseprobe.analysis.noise import (
    noise_to_signal,
    published_noise_to_signal,
    signal_to_noise,
)
from noiseprobe.analysis.shares import interactions, variance_shares
from noiseprobe.analysis.sobol import sobol_indices, sobol_interactions
from noiseprobe.analysis.timesteps import learning_bins, timestep_losses

__all__ = [
    "as_seen",
    "batch_losses",
    "correlations",
    "deterministic_losses",
    "interactions",
    "learning_bins",
    "noise_to_signal",
    "published_noise_to_signal",
    "settings_in_order",
    "signal_to_noise",
    "sobol_indices",
    "sobol_interactions",
    "timestep_losses",
    "variance_shares",
]
