"""The parts of the bench: one module each, whose `measure` yields rows as they are found."""

from collections.abc import Callable, Iterator
from importlib import import_module

from experiments.bench.measured import Asked, Row

PARTS = {
    "steps": "A training step",
    "forward": "A forward pass of the denoiser",
    "probe": "The seven-setting probe",
    "memory": "Memory of a training",
    "start": "What a user waits for at the start",
    "dvar": "DVAR",
    "growth": "What becomes of it with more",
}
"""In the order in which they are measured, each with its heading."""


def measure(name: str, asked: Asked) -> Iterator[Row]:
    """The rows of a part, each as soon as it is found."""
    part: Callable[[Asked], Iterator[Row]] = import_module(f"{__name__}.{name}").measure
    return part(asked)
