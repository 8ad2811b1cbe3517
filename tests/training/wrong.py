"""Numbers made wrong on purpose, in the losses of samples that have a certain noise."""

import contextlib
import io
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from noiseprobe.models.base import DiffusionModel
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.preparing import prepare


def noise_of(config: RunConfig, *drawn: tuple[int, int], stream: Any = "train") -> Tensor:
    """The Gaussian noise (n, C, h, w) of samples, each a replicate and its number."""
    ready = prepare(config)
    draws = ready.objective.draws(config.seed, stream, len(ready.method.captions))
    return torch.from_numpy(draws.batch([n for _, n in drawn], [r for r, _ in drawn]).noise)


def plant(
    monkeypatch: pytest.MonkeyPatch, noise: Tensor, *, gradient: bool = False, times: int = -1
) -> None:
    """Make the loss of samples with this noise NaN, or its `gradient` alone; `times`, or always."""
    real, left = DiffusionModel.loss, [times]

    def loss(model: DiffusionModel, latents: Tensor, given: Tensor, *more: Any) -> Tensor:
        losses = real(model, latents, given, *more)
        bad = (given[:, None] == noise[None]).flatten(2).all(2).any(1)
        if not bad.any() or not left[0]:
            return losses
        left[0] -= 1
        worse = losses.clone()
        still = losses[bad] - losses[bad].detach()  # 0, where the square root has no slope
        worse[bad] = losses[bad] + still.abs().sqrt() if gradient else torch.nan
        return worse

    monkeypatch.setattr(DiffusionModel, "loss", loss)


def again(message: str) -> str:
    """What the command in an error line prints, run in this process."""
    found = re.search(r'python -c "(.*?)"(;| |$)', message)
    assert found, message
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(found.group(1), {})
    return out.getvalue()
