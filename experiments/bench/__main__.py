"""Measure what a user waits for, on the bundled model, and print one JSON document.

    python -m experiments.bench

Each figure is the median of `--rounds` rounds. Peak memory is that of this whole process.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from noiseprobe.analysis.replay import replay_grid, replay_grids
from noiseprobe.draws.factors import parse_settings
from noiseprobe.logs import Series
from noiseprobe.run.defaults import DEFAULT_CONCEPT
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start, train_stage
from noiseprobe.stages.probing import evaluate, plan_rows
from noiseprobe.stopping import DVAR


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    parser.add_argument("--concept", default=DEFAULT_CONCEPT)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    given = {"concept": arguments.concept, "device": arguments.device, "stop": "none", "steps": 20}
    config = resolve(given | {"checkpoint_every": 20})

    def median(action: Callable[[], object]) -> float:
        times = []
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            action()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    with tempfile.TemporaryDirectory() as folder:
        run, ready = start(config, Path(folder) / "run")
        train_stage(run, config, ready)
        training = run.train_trace()["seconds"].diff().iloc[5:].median()
    draws = ready.objective.draws(0, "probe", len(ready.method.captions))
    rows = plan_rows(parse_settings(config.settings), 2, config.probe_batch)
    probing = median(
        lambda: evaluate(ready.objective, ready.method, draws, rows, config.micro_batch)
    )
    drawing = median(lambda: draws.batch(rows.samples, rows.replicates, rows.settings))
    losses = np.random.default_rng(0).normal(1, 0.1, 20_000)
    series = Series("trace", np.arange(losses.size), losses, "l_det")

    def stream() -> None:
        criterion = DVAR(310, 1e-9)
        for loss in losses:
            criterion.update(loss)

    grid = median(
        lambda: replay_grid(series, range(10, 410, 20), np.linspace(0.01, 0.5, 20).tolist())
    )
    many = falling_traces(traces=144, points=6100)
    windows = np.linspace(10, 1000, 100).astype(int).tolist()
    large_grid = median(lambda: replay_grids(many, windows, np.geomspace(0.01, 0.5, 100).tolist()))
    help_page = [sys.executable, "-m", "noiseprobe", "--help"]
    print(
        json.dumps(
            {
                "machine": f"{platform.machine()}, {os.cpu_count()} processors",
                "device": str(ready.objective.model.device),
                "threads": torch.get_num_threads(),
                "training_step_seconds": round(float(training), 4),
                "probe_samples_per_second": round(len(rows) / probing, 1),
                "draws_microseconds_per_sample": round(drawing / len(rows) * 1e6, 1),
                "dvar_update_microseconds": round(median(stream) / losses.size * 1e6, 2),
                "grid_20x20_over_20000_points_seconds": round(grid, 3),
                "grid_100x100_over_144_traces_of_6100_points_seconds": round(large_grid, 3),
                "help_seconds": round(
                    median(
                        lambda: subprocess.run(  # nosec B603 # our own words
                            help_page, capture_output=True, check=True
                        )
                    ),
                    3,
                ),
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            },
            indent=2,
        )
    )


def falling_traces(traces: int, points: int) -> list[Series]:
    """Losses that fall at various speeds to a level, with noise, as L_det does."""
    random = np.random.default_rng(0)
    steps = np.arange(points)
    return [
        Series(
            f"trace {place}",
            steps,
            0.3
            + np.exp(-steps / random.uniform(100, 1500))
            + random.uniform(0.001, 0.03) * random.normal(size=points),
            "l_det",
        )
        for place in range(traces)
    ]


if __name__ == "__main__":
    main()
