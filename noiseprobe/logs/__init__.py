"""Recorded losses from a run, or from the log that any other tool wrote."""

from noiseprobe.logs.adjusting import timestep_adjusted
from noiseprobe.logs.finding import find_sources
from noiseprobe.logs.gathering import read_logs
from noiseprobe.logs.log import (
    Log,
    NumberedLogWarning,
    PassedOverWarning,
    RestartedLogWarning,
    Series,
    TruncatedLogWarning,
)
from noiseprobe.logs.reading import files_of, read_log, read_series
from noiseprobe.logs.tags import STEP_COLUMNS, choose_tags, run_of

__all__ = [
    "STEP_COLUMNS",
    "Log",
    "NumberedLogWarning",
    "PassedOverWarning",
    "RestartedLogWarning",
    "Series",
    "TruncatedLogWarning",
    "choose_tags",
    "files_of",
    "find_sources",
    "read_log",
    "read_logs",
    "read_series",
    "run_of",
    "timestep_adjusted",
]
