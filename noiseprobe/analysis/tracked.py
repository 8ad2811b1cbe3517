"""How a loss on one fixed batch has changed since its start, and how sure that is."""

import numpy as np
import pandas as pd

from noiseprobe.analysis.intervals import mean_interval
from noiseprobe.run.traces import samples_of


def changes(tracked: pd.DataFrame, name: str) -> pd.DataFrame:
    """The mean change of the samples' losses since the first evaluation.

    Args:
        tracked: the losses of samples, `Run.tracked_trace` or `Tracker.samples`.
        name: of the tracked loss, such as "l_val".

    Returns:
        One row per evaluation: step, change, low, high: the mean over the samples of loss less its
        first, and Student's 95% interval, in units of the loss. The draws are the same at every
        step, so that what they differ by cancels. The interval is over draws, of these very
        photographs; of stratified draws it is on the wide side. Evaluations with a loss that is not
        finite are left out.
    """
    losses = samples_of(tracked, name)
    losses = losses.loc[np.isfinite(losses.to_numpy()).all(axis=1).tolist()]
    if losses.empty:
        return pd.DataFrame({"step": [], "change": [], "low": [], "high": []}).astype(
            {"step": "int64"}
        )
    changed = losses.to_numpy() - losses.to_numpy()[0]
    change, low, high = mean_interval(changed)
    steps = losses.index.astype("int64")
    return pd.DataFrame({"step": steps, "change": change, "low": low, "high": high})
