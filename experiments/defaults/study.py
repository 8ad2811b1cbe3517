"""One concept, studied: trained to the last step, probed, and drawn as it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image

from noiseprobe.core.files import written_whole
from noiseprobe.models import load_model
from noiseprobe.pictures.sampling import Sampler
from noiseprobe.pictures.similarity import Clip, mean_similarity, mean_similarity_within
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import reopen, start
from noiseprobe.stages.probing import probe
from noiseprobe.training.concept import load_concept
from noiseprobe.training.conditioning import Conditioner
from noiseprobe.training.driver import train
from noiseprobe.training.objective import Objective
from noiseprobe.training.preparing import prepare
from noiseprobe.training.views import Flips

DRAWN = 8  # pictures at a checkpoint, from the same noise at each
STUDIED = "studied"  # the file that says that a run's study is complete
RARE_WORD = "sks"  # a word that the model does not know, as in DreamBooth (Ruiz et al. 2022)
BATCH = 4  # of full fine-tuning


def one_thread() -> None:
    """Leave the other cores to the other workers."""
    torch.set_num_threads(1)


def textual_inversion(folder: Path, out: Path, settings: dict[str, Any], probe_every: int) -> None:
    """Train on the concept in `folder` to the last step; probe, and draw at every checkpoint.

    The run is `out`; it goes on where it was cut off.
    """
    given = {"concept": str(folder), "stop": "none", "eval_every": 1, **settings}
    if (out / "config.toml").is_file():
        run, config = reopen(out, {})
        ready = prepare(config)
    else:
        config = resolve(given)
        run, ready = start(config, out)
    train(run, ready.objective, ready.method, config)
    steps = run.checkpoint_steps()
    probed = [step for step in steps if step % probe_every == 0]
    probe(run, ready.objective, ready.method, config, steps=probed)
    sampler = Sampler(ready.objective.model)
    captions = ready.method.captions[:DRAWN]
    for step in steps:
        if not strip(out, step).is_file():
            ready.method.load(ready.method.read(run.checkpoint(step)))
            save(sampler.draw(captions, config.seed), strip(out, step))
    (out / STUDIED).touch()


def strip(out: Path, step: int) -> Path:
    """Where the pictures that were drawn at a step lie, side by side in one file."""
    return out / "drawn" / f"step-{step:08d}.png"


def save(pictures: Sequence[Image.Image], path: Path) -> None:
    """Write square pictures of one size side by side."""
    size = pictures[0].width
    row = Image.new("RGB", (size * len(pictures), size))
    for index, picture in enumerate(pictures):
        row.paste(picture, (size * index, 0))
    with written_whole(path) as beside:
        row.save(beside, "PNG")


def judged(out: Path, photographs: Path, clip: Clip) -> tuple[pd.Series, float]:
    """Similarity to the photographs of what was drawn at each step; and that among photographs."""
    seen = clip.embed_images(map(Image.open, load_concept(photographs, None).photographs))
    values = {}
    for path in sorted((out / "drawn").glob("step-*.png")):
        row = Image.open(path)
        size = row.height
        pictures = [row.crop((x, 0, x + size, size)) for x in range(0, row.width, size)]
        step = int(path.stem.removeprefix("step-"))
        values[step] = mean_similarity(clip.embed_images(pictures), seen)
    return pd.Series(values), mean_similarity_within(seen)


def full_fine_tuning(
    folder: Path, out: Path, steps: int, every: int, learning_rate: float, seed: int = 0
) -> None:
    """Train the whole UNet as DreamBooth does, without prior preservation; draw as it learns."""
    concept = load_concept(folder, None)
    model = load_model()
    look, once = Flips(model.resolution, flip=0.0), Conditioner(model, keep=True)
    objective = Objective(model, concept.photographs, look, once)
    sampler = Sampler(model)
    prompt = f"a photo of a {RARE_WORD} {concept.class_noun}"
    draws = objective.draws(seed, "train", 1)
    parameters = [*model.denoiser.requires_grad_(True).parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    for step in range(steps + 1):
        if step % every == 0:
            save(sampler.draw([prompt] * DRAWN, seed), strip(out, step))
        loss = objective.losses(draws.batch(range(BATCH), step + 1), [prompt] * BATCH).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    (out / STUDIED).touch()
