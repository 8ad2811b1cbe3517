"""Run the corpus, and print what is wrong and how many cases there are of each kind."""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.bad_inputs.corpus import corpus
from tests.bad_inputs.running import serving
from tests.bad_inputs.shared import made


def main(words: list[str]) -> int:
    """Run the cases whose names hold all `words`; 1 if any ended wrongly."""
    chosen = [case for case in corpus() if all(word in case.name for word in words)]
    bad: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    slowest: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as name, serving(made(Path(name))) as server:
        for case in chosen:
            begun = time.process_time()
            end = server.run(case)
            kind = case.name.split("/")[0]
            seconds[kind] += end.told["cpu_seconds"] + time.process_time() - begun
            slowest.append((end.told["cpu_seconds"] + time.process_time() - begun, case.name))
            for each in (found := end.wrong(case)):
                print(f"{case.name!r}: {each}")
            if found:
                bad[kind] += 1
                print("   ", repr(end.told["stderr"][-400:]))
    counts = Counter(case.name.split("/")[0] for case in chosen)
    for kind, count in counts.items():
        print(f"{kind}: {count} cases, {bad[kind]} wrong, {seconds[kind]:.1f} s of computing")
    for spent, name in sorted(slowest, reverse=True)[:12]:
        print(f"{spent:.1f} s: {name}")
    print(f"all: {counts.total()} cases, {bad.total()} wrong, {seconds.total():.1f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
