"""Tables of other tools: their headers, steps, restarts, and the exports of known trackers."""

import csv
import json
import math
import re
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noiseprobe.core.errors import UserError
from noiseprobe.logs import (
    RestartedLogWarning,
    Series,
    TruncatedLogWarning,
    read_log,
    read_series,
)
from noiseprobe.logs.delimited import read_delimited
from noiseprobe.logs.json_text import read_json
from noiseprobe.logs.table import Table, is_empty, table_log

STATE = {
    "best_metric": None,
    "global_step": 30,
    "log_history": [
        {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 1e-3, "loss": 0.9, "step": 10},
        {"epoch": 1.0, "eval_loss": 0.8, "eval_runtime": 2.0, "step": 10},
        {"epoch": 1.0, "grad_norm": 1.1, "learning_rate": 1e-3, "loss": 0.7, "step": 20},
        {"epoch": 2.0, "eval_loss": 0.6, "eval_runtime": 2.0, "step": 20},
        {"epoch": 2.0, "step": 30, "train_loss": 0.75, "train_runtime": 60.0},
    ],
}


def written(tmp_path: Path, text: str, name: str = "log") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def points(series: Series) -> list[tuple[int, float]]:
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


@pytest.mark.parametrize(
    "above",
    [
        "# made by a tool\n# on a Monday\n",
        "Training log\nof a dog, and more, much more\n",
        "Experiment: dog\n\n",
        "\ufeff",
    ],
)
def test_a_header_may_stand_below_other_lines(tmp_path: Path, above: str) -> None:
    path = written(tmp_path, f"{above}step,loss\n1,0.5\n# checkpoint saved\n2,0.25\n")
    assert points(read_series(path)) == [(1, 0.5), (2, 0.25)]
    broken = written(tmp_path, f"{above}step,loss\n1,0.5\n2,low\n")
    with pytest.raises(UserError, match=f"line {above.count(chr(10)) + 3}: loss is 'low'"):
        read_series(broken, "loss")


def test_a_comment_may_be_the_header(tmp_path: Path) -> None:
    path = tmp_path / "log"
    np.savetxt(path, [[1, 0.5], [2, 0.25]], delimiter=",", header="step,loss")
    assert points(read_series(path)) == [(1, 0.5), (2, 0.25)]


def test_a_table_may_be_utf_16_and_its_lines_end_in_any_way(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("step;loss\r\n1;0.5\r\n2;0.25\r\n".encode("utf-16"))
    assert points(read_series(path)) == [(1, 0.5), (2, 0.25)]
    path.write_bytes(b"step\tloss\r1\t0.5\r2\t0.25\r")
    assert points(read_series(path)) == [(1, 0.5), (2, 0.25)]


def test_quoted_and_spaced_numbers_are_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, '"step", "loss, mean"\n"1", " 0.5"\n"2", "0.25"\n')
    assert points(read_series(path, "loss, mean")) == [(1, 0.5), (2, 0.25)]


def test_a_quotation_mark_without_its_other_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, 'step,loss,note\n1,0.5,"a"\n2,0.4,"b\n3,0.3,c\n')
    with pytest.raises(UserError, match="line 3 has a quotation mark without its other"):
        read_series(path)


def test_a_loss_of_nan_is_a_point_and_an_empty_one_beside_others_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss,val_loss\n1,0.5,\n2,nan,\n3,,0.25\n")
    steps, losses = zip(*points(read_series(path, "loss")), strict=True)
    assert steps == (1, 2)
    np.testing.assert_array_equal(losses, [0.5, math.nan])


def test_points_that_share_a_step_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n1,0.5\n1,0.4\n2,0.25\n")
    assert points(read_series(path)) == [(1, 0.5), (1, 0.4), (2, 0.25)]


@pytest.mark.parametrize("kind", ["CSV", "JSON Lines"])
def test_a_restart_replaces_the_rows_that_it_goes_back_over(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"step": [0, 10, 20, 30, 20, 30, 40, 50], "loss": np.arange(8.0)})
    text = frame.to_csv(index=False)
    if kind == "JSON Lines":
        text = frame.to_json(orient="records", lines=True)
    path = written(tmp_path, text)
    with pytest.warns(RestartedLogWarning, match="falls back to 20; 2 points of loss"):
        series = read_series(path)
    assert points(series) == [(0, 0), (10, 1), (20, 4), (30, 5), (40, 6), (50, 7)]


@pytest.mark.parametrize("kind", ["CSV", "JSON Lines"])
def test_an_evaluation_that_is_done_again_after_a_restart_counts_once(
    tmp_path: Path, kind: str
) -> None:
    # The last evaluation before the kill is the first one after it: no step of its own falls.
    steps = np.array([*range(32), *range(25, 60)])
    frame = pd.DataFrame({"step": steps, "loss": np.arange(67.0), "val_loss": np.arange(67.0)})
    frame.loc[steps % 10 > 0, "val_loss"] = np.nan
    text = frame.to_csv(index=False)
    if kind == "JSON Lines":
        text = frame.to_json(orient="records", lines=True)
    with pytest.warns(RestartedLogWarning, match="1 points of val_loss that were recorded again"):
        series = read_series(written(tmp_path, text))
    assert points(series) == [(0, 0), (10, 10), (20, 20), (30, 37), (40, 47), (50, 57)]


def test_counters_of_two_kinds_in_one_column_are_no_restart(tmp_path: Path) -> None:
    rows = [f"{step},{step},\n" + (f"{step // 10},,1\n" * (step % 10 == 0)) for step in range(31)]
    log = read_log(written(tmp_path, "step,loss,val_loss\n" + "".join(rows)))
    assert log.series("loss").steps.tolist() == list(range(31))
    assert log.series("val_loss").steps.tolist() == [0, 1, 2, 3]


ROWS = "".join(f"{step},{1 / (step + 3):.6f},1e-4\n" for step in range(120))


@pytest.mark.parametrize("rest", ["12", "120,", "120,0.1"])
def test_a_last_row_that_was_cut_off_is_left_out(tmp_path: Path, rest: str) -> None:
    path = written(tmp_path, "step,loss,lr\n" + ROWS + rest)
    with pytest.warns(TruncatedLogWarning, match="line 122: cut off") as caught:
        series = read_series(path)
    assert len(caught) == 1
    assert series.steps.tolist() == list(range(120))


def test_a_last_number_that_may_be_cut_off_is_told_of(tmp_path: Path) -> None:
    with pytest.warns(TruncatedLogWarning, match="no end, so that '1' may be part of a number"):
        assert (
            len(read_series(written(tmp_path, "step,loss,lr\n" + ROWS + "120,0.2,1")).steps) == 121
        )
    whole = read_series(written(tmp_path, "step,loss,lr\n" + ROWS + "120,0.2,1e-4"))
    assert len(whole.steps) == 121


def test_points_as_tensorboard_has_them_for_download_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps([[1.7e9, 0, 0.5], [1.7e9 + 1, 10, 0.25]]))
    assert points(read_series(path)) == [(0, 0.5), (10, 0.25)]


def test_steps_in_no_order_are_no_restart(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n" + "".join(f"{step},1\n" for step in range(9, 0, -1)))
    with pytest.raises(UserError, match="line 3: step is 8 after 9; sort the rows"):
        read_series(path)


def test_what_another_trace_recorded_is_no_point_of_this_one(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,val_loss\n0,9,0.9,\n0,19,0.7,\n0,19,,0.8\n1,29,,\n"
    log = read_log(written(tmp_path, text))
    assert log.tags == ("train_loss", "val_loss")
    training = points(log.series("train_loss"))
    assert training[:2] == [(9, 0.9), (19, 0.7)]
    assert training[2][0] == 29
    assert math.isnan(training[2][1])
    assert points(log.series("val_loss"))[0] == (19, 0.8)


def test_json_of_many_shapes_gives_the_same_series(tmp_path: Path) -> None:
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    frame = pd.DataFrame(rows)
    for document, kind in [
        (json.dumps(rows), "JSON"),
        (json.dumps(rows, indent=2), "JSON"),
        (json.dumps(frame.to_dict("list")), "JSON"),
        (frame.to_json(indent=1), "JSON"),
        ("\n\n".join(map(json.dumps, rows)), "JSON Lines"),
        ("\r\n".join(map(json.dumps, rows)), "JSON Lines"),
        (json.dumps({"log_history": rows}), "trainer state"),
    ]:
        log = read_log(written(tmp_path, document))
        assert (log.kind, log.tags) == (kind, ("loss",))
        assert points(log.series("loss")) == [(1, 0.5), (2, 0.25)]


def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n{"step": 3, "lo')
    with pytest.warns(TruncatedLogWarning, match="line 3: cut off"):
        series = read_series(path)
    assert points(series) == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_trainer_state_gives_training_and_evaluation(tmp_path: Path, indent: int | None) -> None:
    path = written(tmp_path, json.dumps(STATE, indent=indent), "trainer_state.json")
    for source in (path, tmp_path):
        log = read_log(source)
        assert log.kind == "trainer state"
        assert log.tags[:3] == ("grad_norm", "learning_rate", "loss")
        assert points(log.series("loss")) == [(10, 0.9), (20, 0.7)]
        assert points(read_series(source)) == [(10, 0.8), (20, 0.6)]


def test_the_extremes_of_an_exported_chart_are_no_traces(tmp_path: Path) -> None:
    names = ["Step", *(f"dog - loss{end}" for end in ("", "__MIN", "__MAX")), "cat - loss"]
    rows = [["0", "0.9", "0.8", "1.0", ""], ["10", "0.5", "0.4", "0.6", "0.7"]]
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in [names, *rows])
    log = read_log(written(tmp_path, text))
    assert (log.kind, log.tags) == ("W&B export", ("dog - loss", "cat - loss"))
    assert points(log.series("dog - loss")) == [(0, 0.9), (10, 0.5)]
    assert points(log.series("cat - loss")) == [(10, 0.7)]
    with pytest.raises(UserError, match="several runs; choose one with --tag dog - loss or cat"):
        read_series(log.path)


@pytest.mark.parametrize("form", ["nested", "lines", "array", "csv", "parquet"])
def test_a_history_of_weights_and_biases_is_read(tmp_path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [
        {"_step": 0, "_runtime": 1.5, "_timestamp": 1.7e9, "train/loss": 0.9, "train/lr": 1e-3},
        {"_step": 1, "_runtime": 2.5, "_timestamp": 1.7e9, "eval/loss": 0.8},
        {"_step": 2, "_runtime": 3.5, "_timestamp": 1.7e9, "train/loss": 0.7, "train/lr": 1e-3},
        {"_step": 3, "_runtime": 4.5, "_timestamp": 1.7e9, "sample": "picture.png"},
    ]
    path = tmp_path / "history"
    if form == "nested":
        for row in rows:
            for part in ("train", "eval"):
                inner = {key[len(part) + 1 :]: row.pop(key) for key in list(row) if part in key}
                row |= {part: inner} if inner else {}
    if form in ("nested", "lines"):
        written(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "history")
    elif form == "array":
        written(tmp_path, json.dumps(rows), "history")
    elif form == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    log = read_log(path)
    assert log.kind == "W&B export"
    assert set(log.tags) == {"train/loss", "train/lr", "eval/loss"}
    assert points(log.series("train/loss")) == [(0, 0.9), (2, 0.7)]
    assert points(read_series(path)) == [(1, 0.8)]


@pytest.mark.parametrize("name", ["Step", "trainer/global_step", "train/global_step", "_step"])
def test_steps_are_counted_under_many_names(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, f"{name},loss\n5,0.5\n6,0.25\n")
    assert points(read_series(path)) == [(5, 0.5), (6, 0.25)]


def test_a_step_column_with_gaps_gives_way_to_one_without(tmp_path: Path) -> None:
    path = written(tmp_path, "global_step,_step,loss\n,1,0.5\n7,2,0.25\n")
    assert points(read_series(path)) == [(1, 0.5), (2, 0.25)]


cells = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(
        ["", "NA", "null", "#", " 1.5", "1e400", "low", "true", '"2.5"', "nan", "-inf"]
    ),
)


def outcome(table: Table, name: str) -> Any:
    """What a table gives for a trace, as something that can be compared, wherever it stands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            series = table_log(table).series(name)
    except UserError as error:
        return re.sub(r"(line|row|object) \d+: ", "", str(error))
    return series.steps.tolist(), [value.hex() for value in series.values.tolist()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8), st.booleans())
@example([("1", "2", "3"), ("", "", ""), ("2", "3", "4")], False)
@example([("true", "nan", "3"), ("true", "NA", "nA")], False)
@example([(str(2**62 + 1), "1", "1"), (f"{2**62}.0", "1_0", "0x1")], True)
def test_cells_of_a_table_are_the_numbers_that_python_reads(
    rows: list[tuple[str, str, str]], steps: bool
) -> None:
    header = ("step" if steps else "other", "loss", "lr")
    text = "\n".join(",".join(row) for row in [header, *rows]) + "\n"
    table = read_delimited(Path("log"), text)
    told = [
        [cell.strip() for cell in row]
        for row in csv.reader(row for row in text.split("\n") if not row.startswith("#"))
        if not all(map(is_empty, row))
    ]
    columns = dict(zip(header, zip(*told[1:], strict=True), strict=True)) if told[1:] else {}
    expected = read_json(Path("log"), json.dumps(columns))
    for name in ("loss", "lr") if told[1:] else ():
        assert outcome(table, name) == outcome(expected, name)


values: st.SearchStrategy[Any] = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(10**18), 10**18),
    st.sampled_from(["low", True, False, None]),
    st.dictionaries(st.just("of"), st.integers(), min_size=1),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["step", "loss", "lr"]), values), min_size=2))
def test_json_lines_are_read_as_an_array_of_them(rows: list[dict[str, Any]]) -> None:
    with mock.patch("noiseprobe.logs.json_text._CHUNK", 30):
        table = read_json(Path("log"), "\n".join(map(json.dumps, rows)) + "\n")
    array = read_json(Path("log"), json.dumps(rows))
    assert (table.height, list(table.columns)) == (array.height, list(array.columns))
    for name in table.columns if table.height else ():
        assert outcome(table, name) == outcome(array, name)
