"""Measure what thousands of checkpoints of another trainer take to find and to load, as JSON.

    python -m experiments.bench.foreign

Each count is measured in a process of its own: memory is the peak of the whole process. The files
are LoRA of about `--megabytes` for the bundled model, of the largest rank that has this size; a few
are written, and the others are hard links to them, each with its own step in its name. Finding
reads headers alone; loading puts `--load` of them, evenly spaced, or all, into the live model.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from noiseprobe.run.foreign import find

COUNTS = (10, 100, 2000)
DISTINCT = 4
CAPTION = "a photo of a striped cup"


def write_files(folder: Path, count: int, megabytes: float) -> None:
    """Write a series of LoRA files, of which a few are real and the others are links to them."""
    import torch
    from safetensors.torch import save_file

    from noiseprobe.models import load_model
    from noiseprobe.run.defaults import BUNDLED_MODEL

    attention = ("to_q", "to_k", "to_v", "to_out.0")
    unet: Any = load_model(BUNDLED_MODEL, "cpu").denoiser
    layers = {
        name: module.weight.shape
        for name, module in unet.named_modules()
        if name.endswith(attention)
    }
    rank = int(megabytes * 1e6 / 4 / sum(sum(shape) for shape in layers.values()))
    random = torch.Generator().manual_seed(0)
    for number in range(1, count + 1):
        file = folder / f"dog-step{number:08d}.safetensors"
        if number > DISTINCT:
            os.link(folder / f"dog-step{(number - 1) % DISTINCT + 1:08d}.safetensors", file)
            continue
        tensors = {}
        for name, (outputs, inputs) in layers.items():
            for half, shape in (("lora_A", (rank, inputs)), ("lora_B", (outputs, rank))):
                drawn = torch.randn(shape, generator=random) * 0.01
                tensors[f"unet.{name}.{half}.weight"] = drawn
        save_file(tensors, file)


def peak() -> int:
    """Of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measured(folder: Path, count: int, load: int | None) -> dict[str, Any]:
    """Find the first `count` files and load some of them in turn."""
    files = [str(each) for each in sorted(folder.glob("*.safetensors"))[:count]]
    started = time.perf_counter()
    found = find(files, "base")
    finding = time.perf_counter() - started
    told: dict[str, Any] = {
        "files": len(found.steps) - 1,
        "seconds_per_file_found": round(finding / count, 6),
        "peak_mb_after_finding": peak(),
    }
    from noiseprobe.run.defaults import DEFAULT_CONCEPT
    from noiseprobe.stages.foreign import find_series, settings_of
    from noiseprobe.training.preparing import prepare

    given = {"concept": DEFAULT_CONCEPT, "device": "cpu"}
    series = find_series(files, given, CAPTION)
    ready = prepare(settings_of(series, given), series=series)
    told["peak_mb_of_the_model"] = peak()
    places = range(1, count + 1, max(1, count // load) if load else 1)
    started, after_two = time.perf_counter(), 0
    for number, place in enumerate(places, start=1):
        ready.method.restore(series.checkpoints[place].path)
        after_two = peak() if number == 2 else after_two
    loading = time.perf_counter() - started
    return told | {
        "loaded": len(places),
        "seconds_per_file_loaded": round(loading / len(places), 3),
        "peak_mb_after_loading_two": after_two,
        "peak_mb_after_loading": peak(),
    }


def main() -> None:
    """Write the files, measure each count, and print."""
    parser = argparse.ArgumentParser(description="Measure checkpoints of another trainer.")
    parser.add_argument("--megabytes", type=float, default=100.0, help="of one file")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--load", type=int, help="how many are loaded; by default all")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.write:
        write_files(told.folder, told.counts[0], told.megabytes)
        return
    if told.folder:
        print(json.dumps(measured(told.folder, told.counts[0], told.load)))
        return
    with tempfile.TemporaryDirectory() as name:

        def run(count: int, *words: str) -> str:
            """In a process of its own: the peak of one begins with that of its parent."""
            launch = [sys.executable, "-m", "experiments.bench.foreign", "--folder", name]
            command = [*launch, "--counts", str(count), *words]
            return subprocess.check_output(command, text=True)  # nosec B603 # our own words

        run(max(told.counts), "--write", "--megabytes", str(told.megabytes))
        size = next(Path(name).iterdir()).stat().st_size
        words = ["--load", str(told.load)] if told.load else []
        rows = [json.loads(run(count, *words)) for count in told.counts]
    print(json.dumps({"megabytes_per_file": round(size / 1e6, 1), "counts": rows}, indent=2))


if __name__ == "__main__":
    main()
