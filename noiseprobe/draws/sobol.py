"""The design that variance shares are estimated from; `noiseprobe.analysis.sobol` analyses it.

A pair is two independent draws of all factors, A and B. Beside them it has, for each factor i, A
with i taken from B (`AB_i`) and B with i taken from A (`BA_i`): rows that differ in i alone, and
rows that share i alone (Saltelli et al., Computer Physics Communications 181, 2010). Pair r takes
the replicates 2r - 1 and 2r of the probe's draws for A and B, so that a row of the design is
nothing but which replicate each factor takes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noiseprobe.draws.draws import Batch, Draws, Needed
from noiseprobe.draws.factors import FACTORS

_EACH = np.eye(len(FACTORS), dtype=np.int64)

SOBOL_ROWS: dict[str, NDArray[np.int64]] = {
    "A": np.zeros(len(FACTORS), dtype=np.int64),
    "B": np.ones(len(FACTORS), dtype=np.int64),
    **{f"AB_{factor}": _EACH[index] for index, factor in enumerate(FACTORS)},
    **{f"BA_{factor}": 1 - _EACH[index] for index, factor in enumerate(FACTORS)},
}
"""The rows of a pair: by name, whether each factor comes from A (0) or from B (1)."""


@dataclass(frozen=True)
class Design:
    """What a checkpoint is evaluated on: n rows of the design, and the m draws that they need.

    `names` (n,) of `SOBOL_ROWS`, `pairs` (n,) from 1, `samples` (n,). Rows whose draws coincide,
    because a factor came out alike in A and B, are evaluated once: row k is the draw `which[k]`,
    with the replicates `replicates` (m, factors) and the sample `evaluated` (m,).
    """

    names: NDArray[np.str_]
    pairs: NDArray[np.int64]
    samples: NDArray[np.int64]
    replicates: NDArray[np.int64]
    evaluated: NDArray[np.int64]
    which: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def keys(self) -> list[tuple[str, int, int]]:
        """The name, pair and sample of each row."""
        columns = self.names.tolist(), self.pairs.tolist(), self.samples.tolist()
        return list(zip(*columns, strict=True))

    def batch(self, draws: Draws, part: slice) -> Batch:
        """Some of the draws that the rows need."""
        return self.needed(draws).batch(draws, part)

    def needed(self, draws: Draws) -> Needed:
        """The draws that the rows need, which were found out when this was made."""
        return Needed(self.replicates, self.evaluated, self.which)

    def part(self, rows: NDArray[np.int64]) -> "Design":
        """Those rows alone, with the draws that they need."""
        needed, which = np.unique(self.which[rows], return_inverse=True)
        return Design(
            self.names[rows],
            self.pairs[rows],
            self.samples[rows],
            self.replicates[needed],
            self.evaluated[needed],
            which,
        )


def sobol_design(draws: Draws, pairs: int, batch: int) -> Design:
    """The design of `pairs` pairs, each of the samples 0 … `batch` - 1, as `draws` come out.

    A row's batch is its `batch` samples: each of them draws every factor on its own, and so has
    pairs of its own.
    """
    row, pair, sample = (
        index.ravel()
        for index in np.meshgrid(
            np.arange(len(SOBOL_ROWS)), np.arange(1, pairs + 1), np.arange(batch), indexing="ij"
        )
    )
    from_b = np.array(list(SOBOL_ROWS.values()))[row]
    of_a = 2 * pair - 1
    for index, factor in enumerate(FACTORS):
        here = row == 0
        alike = draws.alike(factor, sample[here], of_a[here], of_a[here] + 1)
        from_b[np.tile(alike, len(SOBOL_ROWS)), index] = 0
    needed = np.column_stack([of_a[:, None] + from_b, sample])
    distinct, which = np.unique(needed, axis=0, return_inverse=True)
    return Design(
        names=np.array(list(SOBOL_ROWS))[row],
        pairs=pair,
        samples=sample,
        replicates=distinct[:, :-1],
        evaluated=distinct[:, -1],
        which=which.ravel(),
    )
