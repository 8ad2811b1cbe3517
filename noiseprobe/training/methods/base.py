"""What the driver and the engine need of a personalization method."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Parameter


class Method(ABC):
    """A method attached to a live model.

    `captions` are those of the photographs. `thing` is what the method calls the concept, to be put
    into other captions. `named` are the trained parameters, float32, on the model's device.
    """

    captions: list[str]
    thing: str
    named: dict[str, Parameter]

    def parameters(self) -> list[Parameter]:
        """What is trained."""
        return list(self.named.values())

    def trained(self) -> dict[str, Tensor]:
        """The trained tensors, as copies on the CPU."""
        return {
            name: parameter.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, parameter in self.named.items()
        }

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Copy trained tensors into the live model."""
        for name, parameter in self.named.items():
            parameter.copy_(tensors[name])

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write a checkpoint, in the format that stock diffusers loads, into a new directory."""

    @abstractmethod
    def read(self, directory: Path) -> dict[str, Tensor]:
        """The trained tensors of a checkpoint that `save` wrote."""
