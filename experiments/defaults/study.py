"""One concept, studied: trained to the last step, probed, drawn and compared as it is learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image

from noiseprobe.concept import Concept, load_concept
from noiseprobe.config import resolve
from noiseprobe.files import written_whole
from noiseprobe.metrics import Clip, mean_similarity, mean_similarity_within
from noiseprobe.models import load_model
from noiseprobe.models.stable_diffusion import StableDiffusion
from noiseprobe.objective import Objective
from noiseprobe.pipeline import prepare, reopen, start
from noiseprobe.probing import probe
from noiseprobe.run import Run
from noiseprobe.sampling import Sampler
from noiseprobe.traces import METRICS_COLUMNS, part_path, write_part
from noiseprobe.training import train

DRAWN = 8  # pictures at a checkpoint, from the same noise at each
SIMILARITY = "train_clip_image"
BETWEEN = "photograph_clip_image"
STUDIED = "studied"  # the file that says that a run's study is complete
RARE_WORD = "sks"  # a word that the model does not know, as in DreamBooth (Ruiz et al. 2022)
BATCH = 4  # of full fine-tuning


def one_thread() -> None:
    """Leave the other cores to the other workers."""
    torch.set_num_threads(1)


def textual_inversion(folder: Path, out: Path, settings: dict[str, Any], probe_every: int) -> None:
    """Train on the concept in `folder` to the last step; probe, and draw at every checkpoint.

    The run is `out`, in which the metrics trace has the similarity to the photographs. It goes on
    where it was cut off.
    """
    given = {"concept": str(folder), "stop": "none", **settings}
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
    eye = Eye(load_concept(config.concept, config.class_noun))
    sampler = Sampler(ready.objective.model)
    captions = ready.method.captions[:DRAWN]
    for step in steps:
        if not part_path(run.metrics_directory, step).is_file():
            ready.method.load(ready.method.read(run.checkpoint(step)))
            eye.record(run, step, sampler.draw(captions, config.seed))
    (out / STUDIED).touch()


class Eye:
    """The judge, who has seen the photographs."""

    def __init__(self, concept: Concept) -> None:
        self.clip = Clip.load()
        self.photographs = self.clip.embed_images(map(Image.open, concept.photographs))
        self.between = mean_similarity_within(self.photographs)

    def similarity(self, pictures: Sequence[Image.Image]) -> float:
        """How alike the drawn pictures and the photographs are, from -1 to 1."""
        return mean_similarity(self.clip.embed_images(pictures), self.photographs)

    def record(self, run: Run, step: int, pictures: Sequence[Image.Image]) -> None:
        """Write what the judge says of the pictures of one checkpoint."""
        values = {SIMILARITY: self.similarity(pictures), BETWEEN: self.between}
        rows = [{"step": step, "metric": name, "value": values[name]} for name in values]
        write_part(run.metrics_directory, METRICS_COLUMNS, rows)


def full_fine_tuning(
    folder: Path, out: Path, steps: int, every: int, learning_rate: float, seed: int = 0
) -> None:
    """Train the whole UNet as DreamBooth does, without prior preservation; write a CSV to `out`.

    Columns: step, loss, and both similarities of the pictures drawn there.
    """
    concept = load_concept(folder, None)
    model = load_model()
    if not isinstance(model, StableDiffusion):
        raise TypeError("full fine-tuning is written for the UNet of a Stable Diffusion")
    objective, sampler, eye = Objective(model, concept, True), Sampler(model), Eye(concept)
    prompt = f"a photo of a {RARE_WORD} {concept.class_noun}"
    conditioning = model.encode_captions([prompt]).detach().expand(BATCH, -1, -1)
    draws = objective.draws(seed, "train", 1, 0.5)
    parameters = [*model.unet.requires_grad_(True).parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    rows, loss = [], float("nan")
    for step in range(steps + 1):
        if step % every == 0:
            pictures = sampler.draw([prompt] * DRAWN, seed)
            seen = {SIMILARITY: eye.similarity(pictures), BETWEEN: eye.between}
            rows.append({"step": step, "loss": loss} | seen)
        batch = draws.batch(range(BATCH), step + 1)
        value = objective.losses(batch, conditioning).mean()
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        loss = value.item()
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as beside:
        pd.DataFrame(rows).to_csv(beside, index=False)
