"""Measure how long recorded losses take to read, and print one JSON document.

    python -m experiments.bench.readers

Each figure is the median of `--rounds` rounds, in seconds, of reading one log of `--points` points
and replaying DVAR over it; the folder holds 100 event files of a hundredth of the points each.
Event files are written as TensorBoard's writers do, one to three scalars at each step.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from noiseprobe.analysis.replay import replay
from noiseprobe.logs import find_sources, read_series

_FILES = 100


def write_logs(folder: Path, points: int) -> None:
    """Write a log of each kind, with `points` points of one trace, into `folder`."""
    steps = np.arange(points)
    losses = np.random.default_rng(0).lognormal(-1, 0.5, points)
    frame = pd.DataFrame({"step": steps, "loss": losses, "lr": 1e-4})
    frame.to_csv(folder / "csv", index=False)
    frame.to_json(folder / "json-lines", orient="records", lines=True, double_precision=15)
    frame.to_parquet(folder / "parquet")
    chart = frame.rename(columns={"step": "Step", "loss": "run - loss"}).drop(columns="lr")
    chart.to_csv(folder / "quoted-csv", index=False, quoting=1)
    _write_events(folder / "events", steps, losses, ["loss"])
    _write_events(folder / "events-of-3-tags", steps[: points // 3], losses, ["loss", "lr", "norm"])
    (folder / "folder").mkdir()
    for number in range(_FILES):
        part = slice(number * points // _FILES, (number + 1) * points // _FILES)
        path = folder / "folder" / f"events.out.tfevents.{number:010}.host"
        _write_events(path, steps[part], losses[part], ["loss"])


def _write_events(path: Path, steps: np.ndarray, losses: np.ndarray, tags: list[str]) -> None:
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        start = 1.7e9 + float(steps[0])
        version = Event(wall_time=start, file_version="brain.Event:2")
        writer.write(version.SerializeToString())
        for step, loss in zip(steps.tolist(), losses.tolist(), strict=False):
            for tag in tags:
                values = [Summary.Value(tag=tag, simple_value=loss)]
                event = Event(wall_time=1.7e9 + step, step=step, summary=Summary(value=values))
                writer.write(event.SerializeToString())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how long losses take to read.")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    seconds, processor = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_logs(folder, arguments.points)
        for path in sorted(folder.iterdir()):
            walls, spent = [], []
            for _ in range(arguments.rounds):
                wall, before = time.perf_counter(), time.process_time()
                (source,) = find_sources([path])
                series = read_series(source)
                replay(series, window=310, threshold=1e-9)
                walls.append(time.perf_counter() - wall)
                spent.append(time.process_time() - before)
            seconds[path.name] = round(statistics.median(walls), 2)
            processor[path.name] = round(statistics.median(spent), 2)
    print(
        json.dumps(
            {
                "machine": f"{platform.machine()}, {os.cpu_count()} processors",
                "points": arguments.points,
                "seconds": seconds,
                "processor_seconds": processor,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
