"""The peak memory of a training step, held against what `noiseprobe estimate` says of it.

Each is measured in a process of its own, of which the parts that a step touches have weights. On
CUDA it is what PyTorch allocated; else how far the memory of the process rose over what it was
before, once the libraries have done the same before.
"""

import gc
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.bench.children import (
    in_a_child,
    peak_memory,
    return_at_once,
    settle_memory,
)
from experiments.bench.families import (
    FAMILIES,
    Parts,
    conditioning_of,
    inputs_of,
    model_of,
    parts_on,
    settings_of,
    shapes_of,
)
from experiments.bench.measured import Asked, Goal, Row, each
from noiseprobe.models import family
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.estimate import estimate
from noiseprobe.training.methods import masters
from noiseprobe.training.optimising import optimiser
from noiseprobe.training.preparing import attached, concept_of

WITHIN = Goal("off by at most", 0.15)
LORA: dict[str, Any] = {"method": "dreambooth-lora", "train_word": False}
LESS: dict[str, Any] = {"gradient_checkpointing": True}
MEASURED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("SD 1.5", {"method": "textual-inversion"}),
    ("SD 1.5", {"method": "dreambooth-lora"}),
    ("SD 1.5", {"method": "dreambooth"}),
    ("SDXL", LORA),
    ("SD3", LORA),
    ("FLUX.1-dev", LORA),
    ("SDXL", {"method": "textual-inversion"} | LESS),
    ("SDXL", {"method": "dreambooth"} | LESS),
    ("SD3", {"method": "dreambooth"} | LESS),
    ("FLUX.1-dev", {"method": "dreambooth"} | LESS),
    ("SD 1.5", {"method": "custom-diffusion", "prior": True}),
)
"""Family and settings; the first of each family come first, should time end."""


def measure(asked: Asked) -> Iterator[Row]:
    """A row for each family and method."""
    things = {}
    for name, settings in MEASURED[: asked.of(1, 99, 99)]:
        flags = " ".join(f"{key}={value}" for key, value in settings.items() if key != "method")
        what = f"{name}, {settings['method']} {flags}".strip()
        things[what] = partial(_row, asked, what, name, settings)
    return each(asked, things, asked.of(0, 0, 25))


def _row(asked: Asked, what: str, name: str, settings: dict[str, Any]) -> Iterator[Row]:
    given = {"precision": asked.precision} | settings
    given |= {"train_batch_size": asked.of(2, 16, 2)}
    once = asked.device.type == "cuda" or asked.size == "tiny"
    told = name, given, asked.device.type, asked.small
    peaks = [in_a_child(taken, *told) for _ in range(1 if once else min(asked.rounds, 2))]
    expected = [in_a_child(estimated, *told)] * len(peaks)
    what += f", batch {given['train_batch_size']}, {asked.precision}"
    rounds = tuple(map(float, peaks)), tuple(map(float, expected))
    yield Row(what, "`noiseprobe estimate`", "ours / theirs", "B", *rounds, WITHIN)


def taken(name: str, given: dict[str, Any], kind: str, small: bool) -> int:
    """The bytes that a training step takes at its peak."""
    device = torch.device(kind)
    parts = shapes_of(name, small, fewer=True)
    with tempfile.TemporaryDirectory() as folder:
        config = settings_of(name, Path(folder), given | {"device": kind}, small)
        if kind == "cuda":
            return _train(name, config, device, parts)
        return_at_once()
        _train(name, config, device, parts)  # what libraries keep is there before
        before = settle_memory()
        return _train(name, config, device, parts) - before


def estimated(name: str, given: dict[str, Any], kind: str, small: bool) -> int:
    """The bytes that are estimated of it."""
    parts = parts_on(shapes_of(name, small, fewer=True), torch.device("meta"))
    with tempfile.TemporaryDirectory() as folder:
        config = settings_of(name, Path(folder), given | {"device": kind}, small)
        pipeline = family(FAMILIES[name].pipeline)
        return estimate(config, pipeline, parts, on_gpu=kind == "cuda").step


def _train(name: str, config: RunConfig, device: torch.device, parts: Parts) -> int:
    """Take two steps, in the second of which all is there that there will be; the peak so far."""
    kind = family(FAMILIES[name].pipeline)
    trains_words = "encoders" in masters(config)
    live = [kind.denoiser_name, *(kind.encoder_names if trains_words else ())]
    model = model_of(name, config, parts, device, live)
    method = attached(model, concept_of(config), config)
    chosen = optimiser(config, method.parameters())
    count = config.train_batch_size * (2 if config.prior else 1)
    latents, noise, times = inputs_of(name, model, count)
    captions = [method.captions[0]] * count
    told = None if trains_words else conditioning_of(name, model, count)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        chosen.zero_grad(set_to_none=True)
        words = Conditioner(model)(captions) if told is None else told
        model.loss(latents, noise, times, words).mean().backward()
        chosen.step()
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else peak_memory()
