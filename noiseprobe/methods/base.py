"""What the driver and the engine need of a personalization method."""

from pathlib import Path
from typing import Protocol

from torch import Tensor
from torch.nn import Parameter


class Method(Protocol):
    """A method attached to a live model; `captions` are the filled caption templates."""

    name: str
    captions: list[str]

    def parameters(self) -> list[Parameter]:
        """What is trained, float32, on the model's device."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy trained tensors into the live model."""
        ...

    def trained(self) -> dict[str, Tensor]:
        """The trained tensors, as copies on the CPU."""
        ...

    def save(self, directory: Path) -> None:
        """Write a checkpoint, in the format that stock diffusers loads, into a new directory."""
        ...

    def read(self, directory: Path) -> dict[str, Tensor]:
        """The trained tensors of a checkpoint that `save` wrote."""
        ...
