"""Measured runs without a training: traces in which DVAR fires, and pictures at both ends."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from noiseprobe.pictures.strips import save_strip
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import TRAIN_COLUMNS, write_part

STEPS, STOP = 60, 39
"""All steps, and where DVAR ends them: the first window of 10 without a change."""

PROMPTS = 3
"""Of each kind."""

GREY = {STOP: 80, STEPS: 160}
"""What all pixels of the pictures of a step are, but for the place of the prompt."""


def surveyed(out: Path, concept: str, *, learns: int = 30, hostile: str = "", **more: str) -> Run:
    """A run on a concept; with `learns` at `STEPS` DVAR never fires."""
    given = {"window": 10, "threshold": 0.001, "eval_every": 1, "steps": STEPS}
    config = resolve({"concept": concept} | given | more)
    run = Run.create(out, config, "cpu")
    steps = np.arange(STEPS + 1)
    train = pd.DataFrame({"step": steps, "l_det": 1 - np.minimum(steps / learns, 1) / 2})
    train = train.reindex(columns=[*TRAIN_COLUMNS])
    train["seconds"] = steps * 1.0
    write_part(run.train_directory, TRAIN_COLUMNS, train)
    for step, grey in GREY.items():
        run.checkpoint(step).mkdir(parents=True)
        for kind in ("training", "validation"):
            pictures = [
                Image.new("RGB", (32, 32), (grey, place, 0 if kind == "training" else 255))
                for place in range(PROMPTS)
            ]
            prompts = [f"a photo of a <v> at place {place}{hostile}" for place in range(PROMPTS)]
            save_strip(pictures, prompts, run.samples(step, kind))
    return run
