"""Logs that are broken, endless, packed, nested, or made to take time and memory."""

import io
import json
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.bench.fuzz import VALID, framed
from tests.bad_inputs.cases import Case, Command, Place

STEPS = 40
LOSSES = "step,loss\n" + "".join(f"{step},{1 / (1 + step)}\n" for step in range(STEPS))
TOO_MUCH = "more than"


def cases() -> Iterator[Case]:
    """Each is replayed as `noiseprobe dvar-replay` has it; some are looked at by other commands."""
    for name, (make, told) in _files().items():
        yield Case(f"logs/{name}", _replayed(make), refused=told)
    for name, (content, told) in _contents().items():
        yield Case(f"logs/{name}", replaying("log", content), refused=told)
    for name, content in _handled().items():
        yield Case(f"logs/{name}", replaying("log", content))
    for name, content in VALID.items():
        half = content[: len(content) // 2 + 7]
        refused = "log" if name in _WHOLE else None
        yield Case(f"logs/{name}, examined when cut in two", _examined(half), refused=refused)
    yield Case("logs/a folder of pipes and links", _folder_of_pipes, refused="no log")
    yield Case("logs/a folder whose link leads back", _folder_in_itself)
    yield Case("logs/a run of MLflow with a metric that never ends", _mlflow, refused="MB")


def replaying(name: str, content: bytes | str) -> Callable[[Place], Command]:
    """The replay of a file with this content."""
    return lambda place: ["dvar-replay", place.file(name, content)]


def _replayed(make: Callable[[Path], object]) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        make(place.folder / "log")
        return ["dvar-replay", place.folder / "log"]

    return command


def _examined(content: bytes) -> Callable[[Place], Command]:
    return lambda place: ["doctor", place.file("log", content)]


_WHOLE = {"parquet", "plain parquet", "ai-toolkit", "trackio", "mlflow", "json array"}
_WHOLE |= {"json columns", "trainer state"}
"""Kinds of logs of which a half tells nothing; others are written record by record."""


def _files() -> dict[str, tuple[Callable[[Path], object], str]]:
    def sparse(path: Path) -> None:
        with open(path, "wb") as file:
            file.write(b"step,loss\n")
            file.truncate(3 << 30)

    return {
        "no such file": (lambda path: None, "no such file"),
        "a FIFO that nobody writes to": (os.mkfifo, "nothing comes out"),
        "a link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), TOO_MUCH),
        "a link to /dev/null": (lambda path: path.symlink_to("/dev/null"), "empty"),
        "a link to itself": (lambda path: path.symlink_to(path), "log"),
        "a link to nothing": (lambda path: path.symlink_to("gone"), "no such file"),
        "an empty folder": (Path.mkdir, "no log"),
        "a file of 3 GB": (sparse, "log"),
        "20 million equal rows of Parquet in 0.2 MB": (_equal_rows, TOO_MUCH),
        "300 MB of equal texts of Parquet in a few kB": (_equal_texts, TOO_MUCH),
        "20,000 columns of Parquet": (_wide_parquet, TOO_MUCH),
        "structures of Parquet": (_nested_parquet, "log"),
        "an SQLite view that never ends": (lambda path: _database(path, _ENDLESS), "no table"),
        "an SQLite column that is computed for ever": (
            lambda path: _database(path, _COMPUTED),
            "no table of metrics",
        ),
        "an SQLite search that never ends": (
            lambda path: _database(path, _RUNS),
            "broken SQLite",
        ),
        "an SQLite cell of 8 MB": (lambda path: _database(path, _BLOB), "broken SQLite"),
        "an SQLite table of text in place of numbers": (lambda path: _database(path, _TEXT), "log"),
        "an SQLite database of something else": (
            lambda path: _database(path, "CREATE TABLE users (name TEXT);"),
            "no table of metrics",
        ),
    }


_METRICS = "CREATE TABLE metrics (step INTEGER, key TEXT, value_real REAL, value_text TEXT);"
_ENDLESS = (
    "CREATE VIEW metrics AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
    "SELECT x AS step, 'loss' AS key, 1.0 AS value_real, NULL AS value_text FROM c;"
)
_COMPUTED = (
    "CREATE TABLE metrics (step INTEGER, key TEXT, value_text TEXT, "
    "value_real REAL AS (length(hex(zeroblob(400)))) VIRTUAL);"
    + "INSERT INTO metrics (step, key) VALUES (1, 'loss');"
    * 9
)
_RUNS = (
    "CREATE TABLE metrics (key TEXT, value REAL, timestamp INTEGER, run_uuid TEXT, step INTEGER, "
    "is_nan INTEGER); INSERT INTO metrics VALUES ('loss', 1.0, 1, 'a', 1, 0);"
    "CREATE VIEW runs AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
    "SELECT x AS run_uuid, x AS name FROM c WHERE x < 0;"
)
_BLOB = _METRICS + "INSERT INTO metrics VALUES (1, hex(zeroblob(4000000)), 1.0, NULL);" * 3
_TEXT = _METRICS + "INSERT INTO metrics VALUES ('one', 'loss', 'low', NULL);" * 3


def _database(path: Path, script: str) -> None:
    database = sqlite3.connect(path)
    database.executescript(script)
    database.commit()
    database.close()


def _equal_rows(path: Path) -> None:
    count = 20_000_000
    rows = pa.table({"step": np.zeros(count, np.int8), "loss": np.zeros(count, np.float16)})
    pq.write_table(rows, path)


def _equal_texts(path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(np.zeros(3000, np.int32), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"step": np.arange(3000), "note": texts}), path, store_schema=False)


def _wide_parquet(path: Path) -> None:
    pq.write_table(pa.table({f"c{number}": [1.0] for number in range(20_000)}), path)


def _nested_parquet(path: Path) -> None:
    pq.write_table(pa.table({"a": [[1, 2]], "b": [{"x": 1}]}), path)


def _contents() -> dict[str, tuple[bytes | str, str]]:
    deep = '{"a":' * 20_000 + "1" + "}" * 20_000
    line = '{"step":1,"loss":0.5}\n'
    keys = "".join(
        json.dumps({"step": row, **{f"k{row}_{each}": 1 for each in range(40)}}) + "\n"
        for row in range(500)
    )
    return {
        "empty": ("", "empty"),
        "spaces": (" \n\t\n", "empty"),
        "zeros": (bytes(5000), "log"),
        "all bytes": (bytes(range(256)) * 9, "log"),
        "gzip": (b"\x1f\x8b\x08\0" + bytes(99), "compressed"),
        "a zip": (b"PK\x03\x04" + bytes(99), "compressed"),
        "an image": (b"\x89PNG\r\n\x1a\n" + bytes(99), "log"),
        "a program": (b"\x7fELF" + bytes(99), "log"),
        "a page of HTML": ("<html><body><p>404</p></body></html>", "log"),
        "half of UTF-16": (b"\xff\xfeh\0e\0l", "log"),
        "text that is no UTF-8": (b"step,loss\n1,\xff\n", "UTF-8"),
        "a bracket": ("[", "not JSON"),
        "a brace": ("{", "not JSON"),
        "an empty list": ("[]", "no rows"),
        "an empty object": ("{}", "log"),
        "a list of numbers": ("[1,2,3]", "not a JSON object"),
        "JSON of 20,000 levels": (deep, "not JSON"),
        "a line of 20,000 levels": (line + deep + "\n" + line, "not JSON"),
        "lists of 100,000 levels": ("[" * 100_000 + "]" * 100_000, "not JSON"),
        "lines with ever new keys": (keys, TOO_MUCH),
        "a JSON document of 17 MB": ("[" + "{}," * 6_000_000 + "{}]", TOO_MUCH),
        "a number of 5,000 digits for a step": (f'{{"step":{"9" * 5000},"loss":1}}\n' * 3, "log"),
        "a step beyond 64 bits": (f'{{"step":{2**70},"loss":1}}\n' * 3, "step"),
        "a loss that is a list": ('{"step":1,"loss":[1]}\n' * 3, "log"),
        "a loss that is a text": ('{"step":1,"loss":"low"}\n' * 3, "log"),
        "a trainer state without entries": ('{"log_history": []}', "no rows"),
        "a trainer state of numbers": ('{"log_history": [1]}', "not a JSON object"),
        "events cut in the first record": (VALID["events"][:20], "log"),
        "events with a length of 2^39": (_event_header(2**39), "log"),
        "an event of 65 MB": (framed(bytes(65 << 20)), "64 MB"),
        "two million empty events": (framed(b"") * 2_000_000, TOO_MUCH),
        "Parquet of its marker alone": (b"PAR1PAR1", "broken Parquet"),
        "Parquet with a footer of 2 GB": (
            b"PAR1" + bytes(64) + struct.pack("<I", 2**31 - 1) + b"PAR1",
            "broken Parquet",
        ),
        "Parquet with garbage for a footer": (
            b"PAR1" + b"\x15\xff" * 40 + struct.pack("<I", 80) + b"PAR1",
            "broken Parquet",
        ),
        "SQLite of its header alone": (b"SQLite format 3\0" + bytes(84), "log"),
        "SQLite with garbage behind it": (b"SQLite format 3\0" + b"\xff" * 4000, "SQLite"),
        "W&B of its header alone": (b":W&B" + struct.pack("<HB", 0xBEE1, 0), "no number"),
        "W&B with a record of garbage": (_wandb_record(b"\xff" * 100), "log"),
        "MLPerf lines of garbage": (":::MLLOG {\n:::MLLOG }\n", "log"),
    }


def _event_header(length: int) -> bytes:
    header = framed(b"")[:0] + struct.pack("<Q", length)
    return header + framed(bytes(8))[8:12] + bytes(100)


def _wandb_record(data: bytes) -> bytes:
    header = struct.pack("<IHB", zlib.crc32(b"\1" + data), len(data), 1)
    return b":W&B" + struct.pack("<HB", 0xBEE1, 0) + header + data


def _handled() -> dict[str, bytes | str]:
    bar = "\rSteps:  5%|#   | {}/200 [00:01<00:09, 9.9it/s, loss={}]"
    rows = "".join(f'{{"step":{step},"loss":{1 / (1 + step)}}}\n' for step in range(STEPS))
    return {
        "a number": "7",
        "columns of unequal length": '{"step":[1,2,3],"loss":[1]}',
        "a console's lines of 3900 spaces": f"step 1 loss=1 {' ' * 3900}x\n" * 200,
        "a console's lines of 3900 digits": f"step 1 loss=1 {'9' * 3900} x\n" * 200,
        "a console's lines of 1900 commas": f"step 1 loss=1 {', ' * 1900} x\n" * 200,
        "a constant loss": "step,loss\n" + "".join(f"{step},1\n" for step in range(STEPS)),
        "losses that are not finite": "step,loss\n0,1\n1,nan\n2,inf\n3,-inf\n4,1\n",
        "losses of 1e308": "step,loss\n" + "".join(f"{step},1e308\n" for step in range(STEPS)),
        "one point": "step,loss\n0,1\n",
        "ten thousand digits of a loss": f"step,loss\n0,1\n1,0.{'3' * 10_000}\n2,0.4\n",
        "a last line cut off": rows + '{"step":99,"lo',
        "Windows line ends": LOSSES.replace("\n", "\r\n"),
        "old Mac line ends": LOSSES.replace("\n", "\r"),
        "UTF-16": LOSSES.encode("utf-16"),
        "a mark of byte order": b"\xef\xbb\xbf" + LOSSES.encode(),
        "a console of a hundred thousand redraws": "".join(
            bar.format(step % 200, 1 / (1 + step)) for step in range(20_000)
        ),
        "letters that are halves": '{"step":1,"\\ud800loss":1}\n{"step":2,"\\ud800loss":1}\n',
    }


def _folder_of_pipes(place: Place) -> Command:
    folder = place.folder / "logs"
    folder.mkdir()
    os.mkfifo(folder / "log.csv")
    os.mkfifo(folder / "events.out.tfevents.1.host")
    (folder / "zero.csv").symlink_to("/dev/zero")
    (folder / "gone.csv").symlink_to("gone")
    return ["dvar-replay", folder]


def _folder_in_itself(place: Place) -> Command:
    place.file("logs/log.csv", LOSSES)
    (place.folder / "logs" / "again").symlink_to(place.folder / "logs")
    return ["dvar-replay", place.folder / "logs"]


def _mlflow(place: Place) -> Command:
    place.file("run/meta.yaml", "run_id: 1\n")
    metrics = place.file("run/metrics/lr", "1 2 3\n").parent
    (metrics / "loss").symlink_to("/dev/zero")
    file = io.BytesIO(b"1 0.5 1\n" * 20_000_000)
    (metrics / "val_loss").write_bytes(file.getvalue())
    return ["dvar-replay", place.folder / "run"]
