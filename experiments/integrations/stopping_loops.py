"""How a loop over epochs ends that nobody can break out of from within a call."""

import sys
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset


def end_the_loop(accelerator: Any, args: Any, step: int) -> None:
    """Make `step` the last: the epoch ends there, and those that are left find no batch.

    `args.max_train_steps` ends the epoch in scripts of diffusers and kohya; `accelerator` is what
    prepared their loaders.
    """
    args.max_train_steps = step
    for loader in accelerator._dataloaders:
        loader.base_dataloader = DataLoader(TensorDataset(torch.empty(0)))
    if getattr(args, "validation_epochs", None):  # or each epoch that is left would draw
        args.validation_epochs = sys.maxsize
