"""Where modules are while they are needed, and where they are while they are not."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from noiseprobe.models.base import DiffusionModel, device_of, trains


@contextmanager
def placed(modules: Iterable[Any], device: torch.device) -> Iterator[None]:
    """Have the modules on `device` meanwhile; afterwards each is where it was."""
    away = [(module, was) for module in modules if (was := device_of(module)) != device]
    try:
        for module, _ in away:
            module.to(device)
        yield
    finally:
        for module, was in away:
            module.to(was)


def settle_in(model: DiffusionModel) -> None:
    """Put the text encoders beside the denoiser if something in them is trained.

    Else they stay where they are, and come in (`placed`) when there is a caption to encode.
    """
    modules = [each.module for each in model.encoders]
    if any(trains(module) for module in modules):
        for module in modules:
            if device_of(module) != model.device:
                module.to(model.device)


def checkpoint_gradients(model: DiffusionModel) -> None:
    """Let the denoiser, and what is trained of the text encoders, keep no activations.

    Chen et al. 2016 (arXiv 1604.06174): they are computed anew in the backward pass, to the same
    values.
    """
    model.denoiser.enable_gradient_checkpointing()
    for each in model.encoders:
        if not trains(each.module):
            continue
        each.module.gradient_checkpointing_enable({"use_reentrant": False})
        # transformers asks a layer for its mode. Dropout, which asks its own, stays off.
        for layer in each.module.modules():
            if hasattr(layer, "gradient_checkpointing"):
                layer.training = True
