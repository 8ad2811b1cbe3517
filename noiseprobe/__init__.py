"""noiseprobe: which randomness hides the progress of a diffusion fine-tune, and when to stop it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noiseprobe.analysis import noise_to_signal, variance_shares
    from noiseprobe.analysis.replay import replay_grid
    from noiseprobe.analysis.run_tables import analyze
    from noiseprobe.core.errors import UserError
    from noiseprobe.draws.draws import Draws
    from noiseprobe.draws.factors import FACTORS, Setting, parse_setting
    from noiseprobe.logs import read_series
    from noiseprobe.models import load_model
    from noiseprobe.pictures.sampling import Sampler
    from noiseprobe.pictures.similarity import Clip
    from noiseprobe.run.directory import Run
    from noiseprobe.run.resolving import resolve
    from noiseprobe.run.settings import RunConfig
    from noiseprobe.stages.pipeline import resume_all, run_all
    from noiseprobe.stopping import DVAR
    from noiseprobe.training.concept import Concept, load_concept

_HOME = {
    "Clip": "pictures.similarity",
    "Concept": "training.concept",
    "DVAR": "stopping",
    "Draws": "draws.draws",
    "FACTORS": "draws.factors",
    "Run": "run.directory",
    "RunConfig": "run.settings",
    "Sampler": "pictures.sampling",
    "Setting": "draws.factors",
    "UserError": "core.errors",
    "analyze": "analysis.run_tables",
    "load_concept": "training.concept",
    "load_model": "models",
    "noise_to_signal": "analysis",
    "parse_setting": "draws.factors",
    "read_series": "logs",
    "replay_grid": "analysis.replay",
    "resolve": "run.resolving",
    "resume_all": "stages.pipeline",
    "run_all": "stages.pipeline",
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
