"""A small run with pictures, whose names and captions would be code in a page that trusts them."""

from pathlib import Path
from typing import Any

from PIL import Image

from noiseprobe.pictures.strips import save_strip
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import METRICS_COLUMNS, write_part
from noiseprobe.stages.pipeline import run_all

HOSTILE = "</script><img src=x onerror=window.hostile=1>\u2028<!--&lt;"
"""What ends a script, makes an element, is a line's end in JavaScript, and begins a comment."""

MEASURED = {0: (0.30, 0.40), 2: (0.50, 0.38), 6: (0.45, 0.20)}
"""Likeness and following the prompt, by step: 6 is beaten by 2."""


def reported(settings: dict[str, Any], out: Path) -> Run:
    """Train, probe and plot a run, and put pictures and measures there as `measure` would."""
    held = {"hold_out": "1", "val_every": 2}
    run_all(resolve(settings | held), out)
    run = Run.open(out)
    for step, (likeness, prompt) in MEASURED.items():
        rows = [
            {"step": step, "metric": name, "value": value}
            for name, value in (("train_clip_img", likeness), ("val_clip_txt", prompt))
        ]
        write_part(run.metrics_directory, METRICS_COLUMNS, rows)
        for kind in ("training", "validation"):
            pictures = [Image.new("RGB", (32, 32), (40 * step, place, 90)) for place in range(2)]
            captions = [f"{kind} {HOSTILE.replace(chr(10), ' ')}", f"{kind} a photo of <v>"]
            save_strip(pictures, captions, run.samples(step, kind))
    return run
