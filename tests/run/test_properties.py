"""What is written of settings, traces, tables and files is read back as it was, whatever it is."""

import csv
import io
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from noiseprobe.cli.tables import csv_of, records
from noiseprobe.core import manifest
from noiseprobe.core.errors import UserError
from noiseprobe.core.files import remove, write_json, written_whole
from noiseprobe.core.words import in_spreadsheet, visible
from noiseprobe.draws.factors import NAMED_SETTINGS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import read_toml, resolve, resumed, write_toml
from noiseprobe.run.settings import ABOUT, WATCHED, RunConfig
from noiseprobe.run.traces import (
    METRICS_COLUMNS,
    PROBE_COLUMNS,
    TRACKED_COLUMNS,
    TRAIN_COLUMNS,
    drop_after,
    parts,
    read_trace,
    write_part,
)
from noiseprobe.stopping import CRITERIA


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder for each example, which a fixture would be shared by."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


texts = st.text(max_size=12)
numbers = st.floats(width=64)

ON_DISK = {"model", "base", "vae", "variant", "revision", "prediction", "validation", "hold_out"}
"""Settings of which it is looked at whether what they name is there."""

OWN: dict[str, st.SearchStrategy[Any]] = {
    "settings": st.lists(st.sampled_from([each.name for each in NAMED_SETTINGS]), min_size=1).map(
        ",".join
    ),
    "window": st.integers(2, 400) | st.floats(1e-6, 0.999) | st.just("20%"),
    "stop": st.sampled_from(["none", "clip", *CRITERIA]),
    "watch": st.sampled_from(WATCHED),
    "param": st.just(("patience=20",)),
    "shift": st.floats(0.1, 10) | st.just("auto"),
    "track_budget": st.floats(1e-3, 10) | st.just("20%"),
    "track": st.sets(st.sampled_from(["paired", "recent"])).map(tuple),
}


def values_of(key: str) -> st.SearchStrategy[Any]:
    """Values of the type that a setting is declared with, most of them good."""
    if key in OWN:
        return OWN[key]
    annotation = RunConfig.model_fields[key].annotation
    kinds = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    (kind,) = (each for each in kinds if each is not NoneType)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(texts, min_size=1, max_size=3)
    small: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(1, 64) | st.integers(0, 2**53 - 1),
        float: st.floats(0, 1) | numbers,
        str: texts,
    }
    return small[kind]


given_settings = st.lists(st.sampled_from(sorted({*ABOUT} - ON_DISK)), max_size=4).flatmap(
    lambda keys: st.fixed_dictionaries({key: values_of(key) for key in keys})
)


@given(asked=given_settings)
@example(asked={"placeholder": "\"'\\\t\x7f\x85\u2028 #", "seed": 2**53 - 1})
@example(asked={"concept": "~/\U0001f436\r\n", "threshold": 5e-324, "window": 0.123456})
@settings(max_examples=60, deadline=None)
def test_settings_that_resolve_are_read_back_as_they_were(asked: dict[str, Any]) -> None:
    try:
        config = resolve(asked)
    except UserError:
        assume(False)
    with folder() as place:
        run = Run.create(place / "run", config, "cpu")
        assert run.config == config
        assert resumed(run.config, {}) == config
        write_toml(config, place / "again.toml")
        if not config.cross:  # which a person may not give with a criterion, as a run has it
            assert resolve(read_toml(place / "again.toml")) == config


def column(kind: str) -> st.SearchStrategy[Any]:
    """Values of a column of a trace."""
    return {
        "int64": st.integers(-(2**63), 2**63 - 1),
        "float64": numbers,
        "float32": st.floats(width=32),
        "string": texts,
    }[kind]


@st.composite
def traces(draw: st.DrawFn) -> tuple[dict[str, str], pd.DataFrame, list[int]]:
    """Columns, rows by ascending steps, and the rows with which parts of it begin."""
    columns = draw(
        st.sampled_from([TRAIN_COLUMNS, TRACKED_COLUMNS, PROBE_COLUMNS, METRICS_COLUMNS])
    )
    near, far = st.integers(0, 50), st.sampled_from([10**8 - 1, 10**8, 10**9, 2**62])
    steps = sorted(draw(st.lists(near | far, max_size=12)))
    others = {
        name: draw(st.lists(column(kind), min_size=len(steps), max_size=len(steps)))
        for name, kind in columns.items()
        if name != "step"
    }
    frame = pd.DataFrame({"step": steps} | others, columns=list(columns)).astype(columns)
    # A part is named after its first step, so that no two begin with the same.
    starts = [row for row in range(len(steps)) if row == 0 or steps[row] != steps[row - 1]]
    cuts = draw(st.sets(st.sampled_from(starts))) | {0} if starts else set()
    return columns, frame, sorted(cuts)


@given(trace=traces(), order=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_a_trace_is_read_as_it_was_written_however_it_is_cut(
    trace: tuple[dict[str, str], pd.DataFrame, list[int]], order: Any
) -> None:
    columns, frame, cuts = trace
    with folder() as place:
        manifest.begin(place)
        directory = place / "traces" / "some"
        ends = list(zip(cuts, [*cuts, len(frame)][1:], strict=True))
        for begin, end in order.sample(ends, len(ends)):
            write_part(directory, columns, frame.iloc[begin:end])
        found = read_trace(directory, columns)
        pd.testing.assert_frame_equal(found, frame.reset_index(drop=True), check_exact=True)
        if cuts:
            last = int(frame["step"].iloc[cuts[len(cuts) // 2]])
            drop_after(directory, last)
            kept = [
                frame["step"].iloc[begin] for begin in cuts if frame["step"].iloc[begin] <= last
            ]
            assert len(parts(directory)) == len(kept)


tables = st.integers(1, 6).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            "name": st.lists(st.text(max_size=8), min_size=rows, max_size=rows),
            "step": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows),
            "loss": st.lists(numbers, min_size=rows, max_size=rows),
        }
    )
)


@given(table=tables)
@settings(max_examples=80, deadline=None)
def test_numbers_of_a_table_are_the_same_in_csv_and_json(table: dict[str, list[Any]]) -> None:
    frame = pd.DataFrame(table)
    read = list(csv.DictReader(io.StringIO(csv_of(frame))))
    told = json.loads(json.dumps(records(frame), allow_nan=False))
    assert len(read) == len(told) == len(frame)
    for place, (row, document) in enumerate(zip(read, told, strict=True)):
        name, step, loss = (table[key][place] for key in ("name", "step", "loss"))
        assert row["name"] == in_spreadsheet(visible(name))
        assert document["name"] == name
        assert int(row["step"]) == document["step"] == step
        written = float(row["loss"] or "nan")
        assert np.array([written]).tobytes() == np.array([loss]).tobytes() or math.isnan(loss)
        assert math.isnan(written) == math.isnan(loss)
        assert document["loss"] == (loss if math.isfinite(loss) else None)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(texts, inside, max_size=3),
    max_leaves=8,
)


@given(document=documents)
@settings(max_examples=60, deadline=None)
def test_a_document_is_read_as_it_was_written_or_not_written(document: Any) -> None:
    with folder() as place:
        file = place / "some.json"
        try:
            write_json(file, document)
        except ValueError:  # JSON has no infinity
            assert not list(place.iterdir())
            assert "Infinity" in json.dumps(document)
            return
        assert json.loads(file.read_text(encoding="utf-8")) == document


names = st.sampled_from(["a", "ab", "ä b", "traces/part-1", "traces/part-2", "c/d", "c/e", "cd"])
changes = st.lists(st.tuples(names, st.none() | st.binary(max_size=6)), max_size=12)


def change(place: Path, name: str, content: bytes | None) -> None:
    """Write a file, or remove it."""
    if content is None:
        remove(place / name)
    else:
        with written_whole(place / name) as beside:
            beside.write_bytes(content)


@given(done=changes, folders=st.sets(st.sampled_from(["c", "traces"])))
@example(done=[("ab", b"1"), ("a", None)], folders=set())
@settings(max_examples=25, deadline=None)
def test_the_list_knows_what_is_there(
    done: list[tuple[str, bytes | None]], folders: set[str]
) -> None:
    with folder() as place:
        manifest.begin(place)
        for name, content in done:
            change(place, name, content)
        for name in folders:
            if (place / name).is_dir():
                remove(place / name)
        there = {
            file.relative_to(place).as_posix(): manifest.entry_of(file)
            for file in manifest.files_in(place)
            if file.name != manifest.NAME
        }
        assert manifest.manifest_of(place).current == there
        for name in there:
            manifest.check(place / name)
            content = (place / name).read_bytes()
            (place / name).write_bytes(content + b"!")
            with pytest.raises(manifest.DamagedFile):
                manifest.check(place / name)


@given(done=changes, more=changes, cut=st.integers(0, 60))
@settings(max_examples=25, deadline=None)
def test_a_list_that_a_crash_cut_off_loses_its_last_line_alone(
    done: list[tuple[str, bytes | None]], more: list[tuple[str, bytes | None]], cut: int
) -> None:
    with folder() as place:
        manifest.begin(place)
        for name, content in done:
            change(place, name, content)
        file = place / manifest.NAME
        whole = file.read_bytes()
        lines = whole.splitlines(keepends=True)
        last = lines[-1] if lines else b""
        file.write_bytes(whole[: len(whole) - min(cut, len(last))])
        for name, content in more:
            change(place, name, content)
        rest = manifest.Manifest()
        kept = lines if cut <= 1 else lines[:-1]  # without its end of line, it is still one
        for line in kept:
            rest.add(line.decode())
        added = file.read_bytes()[len(whole) - min(cut, len(last)) :]
        for text in added.decode().split("\n"):
            rest.add(text)
        assert manifest.manifest_of(place) == rest
