"""The gap between photographs that are trained on and those that are held out, from their probes.

Draws are compared with themselves at the first checkpoint: what timesteps and noise differ by then
cancels. What a photograph is does not: intervals are over draws, for these very photographs.
"""

import math

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from noiseprobe.analysis.intervals import LEVEL, Floats, mean_interval
from noiseprobe.analysis.timesteps import BINS, bin_of, edges, paired_draws
from noiseprobe.core.errors import UserError

_NUMBERS = [f"{name}{end}" for name in ("trained", "held", "gap") for end in ("", "_low", "_high")]


def gaps(trained: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
    """The change of the expected loss since the first checkpoint, on both kinds of photographs.

    Args:
        trained: the probe trace of the photographs that were trained on (`Run.probe_trace`).
        held: that of the held-out ones (`Run.held_out_trace`).

    Returns:
        One row per checkpoint that both have: step, trained, held, gap (held less trained), each
        with its 95% interval, …_low and …_high: Student's over draws, Welch's for the gap.

    Raises:
        UserError: one was not probed with a setting that redraws timesteps, at two checkpoints.
    """
    ours, theirs = _changes(trained)[0], _changes(held)[0]
    steps = [step for step in ours.columns if step in theirs.columns]
    rows = []
    for step in steps:
        rows.append((step, *_numbers(ours[step].to_numpy(), theirs[step].to_numpy())))
    return pd.DataFrame(rows, columns=["step", *_NUMBERS])


def gap_by_timestep(
    trained: pd.DataFrame, held: pd.DataFrame, *, bins: int = BINS, num_timesteps: int = 1000
) -> pd.DataFrame:
    """The same by bins of timesteps, at the last checkpoint that both have.

    Returns:
        One row per bin: bin, from, to (timesteps, `to` not included), then the columns of `gaps`
        but for the step. A bin without two draws of a kind has no interval.
    """
    table: list[tuple[float, ...]] = []
    both = [_changes(trace) for trace in (trained, held)]
    last = max(set(both[0][0].columns) & set(both[1][0].columns))
    for index in range(bins):
        here = [
            changes[last].to_numpy()[bin_of(timesteps, bins, num_timesteps) == index]
            for changes, timesteps in both
        ]
        table.append((index, *edges(index, bins, num_timesteps), *_numbers(*here)))
    return pd.DataFrame(table, columns=["bin", "from", "to", *_NUMBERS])


def _changes(trace: pd.DataFrame) -> tuple[pd.DataFrame, Floats]:
    """The loss of each draw less that at the first checkpoint, and the timestep of each draw.

    There is a row per draw and a column per step.
    """
    losses, timesteps = paired_draws(trace)
    if losses.shape[1] < 2 or losses.empty:
        raise UserError(
            "--held-out: both kinds of photographs are to be probed at two checkpoints with a "
            "setting that redraws timesteps, such as original; probe them again with it"
        )
    return losses.sub(losses.iloc[:, 0], axis=0), timesteps


def _numbers(trained: Floats, held: Floats) -> tuple[float, ...]:
    """Of the changes of both kinds, in the order of `_NUMBERS`."""
    return (*_interval(trained), *_interval(held), *_welch(trained, held))


def _interval(changes: Floats) -> tuple[float, float, float]:
    mean, low, high = mean_interval(np.asarray(changes, dtype=np.float64))
    return float(mean), float(low), float(high)


def _welch(trained: Floats, held: Floats) -> tuple[float, float, float]:
    """The difference of two means and Welch's interval (Biometrika 34, 1947)."""
    if min(len(trained), len(held)) < 2:
        return math.nan, math.nan, math.nan
    gap = float(held.mean() - trained.mean())
    own = [float(each.var(ddof=1)) / len(each) for each in (trained, held)]
    squared = sum(own)
    if squared == 0:
        return gap, gap, gap
    freedom = squared**2 / sum(
        each**2 / (len(values) - 1) for each, values in zip(own, (trained, held), strict=True)
    )
    reach = float(stdtrit(freedom, 1 - (1 - LEVEL) / 2)) * math.sqrt(squared)
    return gap, gap - reach, gap + reach
