"""The memory of published models, estimated from their configurations: docs/memory.md.

Run with python -m experiments.bench.memory. No weights are needed, and none are loaded.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from experiments.bench.families import FAMILIES, parts_on, settings_of, shapes_of
from noiseprobe.models import family
from noiseprobe.training.estimate import GIB, Estimate, estimate

LORA = {"method": "dreambooth-lora"}
NO_WORD = LORA | {"train_word": False}
LESS = {"gradient_checkpointing": True}
GOALS: tuple[tuple[str, dict[str, Any], int | None], ...] = (
    ("SD 1.5", {"method": "textual-inversion"}, 8),
    ("SD 1.5", LORA, 8),
    ("SD 1.5", {"method": "custom-diffusion", "prior": True}, None),
    ("SD 1.5", {"method": "dreambooth"}, 24),
    ("SD 1.5", {"method": "dreambooth", "optimizer": "adamw8bit"} | LESS, 16),
    ("SDXL", NO_WORD, 16),
    ("SDXL", NO_WORD | LESS, 16),
    ("SDXL", LORA | LESS, 16),
    ("SDXL", {"method": "textual-inversion"} | LESS, None),
    ("FLUX.1-dev", NO_WORD | {"quantize": "int8"} | LESS, 24),
    ("FLUX.1-dev", NO_WORD | {"quantize": "nf4"} | LESS, 24),
)
"""Model, settings, and the size of the card in GB that it should fit, if one was asked."""


def estimated(model: str, settings: dict[str, Any], batch: int) -> Estimate:
    """The memory that training a published model takes on a GPU with bf16."""
    given = {"precision": "bf16", "train_batch_size": batch} | settings
    with tempfile.TemporaryDirectory() as folder:
        config = settings_of(model, Path(folder), given)
    parts = parts_on(shapes_of(model), torch.device("meta"))
    return estimate(config, family(FAMILIES[model].pipeline), parts)


def row(model: str, settings: dict[str, Any], goal: int | None, batch: int) -> str:
    """A line of the table."""
    found = estimated(model, settings, batch)
    flags = " ".join(shown_flag(key, value) for key, value in settings.items() if key != "method")
    sizes = (*found.parts.values(), found.step, found.captions, found.photographs)
    numbers = " | ".join(f"{size / GIB:.1f}" for size in sizes)
    fits = "" if goal is None else f"{'fits' if found.fits(goal * GIB) else 'too much for'} {goal}"
    what = f"{model} | {settings['method']} {flags}".strip()
    return f"| {what} | {batch} | {found.trained / 1e6:,.3g} | {numbers} | {fits} |"


def shown_flag(key: str, value: Any) -> str:
    """A setting as a flag."""
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"`--{name}`" if value else f"`--no-{name}`"
    return f"`--{name} {value}`"


HEAD = (
    "| model | method | batch | trained, M | weights | gradients | optimizer | activations "
    "| a step | captions | photographs | card |\n" + "|---" * 12 + "|"
)


def main() -> None:
    """Print the table."""
    print(HEAD)
    for model, settings, goal in GOALS:
        for batch in (1, 2):
            print(row(model, settings, goal, batch), flush=True)


if __name__ == "__main__":
    main()
