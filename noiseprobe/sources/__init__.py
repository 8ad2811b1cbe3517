"""Recorded losses from a run, or from the log that any other tool wrote."""

from noiseprobe.sources.finding import find_sources
from noiseprobe.sources.gathering import read_logs
from noiseprobe.sources.log import (
    Log,
    NumberedLogWarning,
    PassedOverWarning,
    RestartedLogWarning,
    Series,
    TruncatedLogWarning,
)
from noiseprobe.sources.reading import files_of, read_log, read_series
from noiseprobe.sources.tags import STEP_COLUMNS, choose_tags, run_of, words_of

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
    "words_of",
]
