"""A small network that overfits within seconds, and what the loops that train it print."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noiseprobe import Tracker


@dataclass(frozen=True)
class Data:
    """Noisy values of a function: `x` (n, 1) and `y` (n, 1)."""

    x: Tensor
    y: Tensor

    @classmethod
    def drawn(cls, count: int, seed: int) -> "Data":
        """So many points of sin(1.5 x) with noise of standard deviation 0.4, x within [-2, 2]."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(count, 1, generator=generator) * 4 - 2
        noise = torch.randn(count, 1, generator=generator)
        return cls(x, torch.sin(1.5 * x) + 0.4 * noise)


TRAINING, HELD_OUT = Data.drawn(12, seed=1), Data.drawn(512, seed=2)


def network() -> nn.Sequential:
    """Two wide layers; dropout shows that a tracker leaves modes and random states alone."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(1, 128), nn.Tanh(), nn.Dropout(0.05)),
        *(nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1)),
    )


def losses_on(model: nn.Module, data: Data) -> Callable[[], Tensor]:
    """What a tracker takes: the losses (B,) of `data` under the model as it is when called."""
    return lambda: (model(data.x) - data.y).square().flatten(1).mean(1)


def fixed(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """The loss on what is trained on and on what is not."""
    return {"l_det": losses_on(model, TRAINING), "l_val": losses_on(model, HELD_OUT)}


@dataclass(frozen=True)
class Trained:
    """How a training went: its weights at the end, those of the best step, and its tracker."""

    steps: int
    seconds: float
    weights: dict[str, Tensor]
    tracker: Tracker | None = None
    best: dict[str, Tensor] | None = None

    @property
    def told(self) -> str:
        """Where it stopped, what was best and what tracking took, in one line."""
        if self.tracker is None:
            return f"{self.steps} steps in {self.seconds:.1f} s, not tracked"
        spent = sum(self.tracker.seconds.values())
        train = self.seconds - spent
        losses = self.tracker.frame().set_index("step")[self.tracker.watch]
        best = self.tracker.best_step or 0
        why = "stopped" if self.tracker.stop_step is not None else "went on to the last step,"
        return (
            f"{why} at step {self.steps}; best was step {best} ({self.tracker.watch} "
            f"{losses[best]:.4f}, at the end {losses.iloc[-1]:.4f}); a step took "
            f"{1000 * train / self.steps:.2f} ms and tracking {1000 * spent / self.steps:.2f} ms "
            f"of each, at every {self.tracker.every}"
        )


def copies(model: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: weight.detach().clone() for name, weight in model.state_dict().items()}
