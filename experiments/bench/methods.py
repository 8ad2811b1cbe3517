"""Measure what each method's step costs, and what a CLIP check adds, on the bundled model.

    python -m experiments.bench.methods

Prints one JSON document: per method the median seconds of a training step, of one value of L_det
and of a CLIP check of eight pictures, the bytes of a checkpoint, and how many numbers are trained.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import torch

from noiseprobe.run.defaults import DEFAULT_CONCEPT, METHODS
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start, train_stage

CHECK_EVERY = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the methods.")
    parser.add_argument("--concept", default=DEFAULT_CONCEPT)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=30)
    chosen = parser.parse_args()
    found: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "threads": torch.get_num_threads(),
    }
    for method in METHODS:
        found[method] = measured(method, chosen.concept, chosen.device, chosen.steps)
    print(json.dumps(found, indent=2))


def measured(method: str, concept: str, device: str, steps: int) -> dict[str, float]:
    """The costs of one method, over `steps` steps."""
    config = resolve(
        {
            "concept": concept,
            "method": method,
            "device": device,
            "steps": steps,
            "checkpoint_every": steps,
            "stop": "none",
            "checks": True,
            "check_every": CHECK_EVERY,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        run, ready = start(config, Path(folder) / "run")
        train_stage(run, config, ready)
        trace = run.train_trace()
        files = run.checkpoint(steps).rglob("*")
        size = sum(file.stat().st_size for file in files if file.is_file())
    spent = trace[["seconds", "l_det_seconds", "check_seconds"]].diff()
    rows = spent[(trace["step"] > CHECK_EVERY)]  # the first steps warm up
    checks = rows["check_seconds"][rows["check_seconds"] > 0]
    values = rows["l_det_seconds"][rows["l_det_seconds"] > 0]  # of every few steps
    of_step = rows["seconds"] - rows["l_det_seconds"] - rows["check_seconds"]
    return {
        "step_seconds": round(float(of_step.median()), 4),
        "l_det_seconds": round(float(values.median()), 4),
        "l_det_every": config.eval_every,
        "check_seconds": round(float(checks.median()), 3),
        "checkpoint_bytes": size,
        "trained_numbers": sum(each.numel() for each in ready.method.parameters()),
    }


if __name__ == "__main__":
    main()
