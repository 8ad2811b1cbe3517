"""A family around the live modules of a pipeline, or of its parts, that someone else trains."""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

from noiseprobe.core.errors import UserError
from noiseprobe.models import FAMILIES, family
from noiseprobe.models.base import DiffusionModel, unwrapped


def wrap(pipeline: Any, **options: Any) -> DiffusionModel:
    """The family around the very modules of `pipeline`, which stay as they are.

    Args:
        pipeline: a pipeline of diffusers; or its parts by the names it has for them, as a mapping
            or as attributes of an object.
        options: of `DiffusionModel`.

    Raises:
        UserError: no family has these parts, or they do not fit each other.
    """
    told = type(pipeline).__name__

    def part(name: str) -> Any:
        mapped = isinstance(pipeline, Mapping)
        return pipeline.get(name) if mapped else getattr(pipeline, name, None)

    kind = family(told) if told in FAMILIES else _by_parts(told, part)
    parts = {name: found for name in kind.part_names() if (found := part(name)) is not None}
    for name in kind.part_names():
        if name not in parts and name not in kind.optional:
            raise UserError(
                f"pipeline: {told} has no {name}; give a {kind.pipeline_name}, or a mapping with "
                f"{', '.join(each for each in kind.part_names() if each not in kind.optional)}"
            )
    for name, found in parts.items():
        if not name.startswith("tokenizer") and not hasattr(unwrapped(found), "config"):
            raise UserError(
                f"pipeline: its {name} is a {type(found).__name__}, without a config; give the "
                "module that is trained"
            )
    return kind(told, parts, **options)


def _by_parts(told: str, part: Any) -> type[DiffusionModel]:
    """The family that has a denoiser of this class, and as many text encoders."""
    for pipeline in FAMILIES:
        kind = family(pipeline)
        denoiser = unwrapped(part(kind.denoiser_name))
        taken = inspect.signature(getattr(diffusers, pipeline).__init__).parameters
        if not isinstance(denoiser, taken[kind.denoiser_name].annotation):
            continue
        others = {f"text_encoder_{number}" for number in (2, 3)} - kind.encoder_names.keys()
        needed = kind.encoder_names.keys() - set(kind.optional)
        if all(part(name) is None for name in others) and all(
            part(name) is not None for name in needed
        ):
            return kind
    raise UserError(
        f"pipeline: {told} has no denoiser and text encoders of a known family; known are "
        f"{', '.join(FAMILIES)}"
    )
