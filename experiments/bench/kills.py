"""Kill commands at random moments and go on with them: how many end as if nothing had happened.

    python -m experiments.bench.kills --kills 100

Each round trains or runs the bundled model for some steps in a process of its own, which is killed
by SIGKILL at a random moment between its start and its end, as often as `--each` says; then `run`
goes on to the end. What is recorded has to be, but for seconds, that of a run that nobody killed,
and `verify` has to find nothing. Prints one JSON document.
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.run.directory import Run
from noiseprobe.run.verifying import findings

FLAGS = {
    "textual-inversion": ["--steps", "12", "--checkpoint-every", "3", "--hold-out", "1"],
    "dreambooth-lora": ["--steps", "6", "--checkpoint-every", "3", "--track", "paired"],
}
PROBE = ["--replicates", "2", "--probe-batch", "2"]


def main() -> None:
    """Kill, go on, compare, and print the counts."""
    parser = argparse.ArgumentParser(description="Kill commands at random moments.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=4, help="kills of one run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    killed: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        whole = {method: reference(Path(name) / method, method) for method in FLAGS}
        while sum(killed.values()) < given.kills:
            method = chance.choice(sorted(FLAGS))
            place, (expected, seconds) = Path(name) / "run", whole[method]
            shutil.rmtree(place, ignore_errors=True)
            told: list[str] = []
            for _ in range(given.each):
                command = chance.choice(["train", "run"])
                process = begun(command, place, method)
                time.sleep(chance.uniform(0, seconds))
                alive = process.is_alive()
                process.kill()
                process.join()
                killed[f"{command}, {method}"] += alive
                told.append(command if alive else f"{command} (had ended)")
            process = begun("run", place, method)
            process.join()
            found = differences(Run(place), expected)
            if process.exitcode:
                found.append(f"exit code {process.exitcode}")
            survived[method] += not found
            wrong += [f"{method}, {told}: {each}" for each in found]
    document = {
        "killed": dict(sorted(killed.items())),
        "runs": sum(survived.values()) + len({each.partition(":")[0] for each in wrong}),
        "as_if_nothing_had_happened": sum(survived.values()),
        "wrong": wrong,
    }
    print(json.dumps(document, indent=2))
    if wrong:
        sys.exit(1)


def reference(place: Path, method: str) -> tuple[dict[str, str], float]:
    """What a run that nobody kills records, and how long it takes."""
    started = time.monotonic()
    process = begun("run", place, method)
    process.join()
    if process.exitcode:
        sys.exit(f"the run that nobody killed ended with exit code {process.exitcode}")
    return recorded(Run(place)), time.monotonic() - started


def begun(command: str, place: Path, method: str) -> multiprocessing.context.ForkProcess:
    """The command, new or going on with what is in `place`, in a process that has all imported."""
    probing = PROBE if command == "run" else []
    if (place / "config.toml").exists():
        words = [command, "--out", str(place), "--resume", *probing]
    else:
        words = [command, "--out", str(place), "--method", method, *FLAGS[method], *probing]
    process = multiprocessing.get_context("fork").Process(target=_called, args=(words,))
    process.start()
    return process


def _called(words: list[str]) -> None:
    from noiseprobe.__main__ import main as noiseprobe

    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        sys.argv = ["noiseprobe", *words]
        noiseprobe()


def recorded(run: Run) -> dict[str, str]:
    """The checksum of all that a run says but how long it took, by file."""
    found = {}
    for name in ("train", "tracked", "probe"):
        trace = getattr(run, f"{name}_trace")()
        trace = trace.loc[:, [not str(column).endswith("seconds") for column in trace]]
        found[name] = hashlib.sha256(trace.to_csv().encode()).hexdigest()
    for folder in (run.checkpoints_directory, run.result_directory):
        for file in manifest.files_in(folder):
            name = str(file.relative_to(run.directory))
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def differences(run: Run, expected: dict[str, str]) -> list[str]:
    """What a run that was killed has other than one that was not."""
    try:
        now = recorded(run)
        wrong = [str(each) for each in findings(run) if each.wrong]
    except UserError as error:
        return [str(error)]
    other = [name for name in expected | now if expected.get(name) != now.get(name)]
    return [*(f"{name} differs" for name in other), *wrong]


if __name__ == "__main__":
    main()
