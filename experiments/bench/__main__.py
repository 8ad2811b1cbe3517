"""Measure what a user waits for and what it is held against, part by part; README.md has it.

    python -m experiments.bench
    python -m experiments.bench --gpu --minutes 9 --out DIR
    python -m experiments.bench --only dvar start

Writes `results-DEVICE.json` after each part, and at the end `README.md` of all results that are in
the folder. Results of parts that are not measured stay as they were. Where something fails, the
rest is measured, and the exit code is 1.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
import transformers

from experiments.bench.measured import Asked, Budget
from experiments.bench.parts import PARTS, measure
from experiments.bench.readme import cells, write_page
from experiments.bench.results import Part, about_this, file_of, read, write
from noiseprobe.cli.ends import QUIET_LIBRARIES

FOLDER = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and say what was found; the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--gpu", action="store_true", help="published shapes, on CUDA")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), help="parts (default: all)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="a folder (default: this one)")
    parser.add_argument("--minutes", type=float, help="what does not fit into them is left out")
    parser.add_argument("--rounds", type=int, help="of each measurement (default: 5, on CUDA 3)")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for tests
    chosen = parser.parse_args(given)
    if chosen.gpu and not (torch.cuda.is_available() or chosen.tiny):
        parser.error("--gpu: PyTorch sees no CUDA here")
    asked = Asked(
        device=torch.device("cuda" if chosen.gpu and torch.cuda.is_available() else "cpu"),
        size="tiny" if chosen.tiny else "real" if chosen.gpu else "small",
        precision="bf16" if chosen.gpu else "fp32",
        rounds=chosen.rounds or (1 if chosen.tiny else 3 if chosen.gpu else 5),
        budget=Budget(chosen.minutes and 60 * chosen.minutes),
    )
    quiet()
    file = file_of(chosen.out, asked.device, asked.size)
    parts, failed = read(file), False
    for name in PARTS if chosen.only is None else chosen.only:
        parts[name], fails = measured(name, asked, given)
        failed |= fails
        write(file, parts)
    write_page(chosen.out)
    return int(failed)


def quiet() -> None:
    """Let libraries say errors alone, here and in children."""
    os.environ.update(QUIET_LIBRARIES)
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def measured(name: str, asked: Asked, given: Sequence[str]) -> tuple[Part, bool]:
    """What a part finds, said as it is found; and whether it failed before its end."""
    started, rows, budget = time.monotonic(), [], asked.budget
    budget.left_out, budget.failed = [], False
    try:
        for row in measure(name, asked):
            rows.append(row)
            print(f"{name}: " + " | ".join(cells(row)), file=sys.stderr, flush=True)
    except Exception as error:  # the other parts are measured all the same
        budget.fail("the rest", error)
    for each in budget.left_out:
        print(f"{name}: left out: {each}", file=sys.stderr, flush=True)
    seconds = time.monotonic() - started
    return Part(rows, budget.left_out, seconds, about_this(asked.device, given)), budget.failed


if __name__ == "__main__":
    sys.exit(main())
