"""Study the 48 concepts: what noise there is, what is learned, and when DVAR should stop.

    python -m experiments.defaults --out runs/defaults --workers 4

Trains textual inversion on each concept to the last step, probes it, and draws at every checkpoint;
fine-tunes the whole UNet on twelve. Writes the numbers as CSV, and `RESULTS.md` and `summary.json`
with what they say, beside this file. What is already finished in `--out` is not repeated.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from experiments.comparison.runs import PUBLISHED
from experiments.defaults.study import STUDIED, full_fine_tuning, one_thread, textual_inversion
from experiments.defaults.tables import write_results
from experiments.tiny_sd.concepts import every, tuned, write
from noiseprobe.draws.factors import FACTORS

HERE = Path(__file__).parent
SETTINGS = {
    "steps": 300,
    "checkpoint_every": 30,
    "replicates": 4,
    "settings": ("deterministic", *FACTORS),
    "fixed_batch": PUBLISHED,
    "device": "cpu",
}
PROBE_EVERY = 60
FULL_STEPS, FULL_EVERY, FULL_LEARNING_RATE = 1000, 200, 3e-4


def main() -> None:
    """Parse the command line, study every concept, write the tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.defaults", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/defaults"))
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--concepts", nargs="*", metavar="NAME", help="default: all 48")
    parser.add_argument("--steps", type=int, default=SETTINGS["steps"])
    parser.add_argument("--learning-rate", type=float, help="default: that of the bundled model")
    parser.add_argument("--full-steps", type=int, default=FULL_STEPS)
    parser.add_argument("--full-learning-rate", type=float, default=FULL_LEARNING_RATE)
    parser.add_argument("--results", type=Path, default=HERE)
    arguments = parser.parse_args()
    things = [
        thing for thing in every() if not arguments.concepts or thing.name in arguments.concepts
    ]
    photographs = arguments.out / "photographs"
    write(things, photographs)
    # Those that the defaults are chosen on come first, so that a cut study can still choose.
    first = [thing.name for thing in things if thing.name in tuned()]
    names = first + [thing.name for thing in things if thing.name not in first]
    settings = SETTINGS | {"steps": arguments.steps, "learning_rate": arguments.learning_rate}
    full = (arguments.full_steps, FULL_EVERY, arguments.full_learning_rate)
    jobs: dict[str, Any] = {}
    for name in names:
        out = arguments.out / "inversion" / name
        if not (out / STUDIED).is_file():
            jobs[name] = (textual_inversion, photographs / name, out, settings, PROBE_EVERY)
    for name in first:
        out = arguments.out / "full" / name
        if not (out / STUDIED).is_file():
            jobs[f"{name}, whole UNet"] = (full_fine_tuning, photographs / name, out, *full)
    failed = work(jobs, arguments.workers)
    write_results(arguments.out, names, arguments.results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def work(jobs: dict[str, Any], workers: int) -> list[str]:
    """Do the jobs in so many processes; the names of those that failed."""
    failed = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=one_thread) as pool:
        running = {pool.submit(*job): name for name, job in jobs.items()}
        for done, future in enumerate(as_completed(running), 1):
            name, error = running[future], future.exception()
            print(f"{done}/{len(jobs)} {name}{f': {error!r}' if error else ''}", file=sys.stderr)
            failed += [name] if error else []
    return failed


if __name__ == "__main__":
    main()
