"""Measure what a sweep gets done with the local engine and with Ray, on the bundled model.

    pip install 'noiseprobe[ray]'
    python -m experiments.bench.engines
    python -m experiments.bench.engines --runs 2 --steps 20 --workers 1

Each engine does the same sweep with 1 and with 2 workers of one thread each: trainings, of which
three checkpoints are probed. Prints one JSON document: of each the seconds, runs per hour, rows (of
probes, each one sample's loss) per second, and what a worker gets done, as a share of what the only
worker of the local engine does. The imports of the workers are part of it, as they are of a sweep;
what Ray takes to start is not.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import torch

from noiseprobe.cli.terminal import Terminal
from noiseprobe.run.defaults import DEFAULT_CONCEPT
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.on_ray import ray_engine
from noiseprobe.stages.sweep import WATCHED, Sweep, train_sweep
from noiseprobe.stages.workers import Engine, in_processes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the engines of a sweep.")
    parser.add_argument("--concept", default=DEFAULT_CONCEPT)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args()
    found: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "torch": torch.__version__,
        "runs": chosen.runs,
        "steps": chosen.steps,
    }
    alone = 0.0
    for name in ("local", "ray"):
        for workers in chosen.workers:
            with tempfile.TemporaryDirectory() as folder:
                sweep = sweep_of(Path(folder), workers, chosen.concept, chosen.runs, chosen.steps)
                if name == "local":
                    seconds = timed(sweep, in_processes)
                else:
                    with ray_engine("local") as engine:
                        seconds = timed(sweep, engine)
                rows = sum(len(Run.open(out).probe_trace()) for out in sweep.runs)
            each = chosen.runs / seconds
            alone = alone or each / workers
            found[f"{name}, {workers} workers"] = {
                "seconds": round(seconds, 1),
                "runs_per_hour": round(3600 * each, 1),
                "rows_per_second": round(rows / seconds, 1),
                "efficiency_per_worker": round(each / workers / alone, 3),
            }
            print(json.dumps(found), file=sys.stderr, flush=True)
    print(json.dumps(found, indent=2))


def sweep_of(folder: Path, workers: int, concept: str, runs: int, steps: int) -> Sweep:
    """A sweep of one concept with so many seeds, probed at its start, middle and end."""
    every = max(steps // 2, 1)
    settings = WATCHED | {"checks": False, "concept": concept, "device": "cpu", "steps": steps}
    settings |= {"checkpoint_every": every}
    configs = {folder / f"seed-{n}": resolve(settings | {"seed": n}) for n in range(runs)}
    return Sweep(configs, workers=workers, threads=1, probe=every)


def timed(sweep: Sweep, engine: Engine) -> float:
    """The seconds that a sweep takes; raises where a run fails."""
    started = time.perf_counter()
    with Terminal() as terminal:
        failed = train_sweep(sweep, terminal, engine)
    if failed:
        raise RuntimeError(f"runs failed: {failed}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
