"""Variance shares of the batch loss: how much of it each factor explains, at each checkpoint.

A share of the batch loss does not depend on the batch: its samples draw every factor on their own,
so that all parts of the variance of their mean shrink alike, by the number of samples. A batch of
the design is therefore cut into smaller ones of at least 4 samples, which are as many more pairs:
the intervals are narrower, by a third for a batch of 8. Single samples would make them narrower
still, but their losses are so skewed that the intervals would miss too often
(experiments/shares/RESULTS.md).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from noiseprobe.analysis.sobol import sobol_indices, sobol_interactions
from noiseprobe.draws.factors import FACTORS
from noiseprobe.draws.sobol import SOBOL_ROWS

SMALLEST_BATCH = 4
"""Samples in the batches that the design's are cut into, if its size can be divided so."""

Floats = NDArray[np.float64]


def variance_shares(sobol: pd.DataFrame) -> pd.DataFrame:
    """First-order and total Sobol indices of the batch loss over the five factors, by checkpoint.

    The first-order index is the share of the variance that goes away where the factor alone is
    fixed; the total one is what stays where all others are fixed. What first-order indices lack to
    1 is interaction. A checkpoint's rows are those of `noiseprobe.analysis.sobol.sobol_indices`.

    Args:
        sobol: the trace of the design (`noiseprobe.run.directory.Run.sobol_trace`).

    Returns:
        Columns step, factor, first, first_low, first_high, total, total_low, total_high; sorted by
        step, factors in canonical order. Empty if nothing was probed.
    """
    tables = [
        sobol_indices(*_rows(part), names=FACTORS).reset_index().assign(step=step)
        for step, part in sobol.groupby("step")
    ]
    return _joined(tables, ["step", "factor"])


def interactions(sobol: pd.DataFrame) -> pd.DataFrame:
    """Second-order Sobol indices by checkpoint: columns step, first, second, share, low, high."""
    tables = [
        sobol_interactions(*_rows(part), names=FACTORS).assign(step=step)
        for step, part in sobol.groupby("step")
    ]
    return _joined(tables, ["step", "first", "second"])


def small_batch(size: int) -> int:
    """The smallest divisor of a batch's size that is at least `SMALLEST_BATCH`; or the size."""
    divisors = [each for each in range(SMALLEST_BATCH, size) if size % each == 0]
    return min(divisors, default=size)


def _rows(checkpoint: pd.DataFrame) -> tuple[Floats, Floats, Floats, Floats]:
    """a, b (n,), ab and ba (n, factors): the batch losses of one checkpoint's design."""
    losses = checkpoint.pivot(index=["replicate", "sample"], columns="setting", values="loss")
    losses = losses.sort_index().reindex(columns=list(SOBOL_ROWS)).astype("float64")
    size = losses.index.get_level_values("sample").nunique()
    small = small_batch(size)
    batches = losses.to_numpy().reshape(-1, small, len(SOBOL_ROWS)).mean(axis=1)
    count = len(FACTORS)
    return batches[:, 0], batches[:, 1], batches[:, 2 : 2 + count], batches[:, 2 + count :]


def _joined(tables: list[pd.DataFrame], first: list[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=first)
    table = pd.concat(tables, ignore_index=True)
    return table[first + [column for column in table.columns if column not in first]]
