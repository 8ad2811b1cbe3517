"""noiseprobe: which randomness hides the progress of a diffusion fine-tune, and when to stop it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noiseprobe.analysis import noise_to_signal, variance_shares
    from noiseprobe.analyzing import analyze
    from noiseprobe.concept import Concept, load_concept
    from noiseprobe.config import RunConfig, resolve
    from noiseprobe.errors import UserError
    from noiseprobe.factors import FACTORS, Draws, Setting, parse_setting
    from noiseprobe.metrics import Clip
    from noiseprobe.models import load_model
    from noiseprobe.pipeline import resume_all, run_all
    from noiseprobe.replay import replay_grid
    from noiseprobe.run import Run
    from noiseprobe.sampling import Sampler
    from noiseprobe.sources import read_series
    from noiseprobe.stopping import DVAR

_HOME = {
    "Clip": "metrics",
    "Concept": "concept",
    "DVAR": "stopping",
    "Draws": "factors",
    "FACTORS": "factors",
    "Run": "run",
    "RunConfig": "config",
    "Sampler": "sampling",
    "Setting": "factors",
    "UserError": "errors",
    "analyze": "analyzing",
    "load_concept": "concept",
    "load_model": "models",
    "noise_to_signal": "analysis",
    "parse_setting": "factors",
    "read_series": "sources",
    "replay_grid": "replay",
    "resolve": "config",
    "resume_all": "pipeline",
    "run_all": "pipeline",
    "variance_shares": "analysis",
}

__all__ = [
    "DVAR",
    "FACTORS",
    "Clip",
    "Concept",
    "Draws",
    "Run",
    "RunConfig",
    "Sampler",
    "Setting",
    "UserError",
    "analyze",
    "load_concept",
    "load_model",
    "noise_to_signal",
    "parse_setting",
    "read_series",
    "replay_grid",
    "resolve",
    "resume_all",
    "run_all",
    "variance_shares",
]


def __getattr__(name: str) -> Any:
    """Import what was asked for only now: `import noiseprobe` must not import torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'noiseprobe' has no attribute '{name}'")
    return getattr(import_module(f"noiseprobe.{_HOME[name]}"), name)
