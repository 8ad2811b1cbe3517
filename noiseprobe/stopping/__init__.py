"""Stopping criteria: losses in, a decision out. One file per criterion, nothing of torch.

`DVAR` stops when the deterministic loss has stopped varying: var(last `window` values) / var(all
values so far) < `threshold` (Voronov et al., NeurIPS 2023, arXiv 2302.04841). Our own are
`GainShare`, which stops when the last losses brought too little of all that was gained,
`GainInterval`, which stops when that is sure, `RecentGain`, which sees it against the weights of
some steps before, and `Turn`, which looks at the losses of samples and
stops when they have surely risen. Beside them are those that others use: `Patience`, `EMAPlateau`,
`RelativeRange`, `TheilSen`, Prechelt's `GeneralizationLoss` and `Uprising`, and two that do not
look at the losses: `FixedSteps`, which stops after a number of steps, and `Never`. `CRITERIA` has
them by name, and `build` makes one. What is to be high, such as a similarity, is negated before a
criterion sees it (`as_losses`). `Held` lets what a criterion counts be steps where losses come at
every few of them. `PairedLoss` makes a series worth watching of the losses of two
models on the same draws.
"""

from noiseprobe.stopping.base import Grid, LossCriterion, NonFiniteLossWarning
from noiseprobe.stopping.catalogue import (
    CRITERIA,
    ON_MEANS,
    Outcome,
    as_losses,
    build,
    completed,
    criterion_named,
    outcome,
    to_be_high,
)
from noiseprobe.stopping.dvar import DVAR
from noiseprobe.stopping.dvar_recorded import (
    NEVER,
    dvar_grid,
    dvar_ratios,
    dvar_replayed,
    dvar_stops,
)
from noiseprobe.stopping.ema_plateau import EMAPlateau
from noiseprobe.stopping.fixed import FixedSteps, Never
from noiseprobe.stopping.gain_interval import GainInterval
from noiseprobe.stopping.gain_share import GainShare
from noiseprobe.stopping.generalization_loss import GeneralizationLoss
from noiseprobe.stopping.held import Held, bare
from noiseprobe.stopping.paired import PairedLoss
from noiseprobe.stopping.patience import Patience
from noiseprobe.stopping.recent_gain import RecentGain
from noiseprobe.stopping.relative_range import RelativeRange
from noiseprobe.stopping.theil_sen import TheilSen
from noiseprobe.stopping.turn import Turn
from noiseprobe.stopping.uprising import Uprising

__all__ = [
    "CRITERIA",
    "DVAR",
    "NEVER",
    "ON_MEANS",
    "EMAPlateau",
    "FixedSteps",
    "GainInterval",
    "GainShare",
    "GeneralizationLoss",
    "Grid",
    "Held",
    "LossCriterion",
    "Never",
    "NonFiniteLossWarning",
    "Outcome",
    "PairedLoss",
    "Patience",
    "RecentGain",
    "RelativeRange",
    "TheilSen",
    "Turn",
    "Uprising",
    "as_losses",
    "bare",
    "build",
    "completed",
    "criterion_named",
    "dvar_grid",
    "dvar_ratios",
    "dvar_replayed",
    "dvar_stops",
    "outcome",
    "to_be_high",
]
