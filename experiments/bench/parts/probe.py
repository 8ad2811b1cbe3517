"""The seven-setting probe of one checkpoint, held against the published loop.

Ours encodes the photographs once per run, which is no part of an evaluation; the published loop
encodes those of each batch. Its draws are made before; ours makes them meanwhile.
"""

import copy
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from experiments.bench.families import compile_as_by_default, ready_of, settings_of, shapes_of
from experiments.bench.measured import Asked, Goal, Row, each, interleaved
from experiments.bench.published import BATCH, batches_of, published_probe
from noiseprobe.draws.factors import NAMED_SETTINGS
from noiseprobe.models.base import PRECISIONS, DiffusionModel
from noiseprobe.run.defaults import BUNDLED_MODEL, DEFAULT_CONCEPT
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.probing import evaluate, plan_rows
from noiseprobe.training.preparing import Personalization, look, prepare

FASTER = Goal("at least", 5)


def measure(asked: Asked) -> Iterator[Row]:
    """A row for each model."""
    sizes = {"SD 1.5": asked.of(8, 0, 32), "SDXL": asked.of(2, 0, 8)}
    if asked.size == "small":
        sizes = {BUNDLED_MODEL: 64}
    things = {
        f"{name}, the probe": partial(_in_a_folder, asked, name, samples)
        for name, samples in sizes.items()
    }
    return each(asked, things, asked.of(0, 0, 75))


def _in_a_folder(asked: Asked, name: str, samples: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield _of(asked, name, samples, Path(folder))


def _of(asked: Asked, name: str, samples: int, folder: Path) -> Row:
    given = {"device": str(asked.device), "precision": asked.precision}
    if name == BUNDLED_MODEL:
        ready = prepare(resolve(given | {"concept": DEFAULT_CONCEPT}))
    else:
        config = settings_of(name, folder, given, asked.small)
        ready = ready_of(name, config, shapes_of(name, asked.small), asked.device)
    compile_as_by_default(ready.model, ready.config)
    draws = ready.objective.draws(0, "probe", len(ready.method.captions))
    rows = plan_rows(NAMED_SETTINGS, 1, samples)
    plain = as_published(ready, PRECISIONS[asked.precision])
    pixels = seen(ready).to(asked.device)
    drawn = batches_of(draws, NAMED_SETTINGS, samples)

    def ours() -> None:
        evaluate(ready.objective, ready.method, draws, rows, ready.config.micro_batch)

    def theirs() -> None:
        published_probe(plain, pixels, ready.method.captions, drawn)

    if asked.size != "tiny":
        asked.timed(ours)  # warm
        published_probe(plain, pixels, ready.method.captions, [drawn[0][:1]])
    kinds = {
        "ours": lambda: len(rows) / asked.timed(ours),
        "theirs": lambda: len(rows) / asked.timed(theirs),
    }
    found = interleaved(kinds, asked.rounds, asked.budget.left / 3)
    what = f"{name}, {ready.model.resolution} pixels, {len(rows)} rows of seven settings"
    loop = f"the published loop: setting by setting in batches of {BATCH}, VAE and text each time"
    return Row(what, loop, "ours / theirs", "rows/s", found["ours"], found["theirs"], FASTER)


def as_published(ready: Personalization, dtype: torch.dtype) -> DiffusionModel:
    """A copy of the live model as eager diffusers has it: on its device, of one type and layout.

    Text encoders keep what is trained of them.
    """
    model = ready.model
    names = (model.denoiser_name, "vae", *model.encoder_names)
    modules = {each: copy.deepcopy(model.parts[each]) for each in names if model.parts.get(each)}
    for module in modules.values():
        module.requires_grad_(False).to(model.device, dtype)
    modules[model.denoiser_name].to(memory_format=torch.contiguous_format)
    return type(model)(model.name, model.parts | modules, resolution=model.resolution)


def seen(ready: Personalization) -> Tensor:
    """The photographs as the objective sees them, (views, photographs, 3, H, W)."""
    flips = look(ready.model, ready.config)
    views = [flips(number, each) for number, each in enumerate(ready.concept.photographs)]
    return torch.stack([torch.stack([view.pixels for view in own]) for own in views], 1)
