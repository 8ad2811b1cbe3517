"""Who is shown a training as it goes on, beside what is written."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from PIL import Image


class Observer(Protocol):
    """Is shown each step; what it does with that is to take no time here, and to raise nothing."""

    def begin(self) -> None:
        """Steps begin, after those that the training trace has."""

    def row(self, row: Mapping[str, Any]) -> None:
        """What a step gave: its number, and the columns of the training trace that were due."""

    def pictures(self, step: int, pictures: Sequence[Image.Image]) -> None:
        """Pictures that were drawn after a step; its row comes after them."""


class Nobody:
    """An observer that looks away."""

    def begin(self) -> None:
        """Look away."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Look away."""

    def pictures(self, step: int, pictures: Sequence[Image.Image]) -> None:
        """Look away."""
