"""A loop of accelerate, on one process or many: the main one evaluates, and all stop together.

python -m experiments.integrations.accelerate_loop
torchrun --nproc_per_node 2 -m experiments.integrations.accelerate_loop
"""

import os
import sys
import time

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch.utils.data import DataLoader, TensorDataset

from experiments.integrations.task import TRAINING, Trained, copies, fixed, network
from noiseprobe import Tracker, Turn


def stops(accelerator: Accelerator, tracker: Tracker | None, step: int) -> bool:
    """Whether all processes stop after `step`: the main one's verdict.

    To be called by all, each with a tracker of its own; only the main one's evaluates.
    """
    if tracker is None or step % tracker.every:
        return False
    verdict = accelerator.is_main_process and tracker.update(step)
    return bool(broadcast(torch.tensor(int(verdict), device=accelerator.device)))


def train(steps: int = 1000, tracks: bool = True) -> Trained:
    """Train the small network, until the held-out loss turns if it is tracked."""
    accelerator = Accelerator(cpu=True)
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(TensorDataset(TRAINING.x, TRAINING.y), batch_size=8, shuffle=True)
    wrapped, optimiser, loader = accelerator.prepare(model, optimiser, loader)
    tracker, best = None, {}
    if tracks:
        # The bare model: a wrapped one would wait for the other processes, which do not evaluate.
        tracker = Tracker(
            fixed(model),
            watch="l_val",
            criterion=Turn(),
            every=20,
            modules=[model],
            on_best=lambda step: best.update(copies(model)),
        )
    step, stopped = 0, stops(accelerator, tracker, 0)
    started = time.monotonic()
    while step < steps and not stopped:
        for x, y in loader:
            loss = (wrapped(x) - y).square().mean()
            accelerator.backward(loss)
            optimiser.step()
            optimiser.zero_grad()
            step += 1
            stopped = stops(accelerator, tracker, step)
            if stopped or step == steps:
                break
    return Trained(step, time.monotonic() - started, copies(model), tracker, best)


if __name__ == "__main__":
    done = train()
    accelerator = Accelerator(cpu=True)
    if accelerator.is_main_process:
        print(done.told)
    # All processes end with the same weights, after the same step.
    ends = accelerator.gather(torch.tensor([done.steps], device=accelerator.device))
    accelerator.print(f"processes ended after steps {ends.tolist()}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    # gloo's threads drop the tensors of the last exchange when they like. If Python is being taken
    # down by then, the process aborts (torch 2.13: one end in three on busy cores): leave at once.
    sys.stdout.flush()
    os._exit(0)
