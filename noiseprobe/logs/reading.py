"""What a source is, by its content, and reading it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noiseprobe.core.errors import UserError
from noiseprobe.logs import console, mlflow, mllog, sqlite, wandb_offline
from noiseprobe.logs.adjusting import with_adjusted
from noiseprobe.logs.content import LARGEST_TEXT, check_size, content_of, too_large
from noiseprobe.logs.delimited import read_delimited
from noiseprobe.logs.events import read_events
from noiseprobe.logs.json_text import read_json
from noiseprobe.logs.log import Log, Series, one_line
from noiseprobe.logs.long import as_long
from noiseprobe.logs.parquet import MAGIC, read_parquet
from noiseprobe.logs.records import HEADER, looks_like_records
from noiseprobe.logs.table import Column, Table, table_log
from noiseprobe.logs.tags import choose_tags
from noiseprobe.run.traces import TRACKED_COLUMNS, TRAIN_COLUMNS, parts, read_trace, samples_of

TRAINER_STATE = "trainer_state.json"
HEAD = 1 << 16
"""How many bytes at the beginning of a file tell what it is."""

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WANTED = "give a run directory, TensorBoard events, or a CSV, JSON Lines, JSON or Parquet file"
BINARY = (MAGIC, sqlite.MAGIC, wandb_offline.MAGIC)
"""How the files begin that are neither text nor TensorBoard events."""


def read_log(source: str | Path) -> Log:
    """The traces recorded at `source`, whatever tool recorded them.

    What a file is, its content says, not its name: TensorBoard events (whose records begin with a
    checksum), Parquet, SQLite, W&B's own file, JSON Lines, JSON, `:::MLLOG` lines, what a console
    showed, or a table in text. A directory is a run of noiseprobe or of MLflow, a folder of
    TensorBoard events, which are one run, or one that holds a `trainer_state.json`.
    Beside a training loss whose timesteps were recorded too, there is the one that is adjusted for
    them (`timestep_adjusted`).

    Raises:
        UserError: there is nothing readable at `source`.

    Warns:
        TruncatedLogWarning: the log is cut off or garbled; what stands before the place was read.

    Examples:
        >>> log = read_log("logs/textual-inversion")  # doctest: +SKIP
        >>> log.kind, log.tags  # doctest: +SKIP
        ('TensorBoard events', ('loss', 'lr'))
    """
    path = Path(source)
    if path.is_dir():
        return with_adjusted(_read_directory(path))
    if path.is_file() and is_events(path, content_of(path, HEAD)):
        return with_adjusted(read_events(path, [path]))
    content = content_of(path)
    if is_events(path, content):  # out of a pipe, which is not read twice
        return with_adjusted(read_events(path, [path], content))
    return with_adjusted(table_log(_read_table(path, content)))


def read_series(path: str | Path, column: str | None = None) -> Series:
    """One trace of the log at `path`.

    Args:
        path: where the losses lie, as for `read_log`.
        column: the name of the trace; by default that of `choose_tags`.

    Returns:
        The series. In a run directory, rows in which the column is NaN because it was not evaluated
        at that step are left out. For other tables, see `table_log`.

    Raises:
        UserError: there is nothing readable at `path`, no such trace, or something that is no
            number where one belongs.

    Warns:
        TruncatedLogWarning: the log is cut off or garbled; what stands before the place was read.
        RestartedLogWarning: the steps of a table fall back.
    """
    log = read_log(path)
    if column is not None:
        return log.series(column)
    try:
        chosen = choose_tags(log.tags, None)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if len(chosen) > 1:
        shown = " or ".join(one_line(tag) for tag in chosen[:3])
        raise UserError(f"{path}: several runs; choose one with --tag {shown}")
    return log.series(chosen[0])


def is_run(path: Path) -> bool:
    """Whether the directory is a run of noiseprobe with a training trace."""
    return bool(parts(path / "traces" / "train"))


def files_of(source: Path) -> list[Path]:
    """The files that a source is made of: itself, or those of a folder that are read."""
    if not source.is_dir():
        return [source]
    if is_mlflow(source):
        return mlflow.metric_files(source)
    state = source / TRAINER_STATE
    return parts(source / "traces" / "train") or event_files(source) or [state] * state.is_file()


def is_mlflow(path: Path) -> bool:
    """Whether the directory is a run of MLflow's file store."""
    return mlflow.is_mlflow_run(path)


def is_events(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` holds TensorBoard events.

    An event file that was never written to is known by its name alone.
    """
    return looks_like_records(head) or (len(head) < HEADER and "tfevents" in path.name)


def is_text(head: bytes) -> bool:
    """Whether a file that begins with `head` may be text."""
    return head.startswith(_UTF16) or b"\0" not in head


def event_files(folder: Path) -> list[Path]:
    """The readable files right in `folder` that hold TensorBoard events."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and _begins_event(path)]


def _begins_event(path: Path) -> bool:
    try:
        return is_events(path, content_of(path, HEADER))
    except UserError:
        return "tfevents" in path.name  # reading it says what is wrong


def read_head(path: Path) -> Table | None:
    """The table in a file, as far as its first bytes tell; None if it is no such file.

    Raises:
        UserError: it is no table.
    """
    head = content_of(path, HEAD)
    if head.startswith(BINARY):
        return _read_table(path, content_of(path))
    if not is_text(head):
        return None
    if len(head) == HEAD:
        lines = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1]  # tqdm ends with the latter
        start = lines.lstrip()[:1]
        first = lines.lstrip().partition(b"\n")[0].rstrip()
        whole = start == b"[" or (start == b"{" and not first.endswith(b"}"))
        head = content_of(path) if whole else lines
    return _read_table(path, head)


def _read_directory(path: Path) -> Log:
    if is_run(path):
        return _with_samples(path, table_log(_read_run(path)))
    if is_mlflow(path):
        return table_log(mlflow.read_mlflow(path))
    try:
        files = event_files(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the folder") from None
    if files:
        return read_events(path, files)
    if (path / TRAINER_STATE).is_file():
        state = path / TRAINER_STATE
        return table_log(_read_table(path, content_of(state)))
    raise UserError(
        f"{path}: not a run directory, it has no traces/train/part-*.parquet, and it holds neither "
        f"TensorBoard events nor a {TRAINER_STATE}; {_WANTED}"
    )


def _read_table(path: Path, content: bytes) -> Table:
    if content.startswith(MAGIC):
        return read_parquet(path, content)
    if content.startswith(sqlite.MAGIC):
        return sqlite.read_sqlite(path)
    if content.startswith(wandb_offline.MAGIC):
        return wandb_offline.read_wandb(path, content)
    if len(content) > LARGEST_TEXT:
        raise too_large(path, f"{LARGEST_TEXT >> 20} MB of text")
    try:
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: neither TensorBoard events, Parquet nor UTF-8 text (byte {error.start}); "
            f"{_WANTED}"
        ) from None
    if not text or text.isspace():
        raise UserError(f"{path}: the file is empty; record at least one loss")
    check_size(path, text.count("\n"))
    start = text.lstrip()[0]
    if start == "{":
        return read_json(path, text)
    if mllog.is_mllog(text):
        return mllog.read_mllog(path, text)
    if console.is_console(text):
        return console.read_console(path, text)
    if start == "[":  # after what a console showed, whose lines may begin so: [INFO], [rank0]
        return read_json(path, text)
    table = read_delimited(path, text)
    return as_long(table) or table


def _read_run(path: Path) -> Table:
    trace = path / "traces" / "train"
    try:
        known = [name for part in parts(trace) for name in pq.read_schema(part).names]
        # A tracker records under the names that its losses were given.
        columns_of = TRAIN_COLUMNS | dict.fromkeys([*known], "float64") | {"step": "int64"}
        frame = read_trace(trace, columns_of)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{trace}: not a training trace ({one_line(error)}); run the training again"
        ) from None
    columns = {}
    for name in columns_of:
        values = frame[name].to_numpy(np.float64)
        columns[name] = Column(np.arange(len(frame)), np.ma.array(values, mask=np.isnan(values)))
    return Table(path, "run directory", len(frame), columns, "row {}".format, sparse=True)


def _with_samples(path: Path, log: Log) -> Log:
    """The log of a run, whose tracked losses have those of their samples, and their spacing."""

    from noiseprobe.run.directory import Run

    # A tracker's folder has no settings, and counts what it was shown.
    config = Run(path).config if (path / "config.toml").is_file() else None

    def series(tag: str) -> Series:
        found = replace(log.series(tag), every=config.spacing(tag) if config else 1)
        tracked = read_trace(path / "traces" / "tracked", TRACKED_COLUMNS, "run the training again")
        losses = samples_of(tracked, tag)
        if len(losses) == 0 or not set(found.steps.tolist()) <= set(losses.index):
            return found
        return replace(found, samples=losses.loc[found.steps].to_numpy(np.float64))

    return replace(log, _read=series)
