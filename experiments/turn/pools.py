"""Pools of held-out draws of real runs, and the batches that are taken of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.turn.forms import Floats, Whole
from noiseprobe.core.progress import Reporter
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import samples_of
from noiseprobe.stages.pipeline import start, train_stage

DRAWS, STEPS, EVERY = 256, 300, 5
DENSE = {"draws": 64, "steps": 120, "every": 1}
"""Of the one run that is evaluated at every step."""


@dataclass(frozen=True)
class Pool:
    """The held-out losses of one run.

    Attributes:
        method, concept: of the run.
        losses: (n, P), of each draw at each evaluation, draws in the order of their timesteps.
        steps: of the evaluations, (n,).
    """

    method: str
    concept: str
    losses: Floats
    steps: Whole

    @property
    def level(self) -> Floats:
        """The losses as they would be if the mean stayed at its lowest: it never rises."""
        mean = self.losses.mean(axis=1, keepdims=True)
        return np.asarray(self.losses - mean + np.minimum.accumulate(mean))


def pools(directory: Path, methods: list[str], concepts: list[str], to: Reporter) -> Iterator[Pool]:
    """The pool of each run, which is trained where it is missing."""
    for concept in concepts:
        for method in methods:
            yield pool_of(directory / method / concept, method, concept, to)


def pool_of(
    place: Path,
    method: str,
    concept: str,
    to: Reporter,
    draws: int = DRAWS,
    steps: int = STEPS,
    every: int = EVERY,
) -> Pool:
    """The pool of the run in `place`, which is trained if it is not there."""
    if not place.exists():
        given = {"concept": concept, "method": method, "steps": steps, "stop": "none"}
        held = {"hold_out": "1", "val_batch": draws, "val_every": every, "eval_batch": 1}
        config = resolve({**given, **held, "checkpoint_every": steps})
        run, ready = start(config, place, to)
        train_stage(run, config, ready, to)
    losses = samples_of(Run.open(place).tracked_trace(), "l_val")
    at = losses.index.to_numpy(np.int64)
    return Pool(method, concept, losses.to_numpy(np.float64), at)


def batches(draws: int, size: int, stratified: bool, count: int, seed: int = 0) -> Whole:
    """The draws of `count` batches of a pool, (count, size), in the order of their timesteps.

    Without replacement; with `stratified`, one of each of `size` equal parts of the timesteps.
    Where they are not, their order is random, as it is where they are drawn independently.
    """
    random = np.random.default_rng(seed)
    if not stratified:
        return random.permuted(np.tile(np.arange(draws), (count, 1)), axis=1)[:, :size]
    part = draws // size
    return np.arange(size) * part + random.integers(0, part, (count, size))
