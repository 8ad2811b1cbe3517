"""The `:::MLLOG` lines of MLPerf, among whatever else a console shows.

Each is `:::MLLOG` and a JSON object with `key`, `value` and `metadata`, which has the step or the
number of samples (mlcommons/logging, mlperf_logging/mllog). A `tracked_stats` holds an object of
numbers.
"""

import json
import re
from pathlib import Path
from typing import Any

from noiseprobe.core.errors import UserError
from noiseprobe.logs.json_text import flat_numbers
from noiseprobe.logs.long import pivoted
from noiseprobe.logs.table import Table

KIND = "MLPerf log"

_LINE = re.compile(r":::MLLOG\s+(\{.*\})")
_STEPS = ("step", "step_num", "iteration", "samples_count", "epoch_num")
_EVENTS = {"POINT_IN_TIME", "INTERVAL_END"}


def is_mllog(text: str) -> bool:
    """Whether `text` has such a line."""
    return bool(_LINE.search(text))


def read_mllog(path: Path, text: str) -> Table:
    """The numbers of the events in `text` that say their step, or else how many samples were seen.

    All have the first of step, iteration and samples that each of them tells, so that the axis is
    one. `eval_accuracy` is what MLPerf calls the evaluation's result; in its FLUX benchmark that is
    the loss.

    Raises:
        UserError: no event has a number and a step.
    """
    events = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = _LINE.search(line)
        event = _parsed(found[1]) if found else None
        if event is None or event.get("event_type", "POINT_IN_TIME") not in _EVENTS:
            continue
        metadata = event.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        counts = {name: metadata[name] for name in _STEPS if _whole(metadata.get(name))}
        numbers = flat_numbers({str(event.get("key", "value")): event.get("value")})
        events += [
            (name.removeprefix("tracked_stats/"), value, counts, number)
            for name, value in numbers
            if counts
        ]
    shared = [name for name in _STEPS if events and all(name in each[2] for each in events)]
    if not shared:
        most = [name for name in _STEPS if any(name in each[2] for each in events)]
        if not most:
            raise UserError(
                f"{path}: no :::MLLOG line has a number and a step; log train_loss with "
                "metadata step or samples_count"
            )
        shared = [max(most, key=lambda name: sum(name in each[2] for each in events))]
        events = [each for each in events if shared[0] in each[2]]
    return pivoted(
        path,
        KIND,
        [name for name, *_ in events],
        [counts[shared[0]] for _, _, counts, _ in events],
        [value for _, value, *_ in events],
        lambda row: f"line {events[row][3]}",
    )


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None  # a line that others wrote into
    return event if isinstance(event, dict) else None


def _whole(count: Any) -> bool:
    if isinstance(count, bool) or not isinstance(count, int | float):
        return False
    return isinstance(count, int) or count.is_integer()
