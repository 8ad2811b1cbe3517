"""One training that serves all questions: the losses of its batches, and the truth at some steps.

Each run is one file, with a row per sample and evaluation: name, step, sample, timestep, loss. In
all of them, `step` says how many steps of training the weights have taken.

- `train`: the training batch, before its own update; `start`: the same under the starting model;
- `lagging`: the same, every second batch, under the weights of 50 steps before the next of `LAGS`;
- `antithetic`, `antithetic start`: every third step, two draws, each with both signs of its noise;
- `l_det`: four fixed stratified samples, at every step;
- `expected`: the truth's draws at `STEPS`; `random 32 0`, …: fixed batches there.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.comparison.runs import others
from experiments.fixed_batch.evaluate import joined
from experiments.tiny_sd.concepts import SHIPPED
from noiseprobe.core.files import write_json, written_whole
from noiseprobe.core.progress import Silent
from noiseprobe.draws.draws import Batch
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.pictures.sampling import Sampler
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.objective import Objective
from noiseprobe.training.preparing import Personalization, prepare
from noiseprobe.training.prior import Prior, draw_class_images, find_class_images
from noiseprobe.training.views import Flips

STEPS = (0, 10, 25, 50, 75, 100, 150, 200, 250, 300)
LAST = STEPS[-1]
LAG = 50
LAGS = (75, 100, 150, 200, 250, 300)  # where the gain of the last `LAG` steps is asked for
FIRST = ("banded-cup", "patched-dog", "split-fish")  # which an earlier, smaller trial had
OVER = 25  # batches up to there that it is known from
EXPECTED = 512
SIZES = (4, 8, 16, 32)
BATCHES = 2  # fixed batches of each layout and size
FIRST_SEED = 5000  # of what is evaluated beside the training
TRAINING_SEED = 100
MICRO_BATCH = 64


def choosing() -> tuple[str, ...]:
    """The concepts that parameters are chosen on, those of `FIRST` first."""
    return tuple(sorted(SHIPPED, key=lambda name: name not in FIRST))


def testing() -> tuple[str, ...]:
    """The concepts that nothing is chosen on."""
    return tuple(others()[24:30])


def planned() -> list[tuple[str, str]]:
    """Method and concept of each run, in the order in which they are made."""
    turns = zip(choosing(), testing(), strict=True)
    return [(method, name) for pair in turns for name in pair for method in METHODS]


def settings_of(method: str, folder: Path) -> RunConfig:
    """The settings of a run on the concept in `folder`."""
    seed = TRAINING_SEED + [*choosing(), *testing()].index(folder.name)
    return resolve(
        {
            "concept": str(folder),
            "method": method,
            "steps": LAST,
            "train_batch_size": 4,
            "stop": "none",
            "eval_every": 1,
            "seed": seed,
            "device": "cpu",
        }
    )


@dataclass
class Recorder:
    """A live model, and what was recorded of it."""

    ready: Personalization
    tables: list[pd.DataFrame] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def losses(self, batch: Batch) -> Tensor:
        """The loss of each sample under the live model, (B,)."""
        objective, templates = self.ready.objective, self.ready.method.captions
        return objective.losses(batch, objective.captions(batch, templates))

    def keep(self, name: str, step: int, batch: Batch, losses: Tensor) -> None:
        """Add a row for each sample."""
        rows = {
            "name": name,
            "step": step,
            "sample": np.arange(len(batch)),
            "timestep": batch.timesteps,
            "loss": losses.detach().numpy(),
        }
        self.tables.append(pd.DataFrame(rows))

    @torch.no_grad()
    def evaluate(self, name: str, step: int, batch: Batch) -> None:
        """Evaluate a batch under the live model."""
        self.keep(name, step, batch, self.timed(name, batch))

    def evaluate_all(self, batches: Mapping[str, Batch], step: int) -> None:
        """Evaluate several batches as if they were one, which is quicker."""
        with torch.no_grad():
            losses = self.timed("references", joined(list(batches.values())))
        parts = losses.split([len(batch) for batch in batches.values()])
        for (name, batch), own in zip(batches.items(), parts, strict=True):
            self.keep(name, step, batch, own)

    def timed(self, name: str, batch: Batch) -> Tensor:
        """The losses of a batch, evaluated in parts; the CPU seconds count as those of `name`."""
        began = time.process_time()
        starts = range(0, len(batch), MICRO_BATCH)
        losses = torch.cat([self.losses(batch[first : first + MICRO_BATCH]) for first in starts])
        self.seconds[name] += time.process_time() - began
        return losses


def record(method: str, folder: Path, out: Path) -> None:
    """Train and record one run into `out`, unless it is there; CPU seconds go beside it."""
    if out.is_file():
        return
    torch.set_num_threads(1)
    config = settings_of(method, folder)
    ready = prepare(config)
    recorder = Recorder(ready)
    class_images = out.parent.parent / "class-images" / folder.name
    prior = prior_of(config, ready, class_images) if config.prior else None
    captions = len(ready.method.captions)
    draws = ready.objective.draws(config.seed, "train", captions)
    of_class = prior and prior.objective.draws(config.seed, "prior", 1)
    fixed = fixed_batch(ready.objective.draws(config.seed, "probe", captions), 4, "stratified")
    references = reference_batches(ready)
    weights = ready.method.parameters()
    optimiser = torch.optim.AdamW(weights, lr=config.effective_learning_rate, weight_decay=0.01)
    kept = {0: ready.method.copies()}
    for done in range(LAST + 1):
        recorder.evaluate("l_det", done, fixed.batch)
        if done in STEPS:
            recorder.evaluate_all(references, done)
        if done == LAST:
            break
        if done and done % OVER == 0:
            kept[done] = ready.method.copies()
        batch = draws.batch(range(4), done + 1)
        pairs = opposite(draws.batch([4, 4, 5, 5], done + 1)) if done % 3 == 0 else None
        if pairs:
            recorder.evaluate("antithetic", done, pairs)
        with ready.method.holding(kept[0]):
            recorder.evaluate("start", done, batch)
            if pairs:
                recorder.evaluate("antithetic start", done, pairs)
        before = lagging(done)
        if before is not None:
            with ready.method.holding(kept[before]):
                recorder.evaluate("lagging", done, batch)
        began = time.process_time()
        losses = recorder.losses(batch)
        loss = losses.mean()
        if prior and of_class:
            loss = loss + prior.weight * prior.losses(of_class.batch(range(4), done + 1)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
        optimiser.step()
        recorder.seconds["train"] += time.process_time() - began
        recorder.keep("train", done, batch, losses)
    table = pd.concat(recorder.tables, ignore_index=True)
    write_json(out.with_suffix(".json"), dict(recorder.seconds))
    with written_whole(out) as beside:
        table.to_parquet(beside, index=False)


def lagging(done: int) -> int | None:
    """The weights, by their step, that the next batch is also evaluated under; None: under none."""
    ends = [end for end in LAGS if end - OVER <= done < end]
    return ends[0] - LAG if ends and done % 2 else None


def opposite(batch: Batch) -> Batch:
    """Every second sample with the opposite noise."""
    signs = np.where(np.arange(len(batch)) % 2, np.float32(-1), np.float32(1))
    return replace(batch, noise=batch.noise * signs.reshape(-1, *[1] * (batch.noise.ndim - 1)))


def reference_batches(ready: Personalization) -> dict[str, Batch]:
    """What is evaluated at each of `STEPS`: the truth's draws, and fixed batches.

    A random batch is the beginning of every larger one, and weights do not change what is drawn.
    """
    captions = len(ready.method.captions)
    truth = ready.objective.draws(FIRST_SEED + BATCHES, "probe", captions)
    found = {"expected": fixed_batch(truth, EXPECTED, "stratified").batch}
    for number in range(BATCHES):
        draws = ready.objective.draws(FIRST_SEED + number, "probe", captions)
        found[f"random {SIZES[-1]} {number}"] = fixed_batch(draws, SIZES[-1]).batch
        for size in SIZES:
            found[f"stratified {size} {number}"] = fixed_batch(draws, size, "stratified").batch
            found[f"antithetic {size} {number}"] = fixed_batch(draws, size, "antithetic").batch
    return found


def prior_of(config: RunConfig, ready: Personalization, folder: Path) -> Prior:
    """The class images in `folder`, drawn now if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    model = ready.model
    own = config.model_copy(
        update={
            "class_images": str(folder),
            "class_prompt": f"a photo of a {ready.concept.class_noun}",
        }
    )
    images = find_class_images(own, ready.concept, None)
    sampler = Sampler(model, config.sampling_steps, config.guidance)
    paths = draw_class_images(images, sampler, config.sampling_seed, Silent())
    objective = Objective(model, paths, Flips(model.resolution, flip=config.flip))
    return Prior(objective, images.captions, config.prior_weight)
