"""How much can be probed in a given time, and how sure it will make the comparison."""

import math
import re
import time
from collections.abc import Callable

import torch
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.draws.factors import parse_settings
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.run.foreign import Series
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.objective import MicroBatches, Objective
from noiseprobe.training.preparing import Personalization

_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
REPLICATES, LEAST_BATCH, MOST_BATCH = (7, 3, 1), 8, 128
"""Redraws that are tried in turn; with fewer samples than the least, fewer redraws are taken."""


def parse_budget(text: str) -> float:
    """Seconds of a text such as 90s, 10min or 1.5h; raises `UserError`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    if not found or found[2] not in _SECONDS or not float(found[1]):
        raise UserError(f"--budget: '{text}' given; give a time, such as 90s, 10min or 2h")
    return float(found[1]) * _SECONDS[found[2]]


def fitted(
    seconds: float,
    series: Series,
    config: RunConfig,
    ready: Personalization,
    objective: Objective | None = None,
) -> tuple[RunConfig, str]:
    """The settings whose probe of the series takes some `seconds`, and a sentence on them.

    What is probed is the `objective`, by default that on the photographs that were trained on.

    The last checkpoint and the model itself are loaded, and a micro-batch is evaluated with each,
    on the same draws. The sentence says to what 95% interval the difference of two checkpoints will
    be known, if all pairs differ as these two do. Raises `UserError` where the time is too short.
    """
    loading, per_sample, change, spread = _timed(
        series, config, ready, objective or ready.objective
    )
    each = seconds / len(series.steps) - 2 * loading
    draws = ready.objective.draws(config.seed, "probe", len(ready.method.captions))
    l_det = len(fixed_batch(draws, config.eval_batch, config.fixed_batch).batch)
    beside = l_det + (config.val_batch if ready.held_out else 0)
    rows = each / per_sample - beside
    settings = parse_settings(config.settings)
    redrawn = sum(bool(setting.redrawn) for setting in settings)

    def of_sample(replicates: int) -> int:
        # Each checkpoint has one redraw that no other has.
        return len(settings) - redrawn + redrawn * (replicates + 1)

    batches = {replicates: int(rows // of_sample(replicates)) for replicates in REPLICATES}
    enough = [each for each in REPLICATES if batches[each] >= LEAST_BATCH]
    replicates = enough[0] if enough else REPLICATES[-1]
    batch = min(batches[replicates], MOST_BATCH)
    if batch < 2:
        least = 2 * of_sample(REPLICATES[-1]) + beside
        needed = len(series.steps) * (least * per_sample + 2 * loading)
        raise UserError(
            f"--budget: {seconds:.0f} s given, but {len(series.steps)} checkpoints take "
            f"{math.ceil(needed)} s at least; give more, fewer --checkpoints, or --settings "
            "deterministic"
        )
    reach = 1.96 * spread / math.sqrt(batch * (replicates if redrawn else 1))
    told = (
        f"budget: {replicates} redraws of {batch} samples at each of {len(series.steps)} "
        f"checkpoints; the difference of two will be known to about {reach:.2g} (95%), where the "
        f"last differs from the model itself by {change:+.2g}"
    )
    return config.model_copy(update={"replicates": replicates, "probe_batch": batch}), told


def _timed(
    series: Series, config: RunConfig, ready: Personalization, objective: Objective
) -> tuple[float, float, float, float]:
    """Seconds per loading and per sample; mean and standard deviation of paired differences."""
    method = ready.method
    parts = MicroBatches.of(ready.model, config.micro_batch, Silent())
    draws = objective.draws(config.seed, "probe", len(method.captions))
    batch = draws.batch(range(max(min(parts.size, 32), 2)), 1)

    @torch.no_grad()
    def losses() -> Tensor:
        found = parts.losses(
            batch, lambda some: objective.losses(some, objective.captions(some, method.captions))
        )
        return found.cpu().double()

    def timed(act: Callable[[], object]) -> float:
        started = time.monotonic()
        act()
        return time.monotonic() - started

    loading = timed(lambda: method.restore(series.at(series.steps[-1]).path))
    last = losses()
    per_sample = timed(losses) / len(batch)
    method.restore(series.at(0).path)
    differences = last - losses()
    return loading, per_sample, float(differences.mean()), float(differences.std())
