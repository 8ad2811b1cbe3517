"""Nothing but PyTorch: the tracker is built, told of step 0, and asked after each step.

python -m experiments.integrations.plain_pytorch
"""

import time

import torch

from experiments.integrations.task import TRAINING, Trained, copies, fixed, network
from noiseprobe import Tracker, Turn


def train(steps: int = 1000, tracks: bool = True) -> Trained:
    """Train the small network, until the held-out loss turns if it is tracked."""
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tracker, best = None, {}
    if tracks:
        tracker = Tracker(
            fixed(model),
            watch="l_val",
            criterion=Turn(),
            every=20,
            modules=[model],
            on_best=lambda step: best.update(copies(model)),
        )
        tracker.update(0)
    started = time.monotonic()
    for step in range(1, steps + 1):
        chosen = torch.randint(len(TRAINING.x), (8,))
        loss = (model(TRAINING.x[chosen]) - TRAINING.y[chosen]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if tracker and tracker.update(step):
            break
    return Trained(step, time.monotonic() - started, copies(model), tracker, best)


if __name__ == "__main__":
    print(train().told)
