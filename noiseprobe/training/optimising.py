"""The optimiser of a run, and its learning rate at each step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor
from torch.nn import Parameter

from noiseprobe.core.errors import UserError
from noiseprobe.run.settings import RunConfig

LIBRARIES = {"adamw8bit": "bitsandbytes", "prodigy": "prodigyopt"}
"""What an optimizer needs beside torch, by its name on the package index."""

FUSED_ON = ("cuda",)
"""Devices on which one kernel takes a step of AdamW; others keep the rounding that they had."""

BETAS, WEIGHT_DECAY = (0.9, 0.999), 0.01


def require_library(optimizer: str) -> None:
    """Raise `UserError` unless what an optimizer needs is installed."""
    needed = LIBRARIES.get(optimizer)
    if needed and find_spec(needed) is None:
        raise UserError(
            f"--optimizer: {optimizer} needs {needed}, which is not installed; pip install {needed}"
        )


def optimiser(config: RunConfig, parameters: Sequence[Parameter]) -> torch.optim.Optimizer:
    """The optimizer that `config` names; raises `UserError` if its library is missing.

    `adamw`: Loshchilov & Hutter 2019 (arXiv 1711.05101), fused on CUDA. `adamw8bit`: its two
    moments in 8 bits (Dettmers et al. 2022, arXiv 2110.02861), but for tensors of less than 4096
    numbers. `prodigy`: Mishchenko & Defazio 2023 (arXiv 2306.06101), with the options of
    diffusers' training scripts.
    """
    require_library(config.optimizer)
    common: dict[str, Any] = {
        "lr": config.effective_learning_rate,
        "betas": BETAS,
        "weight_decay": WEIGHT_DECAY,
    }
    made: torch.optim.Optimizer
    match config.optimizer:
        case "adamw8bit":
            from bitsandbytes.optim import AdamW8bit

            # Which it would do at the first step, and so another layout would round otherwise
            # before than where training goes on.
            for each in parameters:
                each.data = each.data.contiguous()
            made = AdamW8bit(parameters, **common)
        case "prodigy":
            from prodigyopt import Prodigy

            made = Prodigy(parameters, **common, use_bias_correction=True, safeguard_warmup=True)
        case _:
            fused = all(each.device.type in FUSED_ON for each in parameters)
            made = torch.optim.AdamW(parameters, **common, fused=fused or None)
    return made


@contextmanager
def unless(wrong: Tensor, fused: torch.optim.Optimizer) -> Iterator[None]:
    """Let a fused optimizer take no step meanwhile where `wrong`, one bool on its device, is true.

    Nothing of it changes then, and nobody has to know: as for what a gradient scaler finds.
    """
    fused.found_inf = wrong.float()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del fused.found_inf  # type: ignore[attr-defined]


def schedule(config: RunConfig) -> Callable[[int], float]:
    """By what the learning rate is multiplied at each step; the first step is 1.

    As in `diffusers.optimization`, whose first step is the 0th. A function of the step alone, so
    that nothing of it needs to be kept.
    """
    stock = torch.optim.SGD([torch.zeros(1)], lr=config.effective_learning_rate)
    scheduler = get_scheduler(
        config.lr_schedule,
        stock,
        num_warmup_steps=config.lr_warmup,
        num_training_steps=config.steps,
    )
    factor = scheduler.lr_lambdas[0]
    return lambda step: float(factor(step - 1))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> float:
    """Set the learning rate of the next step; what it is there, with the factor of Prodigy."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate * float(optimiser.param_groups[0].get("d", 1.0))
