"""Cross-validation over photographs: the held-out loss with each of them left out once."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from noiseprobe.analysis.intervals import mean_interval
from noiseprobe.core.errors import UserError


def crossed(traces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The held-out loss against its start, averaged over trainings that left out one each.

    Args:
        traces: the training trace of each, with `l_val` at its start.

    Returns:
        One row per step at which all have `l_val`: step, mean, low, high, folds. `mean` is that of
        l_val less l_val at step 0, `low` and `high` its 95% interval over the photographs left out
        (Student's; NaN with one): a thing's photographs are few, and each decides much. `folds` is
        how many there are.

    Raises:
        UserError: they have no step in common at which all have a finite l_val.
    """
    curves = [_finite(trace.set_index("step")["l_val"]) for trace in traces]
    table: pd.DataFrame = pd.concat(curves, axis=1, join="inner") if curves else pd.DataFrame()
    if table.empty or table.index[0] != 0:
        raise UserError(
            "l_val: the trainings that leave one photograph out have no common curve; finish them, "
            "with --resume"
        )
    changes = (table - table.iloc[0]).to_numpy()
    mean, low, high = mean_interval(changes)
    frame = pd.DataFrame({"step": table.index, "mean": mean, "low": low, "high": high})
    return frame.assign(folds=len(curves)).reset_index(drop=True)


def _finite(curve: "pd.Series[float]") -> "pd.Series[float]":
    return curve[np.isfinite(curve)]


def recommended(table: pd.DataFrame) -> int:
    """The step, after the start, at which what `crossed` returns is lowest on average."""
    later = table[table["step"] > 0]
    return int(later["step"].iloc[int(later["mean"].argmin())])
