"""Measure a training step against the example scripts of diffusers, and what tracking adds to it.

    python -m experiments.bench.steps
    python -m experiments.bench.steps --model SD1.5 --device cuda --precision bf16 --batch 2

Without `--model` it is the bundled one. `SD1.5` is a Stable Diffusion 1.5 with random weights, at
512 pixels, which is written to a temporary folder first. Each round takes some steps of each kind,
one kind after the other, so that a busy machine is busy for all. Prints one JSON document: by
method, the median seconds of a step over rounds and their range; `speed` is stock over ours; and
`tracked` is a step with everything that is tracked by default, over one without.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.bench.memory import MODELS
from experiments.bench.stock import stock_step
from noiseprobe.models import load_model
from noiseprobe.run.defaults import BUNDLED_MODEL, DEFAULT_CONCEPT
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.stages.pipeline import start, train_stage
from noiseprobe.training.preparing import concept_of

MEASURED = ("textual-inversion", "dreambooth-lora", "dreambooth")
WARM = 5
"""Steps that are left out at the start of each."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure a training step.")
    parser.add_argument("--model", choices=["bundled", "SD1.5"], default="bundled")
    parser.add_argument("--concept", default=DEFAULT_CONCEPT)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = BUNDLED_MODEL if chosen.model == "bundled" else random_sd(Path(folder) / "sd")
        given = {
            "model": model,
            "concept": chosen.concept,
            "device": chosen.device,
            "precision": chosen.precision,
            "train_batch_size": chosen.batch,
            "steps": chosen.steps,
            "checkpoint_every": chosen.steps,
            "stop": "none",
        }
        found: dict[str, Any] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        } | vars(chosen)
        for method in MEASURED:
            found[method] = measured(resolve(given | {"method": method}), chosen.rounds)
            print(json.dumps({method: found[method]}, indent=2), flush=True)
    print(json.dumps(found, indent=2))


def random_sd(folder: Path) -> str:
    """A Stable Diffusion 1.5 with random weights, as `save_pretrained` writes it."""
    import diffusers

    pipeline, make = MODELS["SD 1.5"]
    torch.manual_seed(0)
    parts = make() | {"safety_checker": None, "feature_extractor": None}
    getattr(diffusers, pipeline)(**parts).save_pretrained(folder)
    return str(folder)


def measured(config: RunConfig, rounds: int) -> dict[str, Any]:
    """The seconds of a step of one method, by kind."""
    never = config.model_copy(update={"eval_every": config.steps})
    kinds: dict[str, Callable[[], float]] = {
        "ours": lambda: ours(never),
        "stock": lambda: stock(config),
        "ours, tracked": lambda: ours(config),
    }
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, action in kinds.items():
            taken[name].append(action())
    seconds = {
        name: {
            "median": round(statistics.median(each), 5),
            "range": [round(min(each), 5), round(max(each), 5)],
        }
        for name, each in taken.items()
    }
    pairs = list(zip(taken["ours"], taken["stock"], taken["ours, tracked"], strict=True))
    return {
        "eval_every": config.eval_every,
        "seconds": seconds,
        "speed": round(statistics.median(stock / own for own, stock, _ in pairs), 3),
        "tracked": round(statistics.median(tracked / own for own, _, tracked in pairs), 3),
    }


def ours(config: RunConfig) -> float:
    """The mean seconds of a step of a run, after the first ones; with L_det where it is due."""
    with tempfile.TemporaryDirectory() as folder:
        run, ready = start(config, Path(folder) / "run")
        train_stage(run, config, ready)
        seconds = run.train_trace().set_index("step")["seconds"]
    # Whole spacings of L_det, so that as many values are in as belong there.
    first = -(-WARM // config.eval_every) * config.eval_every if config.eval_every < 30 else WARM
    last = config.steps - 1 if config.eval_every == config.steps else config.steps
    return float((seconds.loc[last] - seconds.loc[first]) / (last - first))


def stock(config: RunConfig) -> float:
    """The same of the loop of the example scripts."""
    import time

    model = load_model(config.model, config.device, config.precision)
    photographs = concept_of(config).photographs
    batch = config.train_batch_size
    step = stock_step(model, config.method, photographs, batch, model.resolution)
    for _ in range(WARM):
        step()
    started = time.perf_counter()
    for _ in range(config.steps - WARM):
        step()
    return (time.perf_counter() - started) / (config.steps - WARM)


if __name__ == "__main__":
    main()
