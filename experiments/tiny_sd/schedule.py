"""A training that is bounded by steps or by minutes, and that goes on where it was cut off."""

from __future__ import annotations

import math
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from noiseprobe.core.files import written_whole


@dataclass(frozen=True)
class Budget:
    """How long one stage trains: so many steps, or so many minutes of training time."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, 1.0 or more when it is over."""
        if self.steps is not None:
            return step / self.steps
        return seconds / (60 * self.minutes) if self.minutes else 1.0


def cosine(progress: float, peak: float, warm_up: float = 0.02, floor: float = 0.02) -> float:
    """Learning rate at a share of the budget: linear warm-up, then cosine down to `floor`·peak."""
    if progress < warm_up:
        return peak * max(progress / warm_up, 0.01)
    decay = 0.5 * (1 + math.cos(math.pi * min((progress - warm_up) / (1 - warm_up), 1.0)))
    return peak * (floor + (1 - floor) * decay)


def hardware(device: torch.device) -> str:
    """What a training on `device` runs on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of an {platform.machine()} CPU"


@dataclass
class Journal:
    """Steps, training seconds and hardware, saved with the named parts in one file, whole or not.

    A finished training that is loaded again keeps the hardware it was done on.
    """

    path: Path
    parts: dict[str, Any]
    device: torch.device
    save_every_seconds: float = 60.0
    step: int = 0
    seconds: float = 0.0
    hardware: str = ""
    _since: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)

    def resume(self) -> bool:
        """Load what an earlier, interrupted training saved; False if there is nothing."""
        if not self.path.is_file():
            return False
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]
        self.hardware = state["hardware"]
        self._since = time.monotonic()
        return True

    def tick(self, message: str = "") -> None:
        """Count one step; from time to time save all, and say where the training is."""
        self.step += 1
        self.hardware = hardware(self.device)
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        if now - self._saved > self.save_every_seconds:
            self.save()
            self._saved = now
            print(f"step {self.step}, {self.seconds / 60:.1f} min: {message}", file=sys.stderr)

    def save(self) -> None:
        """Save the parts and the counts."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        counts = {"step": self.step, "seconds": self.seconds, "hardware": self.hardware}
        with written_whole(self.path) as beside:
            torch.save(state | counts, beside)


class Average(torch.nn.Module):
    """Exponential moving average of some modules' weights, with a warm-up of the decay."""

    def __init__(self, modules: list[torch.nn.Module], decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.live: list[torch.Tensor] = [p for module in modules for p in module.parameters()]
        self.shadow = torch.nn.ParameterList(
            torch.nn.Parameter(p.detach().clone(), requires_grad=False) for p in self.live
        )

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights after optimiser step number `step`."""
        shadow: list[torch.Tensor] = [*self.shadow]
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(shadow, self.live, weight)

    @torch.no_grad()
    def write_back(self) -> None:
        """Put the averaged weights in the place of the live ones."""
        shadow: list[torch.Tensor] = [*self.shadow]
        torch._foreach_copy_(self.live, shadow)
