"""How often tracked losses are evaluated, such that together they keep within a budget.

The budget is a share of the time that training takes. What is compared is counted, not timed, in
forward passes of one sample through the denoiser: so a run has the same values at the same steps on
any machine, and however often it is begun anew. experiments/tracking says what is lost by rare
values, and experiments/bench/README.md what tracking takes by the clock.
"""

import math
from collections.abc import Collection

from noiseprobe.run.settings import SPACING, RunConfig

WATCHED_SHARE = 3
"""So much larger is the part of the loss that decides than that of each other one."""

EVALUATIONS, SMALLEST = 8, 8
"""A held-out loss is evaluated at least so often, in a batch that is halved for that, down to so
many samples."""

PACED = (*SPACING.values(), "val_batch")
"""The settings that follow from the budget and all others."""

TRAINER_SAMPLES = 8
"""Of a fixed batch as a trainer lays it out, whose number depends on the photographs."""


def paced(config: RunConfig, given: Collection[str]) -> dict[str, int]:
    """The steps between values of each tracked loss, and the samples of the held-out one.

    Args:
        config: settings of which all but these are resolved.
        given: those that are as a person wants them; they are not among what is returned.
    """
    sizes = _sizes(config)
    decides = "l_val" if config.cross else config.watched.split("_mean")[0]
    parts = {name: WATCHED_SHARE if name == decides else 1 for name in sizes}
    total = config.track_budget * passes_of_step(config) / sum(parts.values())
    per_step = {name: total * part for name, part in parts.items()}
    found: dict[str, int] = {}
    if "l_val" in sizes and "val_batch" not in given:
        affordable = per_step["l_val"] * config.steps / EVALUATIONS
        while sizes["l_val"] > max(affordable, SMALLEST):
            sizes["l_val"] //= 2
        found["val_batch"] = sizes["l_val"]
    for name, size in sizes.items():
        if SPACING[name] not in given:
            every = max(math.ceil(size / per_step[name] - 1e-9), 1)
            if name == "l_val":  # by which a checkpoint is picked
                every = aligned(every, config.checkpoint_every)
            found[SPACING[name]] = min(every, config.steps)  # at the end at the latest
    return found


def aligned(every: int, checkpoints: int) -> int:
    """The least spacing from `every` on that checkpoints, so many steps apart, have values at.

    It divides theirs, or theirs divides it.

    Examples:
        >>> [aligned(every, 50) for every in (1, 7, 10, 30, 51)]
        [1, 10, 10, 50, 100]
    """
    if every >= checkpoints:
        return -(-every // checkpoints) * checkpoints
    return next(each for each in range(every, checkpoints + 1) if checkpoints % each == 0)


def passes_of_step(config: RunConfig) -> int:
    """What a step of training takes, in forward passes of one sample through the denoiser.

    Backward through activations takes as much as forward, and as much again where the gradients of
    all weights are wanted; to recompute activations is another forward pass.
    """
    rows = config.samples_per_step * (2 if config.prior else 1)
    return rows * (2 + (config.method == "dreambooth") + config.gradient_checkpointing)


def _sizes(config: RunConfig) -> dict[str, int]:
    """What an evaluation of each tracked loss takes, in the same unit."""
    sizes = {"l_det": config.eval_batch or TRAINER_SAMPLES}
    if config.hold_out or config.validation or config.cross:
        sizes["l_val"] = config.val_batch
    if config.tracks("paired"):
        sizes["paired"] = config.samples_per_step
    return sizes
