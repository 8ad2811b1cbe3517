"""The command that says how much memory a training takes."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseprobe.cli.flags import Debug, Json, Offline, changed, option, taking
from noiseprobe.cli.tables import print_json
from noiseprobe.core.errors import UserError
from noiseprobe.run.declaring import MACHINE

if TYPE_CHECKING:
    from noiseprobe.run.settings import RunConfig
    from noiseprobe.training.estimate import Estimate

GIB = 2**30

Card = Annotated[
    str | None,
    option(
        "Memory of the card, such as 24GB (default: that of the GPU at hand).",
        MACHINE,
        metavar="SIZE",
    ),
]


@taking("estimate")
def estimate(
    context: typer.Context,
    card: Card = None,
    json_output: Json = False,
    offline: Offline = False,
    debug: Debug = False,
) -> None:
    """Say how much memory a training takes, and whether it fits a card; no weights are loaded.

    One step is counted on the shapes that the model's configurations give (docs/memory.md).
    """
    size = None if card is None else size_of_card(card)
    config, size = settled(changed(context), size)
    from noiseprobe.training import estimate as estimating

    found = estimating.estimate(config, on_gpu=size is not None)
    if json_output:
        print_json(document(config, found, size))
    else:
        print(text(config, found, size))


def size_of_card(card: str) -> int:
    """The bytes of a size such as 24GB, as cards are sold: a GB is 2^30 bytes."""
    said = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:GB|GiB|G)?\s*", card, re.IGNORECASE)
    if said is None or float(said[1]) == 0:
        raise UserError(f"--card: '{card}' given; give its memory, such as 24GB")
    return int(float(said[1]) * GIB)


def settled(given: dict[str, Any], card: int | None) -> "tuple[RunConfig, int | None]":
    """The settings with their precision, and the size of the card that is named or at hand."""
    from noiseprobe.run.resolving import resolve

    config = resolve(given)  # wrong settings end it before torch is imported

    import torch

    from noiseprobe.models import pick_device, pick_precision

    device = pick_device("auto")
    if card is None and device.type == "cuda":
        card = torch.cuda.get_device_properties(device).total_memory
    precision = pick_precision(config.precision, device)
    if config.precision == "auto" and card is not None and device.type != "cuda":
        precision = "bf16"  # every card that is sold by now has it
    return config.model_copy(update={"precision": precision}), card


def document(config: "RunConfig", found: "Estimate", card: int | None) -> dict[str, Any]:
    """What `--json` prints; memory in bytes."""
    return {
        "model": config.model,
        "method": config.method,
        "resolution": found.resolution,
        "precision": config.precision,
        "optimizer": config.optimizer,
        "gradient_checkpointing": config.gradient_checkpointing,
        "quantize": config.quantize,
        "train_batch_size": config.train_batch_size,
        "parameters": found.parameters,
        "trained": found.trained,
        "memory": found.parts,
        "step": found.step,
        "captions": found.captions,
        "photographs": found.photographs,
        "peak": found.peak,
        "card": card,
        "fits": None if card is None else found.fits(card),
    }


def text(config: "RunConfig", found: "Estimate", card: int | None) -> str:
    """The same for a person."""
    rows = [
        *(("while training: " + name, size) for name, size in found.parts.items()),
        ("while training, together", found.step),
        ("before: while captions are encoded", found.captions),
        ("before: while photographs are encoded", found.photographs),
    ]
    wide = max(len(name) for name, _ in rows)
    lines = [
        verdict(config, found, card),
        "",
        f"{config.model}, {config.method}, {found.resolution} pixels, {config.precision}, "
        f"{config.optimizer}, batch {config.train_batch_size}",
        ", ".join(f"{name} {count / 1e6:,.1f} M" for name, count in found.parameters.items())
        + f" parameters; trained {found.trained / 1e6:,.3g} M",
        "",
        *(f"{name:<{wide}}  {shown(size):>9}" for name, size in rows),
    ]
    return "\n".join(lines)


def verdict(config: "RunConfig", found: "Estimate", card: int | None) -> str:
    """Whether it fits, and what would make it smaller."""
    from noiseprobe.training.estimate import RESERVE

    needed = f"About {shown(found.peak)} are needed {found.peak_at}"
    if card is None:
        return f"{needed}; --card 24GB says whether they fit."
    needed += f", beside {shown(RESERVE)} for CUDA itself"
    if found.fits(card):
        return f"{needed}: it fits a card of {shown(card)}."
    return f"{needed}: it does not fit a card of {shown(card)}; {mend(config, card)}."


def mend(config: "RunConfig", card: int) -> str:
    """What would make it smaller, and what is needed then."""
    from noiseprobe.training.estimate import estimate

    less = smaller(config)
    if not less:
        return "no flag but a smaller --resolution makes it less"
    changes = {key: value for _, (key, value) in less.items()}
    after = estimate(config.model_copy(update=changes))
    end = "which fits" if after.fits(card) else "which is still too much"
    return f"with {' '.join(less)} about {shown(after.peak)} are needed {after.peak_at}, {end}"


def smaller(config: "RunConfig") -> dict[str, tuple[str, Any]]:
    """The flags that would make it take less, each with its setting and value."""
    from noiseprobe.models import family_at

    lora = config.method == "dreambooth-lora"
    learns = family_at(config.model, config.revision).worded and config.train_word is not False
    flags: dict[str, tuple[bool, tuple[str, Any]]] = {
        "--precision bf16": (config.precision == "fp32", ("precision", "bf16")),
        "--gradient-checkpointing": (
            not config.gradient_checkpointing,
            ("gradient_checkpointing", True),
        ),
        "--train-batch-size 1": (config.train_batch_size > 1, ("train_batch_size", 1)),
        "--optimizer adamw8bit": (
            config.method == "dreambooth" and config.optimizer != "adamw8bit",
            ("optimizer", "adamw8bit"),
        ),
        "--no-train-word": (lora and bool(learns), ("train_word", False)),
        "--quantize nf4": (lora and config.quantize != "nf4", ("quantize", "nf4")),
    }
    return {flag: change for flag, (helps, change) in flags.items() if helps}


def shown(size: int) -> str:
    """Bytes as people say them."""
    return f"{size / GIB:.1f} GB" if size >= GIB / 10 else f"{size / 2**20:.1f} MB"
