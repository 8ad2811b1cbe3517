"""Feed the readers broken logs: whatever a file holds, they give series or one line.

    python -m experiments.bench.fuzz --examples 100000

Prints one JSON document: how many inputs of each kind were read, and how many were refused.
"""

import argparse
import io
import json
import resource
import sqlite3
import struct
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto

from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series, find_sources, read_log, read_series
from noiseprobe.logs.records import masked_crc
from noiseprobe.logs.wandb_offline import Record

_ROUND = 2000
_TOKENS = [
    token.encode()
    for token in (
        *("NaN", "-Infinity", "1e999", "9" * 400, "null", "true", '"', "'", "[", "{", "}", "]"),
        *("\n", "\r", "\n\n#", ",", ";", "\t", "\u2028", "\ufeff", "\0", "\\ud800", "-", "0x1"),
        *("[" * 2000, '{"a":' * 2000, "\n" * 50, ',"step":-1', ',"loss":"low"', "1" * 5000),
    )
]


def framed(data: bytes) -> bytes:
    """A TFRecord that holds `data`."""
    length = struct.pack("<Q", len(data))
    checksums = [struct.pack("<I", masked_crc(part)) for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


def _events() -> list[bytes]:
    events = [Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString()]
    for step in range(40):
        values = [
            Summary.Value(tag="loss", simple_value=1 / (1 + step)),
            Summary.Value(tag="new", tensor=TensorProto(dtype=1, float_val=[step])),
            Summary.Value(tag="whole", tensor=TensorProto(dtype=9, int64_val=[step])),
        ]
        events.append(Event(step=step, summary=Summary(value=values)).SerializeToString())
    return events


def _databases() -> dict[str, bytes]:
    """The SQLite databases of ai-toolkit, trackio and MLflow."""
    losses = [(step, 1 / (1 + step)) for step in range(12)]
    made: dict[str, tuple[str, list[tuple[str | int | float | None, ...]]]] = {
        "ai-toolkit": (
            "CREATE TABLE metrics (step INTEGER, key TEXT, value_real REAL, value_text TEXT)",
            [(step, "loss/loss", loss, None) for step, loss in losses],
        ),
        "trackio": (
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_name TEXT, step INTEGER, "
            "metrics TEXT)",
            [(step, "a", step, json.dumps({"loss": loss})) for step, loss in losses],
        ),
        "mlflow": (
            "CREATE TABLE metrics (key TEXT, value REAL, timestamp INTEGER, run_uuid TEXT, "
            "step INTEGER, is_nan INTEGER)",
            [("loss", loss, step, "a" * 32, step, 0) for step, loss in losses],
        ),
    }
    found = {}
    for name, (table, rows) in made.items():
        with sqlite3.connect(":memory:") as database:
            database.execute("PRAGMA page_size = 512")  # few bytes, so that faults meet content
            database.execute(table)
            if name == "mlflow":
                database.execute("CREATE TABLE runs (run_uuid TEXT, name TEXT)")
            places = ", ".join("?" * len(rows[0]))
            insert = f"INSERT INTO metrics VALUES ({places})"  # nosec B608 # nothing but ?
            database.executemany(insert, rows)
            database.commit()
            found[name] = database.serialize()
        database.close()
    return found


def _wandb() -> bytes:
    """What Weights & Biases keeps of a run, in one block of LevelDB's framing."""
    content = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for step in range(12):
        record = Record()
        record.history.step.num = step
        record.history.item.add(nested_key=[b"loss"], value_json=str(1 / (1 + step)).encode())
        data = bytes(record.SerializeToString())
        content += struct.pack("<IHB", zlib.crc32(b"\1" + data), len(data), 1) + data
    return content


def _lines() -> dict[str, str]:
    """What trainers print, and a table of step, key and value."""
    losses = [(step, 1 / step) for step in range(1, 21)]
    bars = [f"\rSteps: {step}/20 [00:01<00:09, 9.9it/s, loss={loss}]" for step, loss in losses]
    events = [
        {"key": "train_loss", "value": loss, "metadata": {"samples_count": step * 512}}
        for step, loss in losses
    ]
    return {
        "bars": "".join(each.replace("Steps: ", "Steps: 5%|#   | ") for each in bars),
        "lines": "".join(f"[INFO] step {step}: loss={loss:.3e}\n" for step, loss in losses),
        "mllog": "".join(f":::MLLOG {json.dumps(event)}\n" for event in events),
        "long": "step,key,value\n" + "".join(f"{step},loss,{loss}\n" for step, loss in losses),
    }


def _valid() -> dict[str, bytes]:
    """A log of each kind."""
    count = 40
    frame = pd.DataFrame(
        {
            "step": range(count),
            "train/loss": np.linspace(1, 0.5, count),
            "eval/loss": np.where(np.arange(count) % 5, np.nan, 0.5),
            "note": ["good", "bad"] * (count // 2),
        }
    )
    history = [{"loss": 1 / (1 + step), "step": step} for step in range(count)]
    parquet, plain = io.BytesIO(), io.BytesIO()
    frame.to_parquet(parquet)
    frame.set_index("step").to_parquet(plain, compression=None)
    wandb = frame.rename(columns={"step": "_step"}).assign(_timestamp=1.7e9)
    chart = frame[["step"]].assign(**{f"a - loss{end}": 0.5 for end in ("", "__MIN", "__MAX")})
    texts = {
        "csv": "# log\n" + frame.to_csv(index=False),
        "semicolons": "A title\n" + frame.to_csv(index=False, sep=";"),
        "tabs": frame.drop(columns="note").to_csv(index=False, sep="\t"),
        "chart": chart.to_csv(index=False, quoting=1),
        "json lines": frame.to_json(orient="records", lines=True),
        "json array": frame.to_json(orient="records", indent=1),
        "json columns": json.dumps(frame.astype(object).to_dict("list")),
        "history": "\n".join(json.dumps(row) for row in wandb.to_dict("records")),
        "trainer state": json.dumps({"log_history": history}, indent=2),
    }
    return {
        "events": b"".join(map(framed, _events())),
        "parquet": parquet.getvalue(),
        "plain parquet": plain.getvalue(),
        "wandb": _wandb(),
        **_databases(),
    } | {name: text.encode() for name, text in (texts | _lines()).items()}


VALID = _valid()


@st.composite
def _mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` cut off, with some bytes changed, and with pieces of logs put in."""
    broken = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(broken)))
        kind = draw(st.sampled_from(["cut", "byte", "delete", "insert", "splice"]))
        if kind == "cut":
            del broken[place:]
        elif kind == "byte" and place < len(broken):
            broken[place] = draw(st.integers(0, 255))
        elif kind == "delete":
            del broken[place : place + draw(st.integers(1, 30))]
        elif kind == "insert":
            broken[place:place] = draw(st.binary(max_size=12) | st.sampled_from(_TOKENS))
        elif kind == "splice":
            other = VALID[draw(st.sampled_from(sorted(VALID)))]
            first = draw(st.integers(0, len(other)))
            broken[place:place] = other[first : first + draw(st.integers(0, 300))]
    return bytes(broken)


@st.composite
def _forged_events(draw: st.DrawFn) -> bytes:
    """Records with sound checksums, of which one event was changed."""
    events = draw(st.lists(st.sampled_from(_events()), min_size=1, max_size=30))
    place = draw(st.integers(0, len(events) - 1))
    events[place] = draw(_mutated(events[place]))
    return b"".join(map(framed, events))


def inputs() -> st.SearchStrategy[tuple[str, bytes]]:
    """Broken logs, each with the name of its kind."""
    broken = [
        st.tuples(st.just(name), _mutated(content)) for name, content in sorted(VALID.items())
    ]
    return st.one_of(
        *broken,
        st.tuples(st.just("forged events"), _forged_events()),
        st.tuples(st.just("text"), st.text(max_size=200).map(lambda text: text.encode())),
        st.tuples(st.just("bytes"), st.binary(max_size=200)),
        st.tuples(
            st.just("numbers"), st.text('0123456789.,;eE+-\n#"a', max_size=80).map(str.encode)
        ),
    )


def check(folder: Path, content: bytes) -> bool:
    """Read `content` in every way, as a file of `folder`; whether it is a log.

    Raises:
        AssertionError: a series is not as it should be, or a refusal takes more than one line.
        Exception: what a reader let through.
    """
    path = folder / "log"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = [_unless_refused(find_sources, [source]) or [] for source in (path, folder)]
        logs = [_unless_refused(read_log, source) for sources in found for source in sources]
        for log in logs:
            for tag in log.tags if log else ():
                series = _unless_refused(log.series, tag)
                if series is not None:
                    _check_series(series)
        return _unless_refused(read_series, path) is not None


def _unless_refused(action: Callable[..., Any], argument: Any) -> Any:
    """What `action` returns; None where it refuses the argument in one line."""
    refusal = ""
    try:
        return action(argument)
    except UserError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1, refusal
    return None


def _check_series(series: Series) -> None:
    assert series.steps.dtype == np.int64
    assert series.values.dtype == np.float64
    assert series.steps.shape == series.values.shape
    assert len(series.steps)
    assert (series.steps[1:] >= series.steps[:-1]).all()


def main() -> None:
    """Run the given number of inputs and print the counts."""
    parser = argparse.ArgumentParser(description="Feed the readers broken logs.")
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    read: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:

        def one(case: tuple[str, bytes]) -> None:
            nonlocal slowest
            started = time.perf_counter()
            (read if check(Path(name), case[1]) else refused)[case[0]] += 1
            slowest = max(slowest, time.perf_counter() - started)

        number = 0
        while read.total() + refused.total() < arguments.examples:
            left = arguments.examples - read.total() - refused.total()
            # Rounds, because the search remembers all examples of one.
            limited = settings(
                max_examples=min(_ROUND, left),
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            seed(arguments.seed * 1_000_000 + number)(limited(given(inputs())(one)))()
            number += 1
    print(
        json.dumps(
            {
                "inputs": read.total() + refused.total(),
                "read": dict(sorted(read.items())),
                "refused": dict(sorted(refused.items())),
                "slowest_seconds": round(slowest, 2),
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
