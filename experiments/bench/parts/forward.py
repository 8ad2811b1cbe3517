"""A forward pass of the denoiser, held against eager diffusers and against matrix products alone.

Ours is as the probe takes it: its layout, type and micro-batch, compiled where a long run is. Eager
diffusers has the layout that a pipeline loads, at the batch at which it does the most samples per
second. The share is that of the floating-point operations per second that this machine does in one
large matrix product.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench.families import (
    FAMILIES,
    compile_as_by_default,
    conditioning_of,
    inputs_of,
    model_of,
    settings_of,
    shapes_of,
)
from experiments.bench.measured import Asked, Goal, Row, each, interleaved
from noiseprobe.core.progress import Silent
from noiseprobe.models import load_model
from noiseprobe.models.base import PRECISIONS, DiffusionModel
from noiseprobe.run.defaults import BUNDLED_MODEL
from noiseprobe.training.objective import MicroBatches

FASTER, USED = Goal("at least", 1.4), Goal("at least", 0.5)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


def measure(asked: Asked) -> Iterator[Row]:
    """Two rows for each family."""
    names = [BUNDLED_MODEL, "SDXL", "SD3", "FLUX.1-dev"] if asked.size == "small" else [*FAMILIES]
    names = names[: asked.of(2, 4, 4)]
    things = {f"{name}, a forward pass": partial(_of, asked, name) for name in names}
    return each(asked, things, asked.of(0, 0, 45))


@torch.no_grad()
def _of(asked: Asked, name: str) -> Iterator[Row]:
    model = live(asked, name)
    size = MicroBatches.of(model, None, Silent()).size
    eager = eager_copy(model)
    label = "SD 1.5" if name == BUNDLED_MODEL else name
    most = asked.of(2, 16, 64)
    best = best_batch(asked, label, eager, [each for each in BATCHES if each <= most])
    size = min(size, most)
    own, other = forward(label, model, size), forward(label, eager, best)
    times = asked.of(1, 2, 5)

    def rate(action: Callable[[], object], count: int) -> float:
        return count * times / asked.timed(lambda: [action() for _ in range(times)])

    product, operations = matrix_product(asked)
    kinds = {
        "ours": lambda: rate(own, size),
        "theirs": lambda: rate(other, best),
        "product": lambda: operations / asked.timed(product),
    }
    own(), other(), product()  # warm
    found = interleaved(kinds, asked.rounds, asked.budget.left / 6)
    about = f"{name}, {model.resolution} pixels, {asked.precision}, {size} samples at once"
    eagerly = f"eager diffusers at its best batch, {best}"
    yield Row(about, eagerly, "ours / theirs", "samples/s", found["ours"], found["theirs"], FASTER)
    done = operations_of(forward(label, model, 1))
    rates = tuple(each * done / 1e12 for each in found["ours"])
    peaks = tuple(each / 1e12 for each in found["product"])
    what = f"{name}, share of the machine's own peak ({done / 1e12:.3g} TFLOP a sample)"
    yield Row(what, "one large matrix product", "ours / theirs", "TFLOP/s", rates, peaks, USED)


def live(asked: Asked, name: str) -> DiffusionModel:
    """The model as the probe has it; text encoders and VAE are shapes alone."""
    if name == BUNDLED_MODEL:
        return load_model(name, str(asked.device), asked.precision)
    with tempfile.TemporaryDirectory() as folder:
        given = {"precision": asked.precision, "method": "dreambooth-lora", "train_word": False}
        config = settings_of(name, Path(folder), given, asked.small)
    parts = shapes_of(name, asked.small, fewer=True)
    model = model_of(name, config, parts, asked.device, live=("unet", "transformer"))
    model.settle(asked.precision)
    compile_as_by_default(model, config)
    return model


def eager_copy(model: DiffusionModel) -> DiffusionModel:
    """The same weights in a denoiser laid out as a pipeline loads it."""
    denoiser: Any = copy.deepcopy(model.denoiser).to(memory_format=torch.contiguous_format)
    parts = model.parts | {model.denoiser_name: denoiser}
    return type(model)(model.name, parts, resolution=model.resolution)


def forward(name: str, model: DiffusionModel, count: int) -> Callable[[], object]:
    """A pass of so many samples."""
    dtype = model.dtype
    noisy, _, times = inputs_of(name, model, count)
    told = {key: each.to(dtype) for key, each in conditioning_of(name, model, count).items()}
    places = torch.tensor([model.resolution, model.resolution, 0, 0], device=model.device)
    places = places.expand(count, 4)

    def once() -> object:
        with model.fast(count) if model.fast else nullcontext():
            return model.predict(noisy.to(dtype), times, told, places)

    return once


def best_batch(asked: Asked, name: str, model: DiffusionModel, batches: list[int]) -> int:
    """The number of samples at once of which the most are done per second.

    All are tried, for what disturbs one must not end it early; where memory ends, so do they.
    """
    rates: dict[int, float] = {}
    for count in batches:
        try:
            pass_ = forward(name, model, count)
            pass_()
            rates[count] = count / min(asked.timed(pass_) for _ in range(2))
        except torch.OutOfMemoryError:
            break
    asked.forget()
    return max(rates, key=lambda count: rates[count])


def matrix_product(asked: Asked) -> tuple[Callable[[], object], float]:
    """A product of two square matrices, and the floating-point operations of it."""
    side = asked.of(256, 2048, 8192)
    dtype = PRECISIONS[asked.precision]
    one, other = (torch.randn(side, side, device=asked.device, dtype=dtype) for _ in range(2))
    times = asked.of(1, 2, 20)
    return lambda: [one @ other for _ in range(times)], 2.0 * side**3 * times


def operations_of(action: Callable[[], object]) -> int:
    """The floating-point operations of a pass, as `torch.utils.flop_counter` counts them."""
    with FlopCounterMode(display=False) as counted:
        action()
    return int(counted.get_total_flops())
