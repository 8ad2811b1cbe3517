"""An autoencoder whose configuration says that float16 is not enough for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def in_enough_bits(vae: Any) -> Iterator[None]:
    """Let an autoencoder compute in float32 meanwhile, if it is in float16 and must not be.

    Its configuration says so by `force_upcast`, as that of SDXL, whose activations exceed what
    float16 holds; diffusers' pipelines go by it as well. Afterwards the weights are the very
    tensors that they were. One in float32 or bfloat16, or that float16 is enough for, is let be.
    """
    weights = [*vae.parameters(), *vae.buffers()]
    short = [each for each in weights if each.dtype == torch.float16]
    if not short or not getattr(vae.config, "force_upcast", False):
        yield
        return
    before = [each.data for each in short]
    try:
        for each in short:
            each.data = each.data.float()
        yield
    finally:
        for each, data in zip(short, before, strict=True):
            each.data = data
