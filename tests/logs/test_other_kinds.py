"""Logs in databases, in MLflow's folders, in what a console showed, and in W&B's own file.

The databases have the tables of ai-toolkit's toolkit/logging_aitk.py, trackio's sqlite_backend.py
and MLflow's dbmodels/models.py; W&B's file is framed as LevelDB's, with zlib's CRC-32.
"""

import json
import math
import sqlite3
import struct
import zlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.logs import (
    RestartedLogWarning,
    TruncatedLogWarning,
    files_of,
    find_sources,
    read_log,
    read_series,
)
from noiseprobe.logs.wandb_offline import Record


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_log(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def database(path: Path, script: str, rows: dict[str, Iterable[tuple[Any, ...]]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as opened:
        opened.executescript(script)
        for query, values in rows.items():
            opened.executemany(query, values)
        opened.commit()
    return path


AI_TOOLKIT = """
CREATE TABLE steps (step INTEGER PRIMARY KEY, wall_time REAL NOT NULL);
CREATE TABLE metrics (step INTEGER NOT NULL, key TEXT NOT NULL, value_real REAL, value_text TEXT,
    PRIMARY KEY (step, key));
"""
TRACKIO = """
CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL,
    run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL);
"""
MLFLOW = """
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250));
CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32),
    step BIGINT, is_nan BOOLEAN);
"""


def ai_toolkit(path: Path) -> Path:
    rows = [
        row
        for step in range(0, 50, 5)
        for row in (
            (step, "loss/loss", 1 / (1 + step), None),
            (step, "val/loss", None if step == 20 else 0.5 - step / 1000, None),
            (step, "note", None, "good"),
        )
        if row[1] != "val/loss" or step % 10 == 0
    ]
    return database(path, AI_TOOLKIT, {"INSERT INTO metrics VALUES (?, ?, ?, ?)": rows})


def test_the_database_of_ai_toolkit_is_read(tmp_path: Path) -> None:
    path = ai_toolkit(tmp_path / "loss_log.db")
    log = read_log(path)
    assert (log.kind, log.tags) == ("ai-toolkit log", ("loss/loss", "val/loss"))
    train = log.series("loss/loss")
    assert train.steps.tolist() == list(range(0, 50, 5))
    np.testing.assert_array_equal(train.values, 1 / (1 + train.steps))
    held_out = read_series(path)
    assert held_out.column == "val/loss"
    np.testing.assert_array_equal(held_out.steps, [0, 10, 20, 30, 40])
    # SQLite has no NaN: it is stored as nothing.
    np.testing.assert_array_equal(held_out.values, [0.5, 0.49, math.nan, 0.47, 0.46])


def test_what_a_killed_writer_left_beside_a_database_is_read_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    there = tmp_path / "here" / "loss_log.db"
    ai_toolkit(there)
    with closing(sqlite3.connect(there)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("INSERT INTO metrics VALUES (100, 'loss/loss', 0.25, NULL)")
        writer.commit()
        for name in ("loss_log.db", "loss_log.db-wal"):
            copy = tmp_path / "copied" / name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes((tmp_path / "here" / name).read_bytes())
    folder = tmp_path / "copied"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    series = read_series(folder / "loss_log.db", "loss/loss")
    assert (series.steps[-1], series.values[-1]) == (100, 0.25)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_runs_in_a_database_of_trackio_are_told_apart(tmp_path: Path) -> None:
    def rows(*runs: str) -> list[tuple[str, str, int, str]]:
        return [
            ("2026-01-01", run, step, json.dumps({"loss": loss, "eval": {"loss": 0.5}, "on": True}))
            for step, loss in enumerate([0.9, "NaN", 0.7])
            for run in runs
        ]

    query = "INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?)"
    log = read_log(database(tmp_path / "several.db", TRACKIO, {query: rows("dog", "cat")}))
    assert (log.kind, log.tags) == (
        "trackio",
        ("dog - loss", "dog - eval/loss", "cat - loss", "cat - eval/loss"),
    )
    series = log.series("cat - loss")
    np.testing.assert_array_equal(series.steps, [0, 1, 2])
    np.testing.assert_array_equal(series.values, [0.9, math.nan, 0.7])
    assert read_log(database(tmp_path / "one.db", TRACKIO, {query: rows("dog")})).tags == (
        "loss",
        "eval/loss",
    )


def test_the_database_of_mlflow_is_read(tmp_path: Path) -> None:
    rows = [("loss", 1 / (1 + step), step, "a" * 32, step, step == 2) for step in range(4)]
    rows += [("loss", 0.5, step, "b" * 32, step, False) for step in range(4)]
    log = read_log(
        database(
            tmp_path / "mlflow.db",
            MLFLOW,
            {
                "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)": rows,
                "INSERT INTO runs VALUES (?, ?)": [("a" * 32, "dog"), ("b" * 32, "")],
            },
        )
    )
    assert log.tags == ("dog (aaaaaaaa) - loss", f"{'b' * 32} - loss")
    np.testing.assert_array_equal(log.series(log.tags[0]).values, [1, 0.5, math.nan, 0.25])


def test_other_databases_and_broken_ones_are_refused(tmp_path: Path) -> None:
    other = database(tmp_path / "other.db", "CREATE TABLE users (name TEXT);", {})
    assert "no table of metrics" in refusal(other)
    whole = ai_toolkit(tmp_path / "whole.db").read_bytes()
    broken = tmp_path / "broken.db"
    broken.write_bytes(whole[:100] + bytes(1000) + whole[1100:])
    assert "broken SQLite database" in refusal(broken)
    query = "INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?)"
    rows = [("2026-01-01", "dog", 0, "{oh")]
    assert "row 1 of metrics" in refusal(database(tmp_path / "json.db", TRACKIO, {query: rows}))


def mlflow_run(folder: Path) -> Path:
    (folder / "metrics" / "train").mkdir(parents=True)
    (folder / "meta.yaml").write_text("run_id: abc\n")
    lines = "".join(f"{1000 + step} {1 / (1 + step)} {step}\n" for step in range(10))
    (folder / "metrics" / "train" / "loss").write_text(lines)
    (folder / "metrics" / "val_loss").write_text("1000 0.5 0\n1005 nan 5\n1009 0.25 9\n")
    return folder


def test_a_run_of_mlflow_is_one_source(tmp_path: Path) -> None:
    run = mlflow_run(tmp_path / "mlruns" / "0" / "abc")
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: 0\n")
    assert find_sources([tmp_path]) == [run]
    assert [file.name for file in files_of(run)] == ["loss", "val_loss"]
    log = read_log(run)
    assert (log.kind, set(log.tags)) == ("MLflow", {"train/loss", "val_loss"})
    assert log.series("train/loss").steps.tolist() == list(range(10))
    np.testing.assert_array_equal(log.series("val_loss").values, [0.5, math.nan, 0.25])
    (run / "metrics" / "val_loss").write_text("1000 0.5 0\nlow 0.5 1\n")
    with pytest.raises(UserError, match=r"val_loss, line 2: 'low 0\.5 1' is not"):
        read_log(run)


def mllog(key: str, value: Any, **metadata: Any) -> str:
    event = {"namespace": "", "time_ms": 1, "event_type": "POINT_IN_TIME", "key": key}
    return f":::MLLOG {json.dumps(event | {'value': value, 'metadata': metadata})}\n"


def test_mllog_lines_are_read_among_others(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    text = mllog("submission_benchmark", "flux1", file="train.py") + "NCCL INFO ready\n"
    for step in range(1, 6):
        text += f"0: {mllog('train_loss', 1 / step, samples_count=step * 512, step=step)}"
        if step % 2 == 0:
            text += mllog("eval_accuracy", 0.6 - step / 100, samples_count=step * 512)
    text += mllog("tracked_stats", {"throughput": 3.5}, samples_count=2560)
    path.write_text(text)
    log = read_log(path)
    assert (log.kind, log.tags) == ("MLPerf log", ("train_loss", "eval_accuracy", "throughput"))
    # The evaluations say no step, so that all are at their samples.
    assert log.series("train_loss").steps.tolist() == [512, 1024, 1536, 2048, 2560]
    assert log.series("eval_accuracy").steps.tolist() == [1024, 2048]
    assert find_sources([tmp_path]) == [path]
    path.write_text(mllog("seed", 3, file="train.py"))
    assert "no :::MLLOG line has a number and a step" in refusal(path)


def test_a_long_table_is_read_as_its_traces(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    path.write_text(
        "step,key,value\n"
        + "".join(f"{step},loss,{1 / step}\n{step},lr,0.1\n" for step in range(1, 6))
    )
    log = read_log(path)
    assert (log.kind, log.tags) == ("CSV", ("loss", "lr"))
    series = log.series("loss")
    assert series.steps.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(series.values, 1 / series.steps)
    with open(path, "a") as file:  # a second training appends to it
        file.write("".join(f"{step},loss,{2 / step}\n" for step in range(1, 4)))
    with pytest.warns(RestartedLogWarning, match="falls back to 1"):
        again = read_series(path, "loss")
    np.testing.assert_array_equal(again.values, [2, 1, 2 / 3])


def bar(done: int, total: int, after: str, name: str = "Steps") -> str:
    share = done * 100 // total
    return f"\r{name}: {share:3d}%|█▌ | {done}/{total} [00:01<01:30,  9.98it/s, {after}]"


def test_the_bars_of_a_console_are_read(tmp_path: Path) -> None:
    path = tmp_path / "console.txt"
    text = "12/25/2026 10:00:00 - INFO - ***** Running training *****\n  Num epochs = 3\n"
    for step in range(1, 21):
        text += bar(step, 20, f"loss={1 / step:.6f}, lr=0.0001") * 2
        if step % 10 == 0:
            for place in range(1, 5):
                mean = 0.5 - step / 100 + (place - 4) / 10
                text += bar(place, 4, f"val_avg_loss={mean:.3f}, timestep=200", "validation steps")
    path.write_text(text, encoding="utf-8")
    log = read_log(path)
    assert log.kind == "console log"
    series = log.series("loss")
    assert series.steps.tolist() == list(range(1, 21))
    np.testing.assert_allclose(series.values, 1 / series.steps, atol=1e-6)
    held_out = log.series("val_avg_loss")
    assert (held_out.steps.tolist(), held_out.values.tolist()) == ([10, 20], [0.4, 0.3])
    assert find_sources([tmp_path]) == [path]


def test_bars_of_several_epochs_go_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "console.txt"
    text = ""
    for epoch in range(3):
        for step in range(1, 11):
            after = f"loss={1 / (10 * epoch + step)}, smooth loss=0.5"
            text += bar(step, 10, after, f"epoch {epoch + 1}/3")
        text += "\n"
    path.write_text(text, encoding="utf-8")
    log = read_log(path)
    assert log.tags == ("loss", "smooth_loss")
    series = log.series("loss")
    assert series.steps.tolist() == list(range(1, 31))
    np.testing.assert_allclose(series.values, 1 / series.steps)


def test_a_bar_that_begins_anew_before_its_end_is_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "console.txt"
    first = "".join(bar(step, 20, f"loss={step}") for step in range(1, 16))
    again = "".join(bar(step, 20, f"loss={-step}") for step in range(11, 21))
    path.write_text(first + "\nKilled\n" + again, encoding="utf-8")
    with pytest.warns(RestartedLogWarning, match="falls back to 11"):
        series = read_series(path)
    assert series.values.tolist() == [*range(1, 11), *range(-11, -21, -1)]


@pytest.mark.parametrize("first", ["loading\n", ""])
def test_lines_of_a_console_are_read(tmp_path: Path, first: str) -> None:
    path = tmp_path / "train.log"
    path.write_text(
        first
        + "".join(f"[INFO] step {step}: loss={1 / step:.3e} lr: 1e-04\n" for step in range(1, 6))
    )
    series = read_series(path)
    assert (series.column, series.steps.tolist()) == ("loss", [1, 2, 3, 4, 5])
    assert read_log(path).series("lr").values.tolist() == [1e-4] * 5


def wandb_file(records: Iterable[bytes]) -> bytes:
    """W&B's file of these messages, broken at the ends of blocks as LevelDB does it."""
    content = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for data in records:
        first = True
        while first or data:
            room = 32768 - len(content) % 32768
            if room < 7:
                content += bytes(room)
                continue
            part, data = data[: room - 7], data[room - 7 :]
            kind = (1 if first else 4) if not data else (2 if first else 3)
            checksum = zlib.crc32(bytes([kind]) + part)
            content += struct.pack("<IHB", checksum, len(part), kind) + part
            first = False
    return content


def history(step: int, **values: Any) -> bytes:
    record = Record()
    record.history.step.num = step
    for name, value in values.items():
        record.history.item.add(nested_key=[name.encode()], value_json=json.dumps(value).encode())
    return bytes(record.SerializeToString())


@pytest.mark.parametrize("padding", [1, 30000, 32755, 70000])
def test_the_own_file_of_wandb_is_read(tmp_path: Path, padding: int) -> None:
    path = tmp_path / "run-abc.wandb"
    picture = {"_type": "images/separated", "width": 64, "count": 1}
    records = [b"", history(0, note="x" * padding, pictures=picture)]
    losses = [1.0, math.nan, 0.5]
    records += [history(10 * place, loss=loss, lr=1e-4) for place, loss in enumerate(losses)]
    path.write_bytes(wandb_file(records))
    log = read_log(path)
    assert (log.kind, log.tags) == ("W&B offline", ("loss", "lr"))
    series = log.series("loss")
    assert series.steps.tolist() == [0, 10, 20]
    np.testing.assert_array_equal(series.values, losses)
    assert find_sources([tmp_path]) == [path]


def test_numbers_that_wandb_stores_as_numbers_are_read(tmp_path: Path) -> None:
    record = Record()
    record.history.step.num = 7
    record.history.item.add(key=b"loss", number=0.25)
    record.history.item.add(key=b"epoch_size", integer=3)
    record.history.item.add(key=b"_step", value_json=b"9")
    for name, told in ((b"_type", b'"image-file"'), (b"width", b"64")):
        record.history.item.add(nested_key=[b"drawn", name], value_json=told)
    path = tmp_path / "run.wandb"
    path.write_bytes(wandb_file([record.SerializeToString()]))
    assert read_log(path).tags == ("loss", "epoch_size")
    series = read_series(path, "loss")
    assert (series.steps.tolist(), series.values.tolist()) == ([9], [0.25])


def test_what_stands_before_a_fault_in_a_file_of_wandb_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.wandb"
    whole = wandb_file([history(step, loss=1 / (1 + step)) for step in range(10)])
    path.write_bytes(whole[:-3])
    with pytest.warns(TruncatedLogWarning, match="before record 10, because it is cut off"):
        assert len(read_series(path).values) == 9
    path.write_bytes(whole[:-3] + b"low")
    with pytest.warns(TruncatedLogWarning, match="garbled"):
        assert len(read_series(path).values) == 9
    path.write_bytes(wandb_file([b""]))
    assert "no number was logged" in refusal(path)
