"""What the driver and the engine need of a personalization method."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import Parameter

from noiseprobe.core import manifest

if TYPE_CHECKING:
    from noiseprobe.models.base import DiffusionModel
    from noiseprobe.run.settings import RunConfig


class Method(ABC):
    """A method attached to a live model.

    `captions` are those of the photographs. `thing` is what the method calls the concept, to be put
    into other captions. `named` are the trained parameters, float32, on the model's device.
    `changes_text` says that a caption's conditioning differs between checkpoints although nothing
    of the text encoders is trained here.
    """

    captions: list[str]
    thing: str
    named: dict[str, Parameter]
    changes_text: bool = False

    @classmethod
    def require(cls, family: "type[DiffusionModel]", config: "RunConfig") -> None:
        """Raise `UserError` for a family that has nothing of what the method trains.

        Also where diffusers loads none of it. No model is needed to tell.
        """
        return

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

    def copies(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """The trained tensors, as copies on the model's device, in `dtype` if it is given."""
        return {
            name: parameter.detach().to(dtype or parameter.dtype, copy=True)
            for name, parameter in self.named.items()
        }

    def restore(self, checkpoint: Path) -> None:
        """Put a checkpoint into the live model, in place of whatever was loaded before.

        Raises `UserError` where one of a run is not as it was written.
        """
        manifest.check(checkpoint)
        self.load(self.read(checkpoint))

    @contextmanager
    def holding(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Let the live model compute with `tensors` in place of what is trained, for a while.

        Nothing is copied where type and device are those of the model; gradients, and what an
        optimiser knows of the parameters, stay. Not between a forward pass and its backward pass.
        """
        live = {name: parameter.data for name, parameter in self.named.items()}
        try:
            for name, parameter in self.named.items():
                parameter.data = tensors[name].to(parameter.device, parameter.dtype)
            yield
        finally:
            for name, parameter in self.named.items():
                parameter.data = live[name]

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write a checkpoint, in the format that stock diffusers loads, into a new directory."""

    @abstractmethod
    def read(self, directory: Path) -> dict[str, Tensor]:
        """The trained tensors of a checkpoint that `save` wrote."""
