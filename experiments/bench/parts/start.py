"""What a user waits for before anything happens: whole processes, beside one that imports torch."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from experiments.bench.measured import Asked, Goal, Row, interleaved

ROOT = Path(__file__).parents[3]


def measure(asked: Asked) -> Iterator[Row]:
    """A row for each."""
    if not asked.budget.fits("start", asked.of(0, 0, 50)):
        return
    python = [sys.executable]
    first = [*python, "-m", "experiments.bench.first_step", str(asked.device)]
    words = {
        "import noiseprobe": [*python, "-c", "import noiseprobe"],
        "noiseprobe --help": [*python, "-m", "noiseprobe", "--help"],
        "import torch": [*python, "-c", "import torch"],
        "first step": first,
    }

    def seconds(name: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            more = [str(Path(folder) / "run")] if name == "first step" else []
            return asked.timed(lambda: call([*words[name], *more]))

    for name in () if asked.size == "tiny" else words:
        seconds(name)  # files are read and modules compiled before
    kinds = {name: partial(seconds, name) for name in words}
    found = interleaved(kinds, asked.rounds, asked.budget.left / 2)
    torch = found["import torch"]
    quick = {"import noiseprobe": 0.1, "noiseprobe --help": 0.2}
    for name, limit in quick.items():
        what = f"`{name}`, whole process"
        goal = Goal("at most", limit)
        yield Row(what, "`import torch` alone", "ours", "s", found[name], torch, goal)
    what = f"up to the end of the first training step, tiny-sd on {asked.device.type}"
    against = "`import torch` alone, whole process"
    goal = Goal("at most", 1.3)
    yield Row(what, against, "ours / theirs", "s", found["first step"], torch, goal)


def call(command: list[str]) -> None:
    """Run a command to its end; raises `RuntimeError` with what it said where it fails."""
    environment = {key: each for key, each in os.environ.items() if key != UNCACHED}
    ended = subprocess.run(  # nosec B603 # our own words
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if ended.returncode:
        raise RuntimeError(f"{command[1:4]}: {ended.stderr[-500:]}")


UNCACHED = "PYTHONDONTWRITEBYTECODE"
"""With it, every start compiles all modules anew."""
