"""How often `GainInterval` errs where all is known: at one look, and in whole runs.

    python -m experiments.paired.simulation

Writes `simulation.csv` beside this file. `held`: of windows that bring the share exactly, how many
the interval holds, under noise that is normal, or of Student's t with 4 degrees of freedom and
another scale at each step. `early`: of runs whose gain is 1 - e^(-step / tau), with noise that
grows as the root of the gain, how many stop before the noise-free one.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.core.files import written_whole
from noiseprobe.stopping import GainInterval, outcome

SHARE, CONFIDENCE = 0.1, 0.95
STEPS = 600


def main() -> None:
    """Simulate both and write the table."""
    random = np.random.default_rng(0)
    rows: list[dict[str, object]] = [
        {"kind": "held", "noise": noise, "window": window, "share": held(random, window, noise)}
        for noise in ("normal", "uneven")
        for window in (5, 10, 20, 60)
    ]
    rows += [
        {"kind": "early", "noise": noise, "tau": tau, "window": window}
        | {"share": early(random, window, noise, tau)}
        for tau in (40, 80)
        for noise in (0.1, 0.3, 0.6)
        for window in (20, 40, 60)
    ]
    table = pd.DataFrame(rows)
    with written_whole(Path(__file__).with_suffix(".csv")) as beside:
        table.to_csv(beside, index=False, float_format="%.4g")
    print(table.to_string(index=False))


def held(random: np.random.Generator, window: int, noise: str, runs: int = 4000) -> float:
    """How often the interval holds a gain of exactly the share, from straight falls."""
    shape = runs, 2 * window
    trend = SHARE - 1 - SHARE * (np.arange(2 * window) - (window - 1) / 2) / window
    errors = random.normal(size=shape)
    if noise == "uneven":
        errors = random.standard_t(4, shape) * np.exp(random.normal(0, 0.5, shape))
    fired = []
    for each in trend + errors:
        criterion = GainInterval(window, SHARE, CONFIDENCE)
        fired.append([criterion.update(loss) for loss in (0.0, *each.tolist())][-1])
    return 1 - float(np.mean(fired))


def early(
    random: np.random.Generator, window: int, noise: float, tau: float, runs: int = 300
) -> float:
    """How often a run stops before its expected gains alone would end it."""
    gain = 1 - np.exp(-np.arange(STEPS) / tau)
    known = outcome(GainInterval(window, SHARE, 0.5), -gain).stop_index or STEPS
    spread = noise * np.sqrt(gain)
    found = [stop(spread * random.normal(size=STEPS) - gain, window) for _ in range(runs)]
    return float(
        np.mean([each is not None and known is not None and each < known for each in found])
    )


def stop(losses: NDArray[np.float64], window: int) -> int | None:
    """Where the criterion fires."""
    return outcome(GainInterval(window, SHARE, CONFIDENCE), losses).stop_index


if __name__ == "__main__":
    main()
