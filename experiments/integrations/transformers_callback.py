"""A callback for the Trainer of transformers.

python -m experiments.integrations.transformers_callback
"""

import tempfile
import time
from typing import Any

import torch
from accelerate.utils import broadcast
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from experiments.integrations.task import TRAINING, Trained, copies, fixed, network
from noiseprobe import Tracker, Turn


class TrackerCallback(TrainerCallback):
    """Ends training when the tracker says so; on several processes, the first one's does."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record the start."""
        self.look(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate what is due after an optimiser step."""
        self.look(args, state, control)

    def look(self, args: Any, state: Any, control: Any) -> None:
        """Evaluate at the step that `state` counts."""
        if state.global_step % self.tracker.every:
            return
        verdict = state.is_world_process_zero and self.tracker.update(state.global_step)
        if broadcast(torch.tensor(int(verdict), device=args.device)):
            control.should_training_stop = True


class Regression(nn.Module):
    """The small network as the Trainer wants it: it gives its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The mean squared error."""
        return {"loss": (self.network(x) - y).square().mean()}


def train(steps: int = 1000, tracks: bool = True) -> Trained:
    """Train the small network, until the held-out loss turns if it is tracked."""
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
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=8,
                learning_rate=3e-3,
                lr_scheduler_type="constant",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                use_cpu=True,
            ),
            train_dataset=[{"x": x, "y": y} for x, y in zip(TRAINING.x, TRAINING.y, strict=True)],
            callbacks=[TrackerCallback(tracker)] if tracker else [],
        )
        started = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - started
    return Trained(trainer.state.global_step, seconds, copies(model.network), tracker, best)


if __name__ == "__main__":
    print(train().told)
