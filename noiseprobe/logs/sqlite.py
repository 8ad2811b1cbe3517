"""SQLite databases: the `loss_log.db` of ai-toolkit, trackio's, and MLflow's.

Their tables are those of ai-toolkit's `toolkit/logging_aitk.py` (`metrics`: step, key, value_real,
value_text), trackio's `sqlite_backend.py` and `sqlite_storage.py` (`metrics`: run_name, step,
metrics as JSON), and MLflow's `store/tracking/dbmodels/models.py` (`metrics`: run_uuid, key, value,
is_nan, step, timestamp).
"""

import json
import math
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from noiseprobe.core.errors import UserError
from noiseprobe.logs.content import MOST_POINTS
from noiseprobe.logs.json_text import flat_numbers
from noiseprobe.logs.log import one_line
from noiseprobe.logs.long import pivoted
from noiseprobe.logs.table import Table

MAGIC = b"SQLite format 3\0"

_AI_TOOLKIT = {"step", "key", "value_real"}
_TRACKIO = {"run_name", "step", "metrics"}
_MLFLOW = {"run_uuid", "key", "value", "is_nan", "step", "timestamp"}
_INSTRUCTIONS = 200_000_000
"""Of SQLite's machine: what a query over as many rows as are read takes a tenth of."""

_TURN = 100_000
_LONGEST = 1 << 20
"""Bytes of one cell."""


def read_sqlite(path: Path) -> Table:
    """The numbers in the database at `path`, in the order in which they were recorded.

    Several runs in one database are told apart as `run - tag`. A number that was not finite is NaN:
    SQLite has none, and ai-toolkit leaves the cell empty. Nothing is written beside the file.

    Raises:
        UserError: the database is broken, or none of these tools wrote it.
    """
    try:
        with _opened(path) as database:
            kinds = database.execute("SELECT type FROM sqlite_master WHERE name = 'metrics'")
            if ("table",) not in kinds.fetchall():  # a view may never end
                raise no_metrics(path)
            columns = {row[1] for row in database.execute("PRAGMA table_info(metrics)")}
            if columns >= _AI_TOOLKIT:
                return _ai_toolkit(path, database)
            if columns >= _TRACKIO:
                return _trackio(path, database)
            if columns >= _MLFLOW:
                return _mlflow(path, database)
    except (sqlite3.Error, UnicodeError, OSError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path}: a broken SQLite database ({one_line(error)}); copy it again from where it "
            "was written"
        ) from None
    raise no_metrics(path)


def no_metrics(path: Path) -> UserError:
    """What to raise where a database is of none of these tools."""
    return UserError(
        f"{path}: an SQLite database with no table of metrics that ai-toolkit, trackio or MLflow "
        "writes; give a training log"
    )


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, read-only; with what a killed writer left in its write-ahead log."""
    with tempfile.TemporaryDirectory() as folder:
        pending = path.with_name(path.name + "-wal")
        if pending.is_file() and pending.stat().st_size:
            path = Path(shutil.copy(path, Path(folder) / "log"))  # SQLite would write beside it
            shutil.copy(pending, Path(folder) / "log-wal")
            place = f"file:{quote(os.fsencode(path))}"
        else:
            place = f"file:{quote(os.fsencode(path.resolve()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(place, uri=True)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            turns = iter(range(_INSTRUCTIONS // _TURN))
            database.set_progress_handler(lambda: next(turns, None) is None, _TURN)
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            yield database


def _rows(database: sqlite3.Connection, query: str) -> list[Any]:
    return database.execute(f"{query} LIMIT {MOST_POINTS + 1}").fetchall()


def _ai_toolkit(path: Path, database: sqlite3.Connection) -> Table:
    rows = _rows(database, "SELECT step, key, value_real, value_text FROM metrics ORDER BY step")
    rows = [row for row in rows if row[3] is None]
    return pivoted(
        path,
        "ai-toolkit log",
        [key for _, key, *_ in rows],
        [step for step, *_ in rows],
        [math.nan if value is None else value for *_, value, _ in rows],
        lambda row: f"step {rows[row][0]}",
    )


def _trackio(path: Path, database: sqlite3.Connection) -> Table:
    names, steps, values, runs = [], [], [], []
    query = "SELECT run_name, step, metrics, id FROM metrics ORDER BY id"
    for run, step, told, number in _rows(database, query):
        try:
            metrics = json.loads(told)
        except (ValueError, TypeError, RecursionError):
            raise UserError(
                f"{path}, row {number} of metrics: not JSON; copy the database again"
            ) from None
        for name, value in flat_numbers(metrics):
            names.append(name)
            steps.append(step)
            values.append(value)
            runs.append(run)
    return pivoted(path, "trackio", names, steps, values, "number {} of metrics".format, runs)


def _mlflow(path: Path, database: sqlite3.Connection) -> Table:
    query = "SELECT key, step, value, is_nan, run_uuid FROM metrics ORDER BY timestamp, rowid"
    rows = _rows(database, query)
    names = {}
    if {row[1] for row in database.execute("PRAGMA table_info(runs)")} >= {"run_uuid", "name"}:
        names = dict(_rows(database, "SELECT run_uuid, name FROM runs"))
    told = {run: f"{names[run]} ({run[:8]})" if names.get(run) else run for *_, run in rows}
    return pivoted(
        path,
        "MLflow",
        [key for key, *_ in rows],
        [step for _, step, *_ in rows],
        [math.nan if nan else value for _, _, value, nan, _ in rows],
        "row {} of metrics".format,
        [told[run] for *_, run in rows],
    )
