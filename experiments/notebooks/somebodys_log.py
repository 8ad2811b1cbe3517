# mypy: ignore-errors
# %% [markdown]
# # Somebody's log: when could it have stopped?
#
# Any trainer's log will do: TensorBoard events, CSV, JSON Lines, W&B exports. This one is written
# here, with a training loss that jumps and a validation loss every ten steps.
# %%
import numpy as np
import pandas as pd

import noiseprobe
from noiseprobe.analysis.replay import replay_criterion

random = np.random.default_rng(0)
step = np.arange(1, 601)
falling = 0.1 + 0.1 * np.exp(-step / 80)
log = pd.DataFrame({"step": step, "loss": falling * random.gamma(4, 0.25, step.size)})
log["loss/validation"] = np.where(
    step % 10 == 0, falling + random.normal(0, 0.001, step.size), np.nan
)
log.to_csv("log.csv", index=False)
# %%
series = noiseprobe.read_series("log.csv", "loss/validation")
series.steps[:5], series.values[:5].round(4)
# %% [markdown]
# Where each criterion would have ended it.
# %%
criteria = {
    "dvar": {"window": 0.5, "threshold": 0.3},
    "patience": {"patience": 10},
    "theil-sen": {"window": 0.5},
}
pd.DataFrame(
    [
        {
            "criterion": name,
            "stop": found.stop_step,
            "loss there": found.loss_at_stop,
            "saved": found.saved_fraction,
        }
        for name, params in criteria.items()
        for found in [replay_criterion(series, name, params)]
    ]
).set_index("criterion").astype({"stop": "Int64"})
# %% [markdown]
# And over many windows (rows) and thresholds (columns) of DVAR.
# %%
noiseprobe.replay_grid(series, [0.3, 0.5, 0.7], [0.05, 0.1, 0.2, 0.3])
