"""Measure what looking at many runs takes: `table`, `pick`, `regret`, and figures over all of them.

    python -m experiments.bench.many_runs --runs 1000
    python -m experiments.bench.many_runs --runs 10000 --steps 500

The runs are synthetic: nothing is trained, but each is written by the writers of the package, with
a training trace, the losses of the samples of its fixed batch at its checkpoints, and measures.
Prints one JSON document: how long a run takes to write and how many bytes and files it has, and of
each command the seconds and the peak memory of its process.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from noiseprobe.core.files import written_whole
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import recorded
from noiseprobe.run.traces import METRICS_COLUMNS, TRACKED_COLUMNS, TRAIN_COLUMNS, write_part

CHECKPOINTS, SAMPLES, CONCEPTS = 4, 4, 50
METRICS = ("train_clip_img", "val_clip_img", "val_clip_txt")

ACROSS = """
import sys
from pathlib import Path
from noiseprobe.run.directory import find_runs
from noiseprobe.stages.drawing import plot_across
plot_across(find_runs([Path(sys.argv[1])]), Path(sys.argv[2]))
"""
"""The figures over all runs alone; the command draws those of each run before."""


def main() -> None:
    """Make the runs, look at them, and print what that took."""
    parser = argparse.ArgumentParser(description="Measure looking at many runs.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where they are made (default: temporary)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        place = Path(folder) / "runs"
        started = time.perf_counter()
        with patch("os.fsync"):  # what is made here need not survive a crash
            runs = [make_run(place, number, chosen.steps) for number in range(chosen.runs)]
        writing = time.perf_counter() - started
        files = [path for path in runs[0].rglob("*") if path.is_file()]
        found: dict[str, object] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "runs": chosen.runs,
            "steps": chosen.steps,
            "write_a_run_seconds": round(writing / chosen.runs, 4),
            "bytes_of_a_run": sum(path.stat().st_size for path in files),
            "files_of_a_run": len(files),
        }
        command = [sys.executable, "-m", "noiseprobe"]
        looks = {
            "table": [*command, "table", str(place), "--json"],
            "pick": [*command, "pick", *map(str, runs), "--json"],
            "regret": [*command, "regret", str(place), "--judge", "clip_img", "--json"],
            "plot_across": [sys.executable, "-c", ACROSS, str(place), str(Path(folder) / "out")],
        }
        for name, look in looks.items():
            found[name] = taken(look)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    print(json.dumps(found, indent=2))


def make_run(place: Path, number: int, steps: int) -> Path:
    """A run as a sweep leaves it, of losses that fall to a level with noise."""
    random = np.random.default_rng(number)
    method = METHODS[number % len(METHODS)]
    concept = f"thing-{number // len(METHODS) % CONCEPTS:02}"
    seed = number // len(METHODS) // CONCEPTS
    settings = {"concept": concept, "method": method, "seed": seed, "steps": steps}
    config = recorded(settings | {"stop": "none", "checks": True, "window": 20})
    run = Run.create(place / method / concept / f"seed-{seed}", config, "cpu")
    step = np.arange(steps + 1)
    falling = 0.1 + np.exp(-step / random.uniform(20, 200))
    rows = pd.DataFrame({"step": step, "seconds": 0.05 * step, "l_det_seconds": 0.01 * step})
    rows["loss"] = falling + random.normal(0, 0.3, steps + 1)
    rows["l_det"] = falling + random.normal(0, 0.01, steps + 1)
    every = max(steps // CHECKPOINTS, 1)
    kept = step[step % every == 0]
    likeness = 0.8 - 0.3 * falling + random.normal(0, 0.01, steps + 1)
    rows["clip_img"] = np.where(step % every == 0, likeness, np.nan)
    rows["check_seconds"] = 0.02 * (step // every)
    write_part(run.train_directory, TRAIN_COLUMNS, rows)
    samples = [
        {"step": at, "name": "l_det", "sample": sample, "loss": falling[at] + 0.1 * sample}
        for at in kept
        for sample in range(SAMPLES)
    ]
    write_part(run.tracked_directory, TRACKED_COLUMNS, samples)
    measures = [
        {"step": at, "metric": metric, "value": likeness[at]} for at in kept for metric in METRICS
    ]
    write_part(run.metrics_directory, METRICS_COLUMNS, measures)
    for at in kept:
        with written_whole(run.checkpoint(int(at))) as beside:
            beside.mkdir()
            (beside / "learned_embeds.safetensors").write_bytes(bytes(64))
    run.write_status("trained", steps, "steps")
    return run.directory


def taken(command: list[str]) -> dict[str, float]:
    """The seconds of a command, those of the processor, and its peak memory."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # nosec B603 # our own words
            command, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{command[:4]}: {said.read().decode()[-500:]}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_mb": usage.ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
