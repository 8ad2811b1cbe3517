"""noiseprobe: which randomness hides the progress of a diffusion fine-tune, and when to stop it.

What can be imported from here stands in `__init__.pyi` alone, which type checkers read as well.
"""

import ast as _ast
from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import Any as _Any

_HOME = {
    name.name: node.module
    for node in _ast.parse(_Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, _ast.ImportFrom) and node.module
    for name in node.names
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> _Any:
    """Import what was asked for only now: `import noiseprobe` must not import torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'noiseprobe' has no attribute '{name}'")
    return getattr(_import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
