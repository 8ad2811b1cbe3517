"""A callback for the Trainer of Lightning.

python -m experiments.integrations.lightning_callback
"""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from experiments.integrations.task import TRAINING, Trained, copies, fixed, network
from noiseprobe import Tracker, Turn


class TrackerCallback(Callback):
    """Ends training when the tracker says so; on several processes, the first one's does.

    What it has seen is part of Lightning's checkpoints, from which it goes on.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.seen = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the start."""
        self.look(trainer)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Evaluate what is due after an optimiser step."""
        self.look(trainer)

    def look(self, trainer: Any) -> None:
        """Evaluate at the step that `trainer` counts, unless gradients were only accumulated."""
        step = trainer.global_step
        if step == self.seen or step % self.tracker.every:
            return
        self.seen = step
        verdict = trainer.is_global_zero and self.tracker.update(step)
        if trainer.strategy.broadcast(verdict):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"tracker": self.tracker.state_dict(), "seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.tracker.load_state_dict(state_dict["tracker"])
        self.seen = state_dict["seen"]


class Regression(LightningModule):
    """The small network as Lightning wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """The mean squared error."""
        x, y = batch
        return (self.network(x) - y).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def train(steps: int = 1000, tracks: bool = True) -> Trained:
    """Train the small network, until the held-out loss turns if it is tracked."""
    seed_everything(0, verbose=False)
    model = Regression()
    tracker, best = None, {}
    if tracks:
        tracker = Tracker(
            fixed(model.network),
            watch="l_val",
            criterion=Turn(),
            every=20,
            modules=[model],
            on_best=lambda step: best.update(copies(model.network)),
        )
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[TrackerCallback(tracker)] if tracker else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(TRAINING.x, TRAINING.y), batch_size=8, shuffle=True)
    started = time.monotonic()
    trainer.fit(model, loader)
    seconds = time.monotonic() - started
    return Trained(trainer.global_step, seconds, copies(model.network), tracker, best)


if __name__ == "__main__":
    print(train().told)
