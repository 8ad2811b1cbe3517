"""The names of the package, each said once; `__init__.py` imports what is asked for."""

from noiseprobe.analysis import noise_to_signal as noise_to_signal
from noiseprobe.analysis import published_noise_to_signal as published_noise_to_signal
from noiseprobe.analysis import variance_shares as variance_shares
from noiseprobe.analysis.replay import replay_grid as replay_grid
from noiseprobe.analysis.run_tables import analyze as analyze
from noiseprobe.core.errors import UserError as UserError
from noiseprobe.draws.draws import Draws as Draws
from noiseprobe.draws.factors import FACTORS as FACTORS
from noiseprobe.draws.factors import Setting as Setting
from noiseprobe.draws.factors import parse_setting as parse_setting
from noiseprobe.logs import read_series as read_series
from noiseprobe.logs import timestep_adjusted as timestep_adjusted
from noiseprobe.models import load_model as load_model
from noiseprobe.pictures.sampling import Sampler as Sampler
from noiseprobe.pictures.similarity import Clip as Clip
from noiseprobe.run.directory import Run as Run
from noiseprobe.run.resolving import resolve as resolve
from noiseprobe.run.settings import RunConfig as RunConfig
from noiseprobe.stages.pipeline import resume_all as resume_all
from noiseprobe.stages.pipeline import run_all as run_all
from noiseprobe.stages.reporting import write_report as write_report
from noiseprobe.stages.reproducing import reproduce as reproduce
from noiseprobe.stopping import DVAR as DVAR
from noiseprobe.stopping import EMAPlateau as EMAPlateau
from noiseprobe.stopping import FixedSteps as FixedSteps
from noiseprobe.stopping import GainInterval as GainInterval
from noiseprobe.stopping import GainShare as GainShare
from noiseprobe.stopping import GeneralizationLoss as GeneralizationLoss
from noiseprobe.stopping import Never as Never
from noiseprobe.stopping import PairedLoss as PairedLoss
from noiseprobe.stopping import Patience as Patience
from noiseprobe.stopping import RecentGain as RecentGain
from noiseprobe.stopping import RelativeRange as RelativeRange
from noiseprobe.stopping import TheilSen as TheilSen
from noiseprobe.stopping import Turn as Turn
from noiseprobe.stopping import Uprising as Uprising
from noiseprobe.training.concept import Concept as Concept
from noiseprobe.training.concept import load_concept as load_concept
from noiseprobe.training.live_losses import fixed_losses as fixed_losses
from noiseprobe.training.tracker import Tracker as Tracker

__all__: list[str]
