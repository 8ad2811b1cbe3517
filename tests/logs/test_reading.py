"""Losses are read from runs and from other tools' logs, and bad ones are named in one line."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series, read_series
from noiseprobe.run.traces import TRAIN_COLUMNS, write_part

# What this says is tested in test_sources_steps.py.
pytestmark = pytest.mark.filterwarnings("ignore::noiseprobe.logs.NumberedLogWarning")

LOSSES = [0.9, 0.5, 0.30000000000000004, 0.25]


def written(tmp_path: Path, text: str, name: str = "log.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def assert_series(series: Series, steps: list[int], values: list[float]) -> None:
    assert series.steps.dtype == np.int64
    assert series.values.dtype == np.float64
    np.testing.assert_array_equal(series.steps, steps)
    np.testing.assert_array_equal(series.values, values)


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_series(path, column)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.fixture
def run(tmp_path: Path) -> Path:
    l_det: NDArray[np.float64] = np.array([0.9, math.nan, 0.5, math.nan, 0.25])
    frame = pd.DataFrame({"step": range(5), "loss": 0.5, "l_det": l_det}, columns=[*TRAIN_COLUMNS])
    for first in (0, 3):
        rows = frame.iloc[first : first + 3 if first == 0 else None]
        write_part(tmp_path / "traces" / "train", TRAIN_COLUMNS, rows)
    return tmp_path


def test_a_run_gives_l_det_where_it_was_evaluated(run: Path) -> None:
    series = read_series(run, None)
    assert (series.name, series.column) == (str(run), "l_det")
    assert_series(series, [0, 2, 4], [0.9, 0.5, 0.25])


def test_a_run_gives_any_other_column_by_name(run: Path) -> None:
    assert_series(read_series(run, "loss"), [0, 1, 2, 3, 4], [0.5] * 5)


def test_a_column_that_a_run_never_recorded_is_refused(run: Path) -> None:
    assert "--tag" in refusal(run, "grad_norm")
    assert "--tag l_det" in refusal(run, "ldet")


def test_a_broken_part_of_a_run_is_refused(run: Path) -> None:
    (run / "traces" / "train" / "part-00000003.parquet").write_bytes(b"PAR1 and no more")
    assert "not a training trace" in refusal(run)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_csv_is_read_with_any_delimiter(tmp_path: Path, delimiter: str, newline: str) -> None:
    rows = [("step", "loss"), *((10 * i, loss) for i, loss in enumerate(LOSSES))]
    text = newline.join(f"{left}{delimiter}{right}" for left, right in rows) + newline
    path = tmp_path / "losses"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert_series(read_series(path, None), [0, 10, 20, 30], LOSSES)


def test_empty_nan_and_infinite_cells_of_a_csv_are_no_numbers_but_points(tmp_path: Path) -> None:
    path = written(tmp_path, "step,loss\n1,0.5\n2,\n3,nan\n4,inf\n5,0.25\n")
    series = read_series(path, None)
    assert_series(series, [1, 2, 3, 4, 5], [0.5, math.nan, math.nan, math.inf, 0.25])


def test_a_blank_line_is_an_empty_cell_only_where_there_is_one_column(tmp_path: Path) -> None:
    single = written(tmp_path, "loss\n0.5\n\n0.25\n\n")
    assert_series(read_series(single, None), [0, 1, 2], [0.5, math.nan, 0.25])
    double = written(tmp_path, "step,loss\n1,0.5\n\n2,0.25\n\n")
    assert_series(read_series(double, None), [1, 2], [0.5, 0.25])


def test_plain_numbers_need_no_header(tmp_path: Path) -> None:
    path = written(tmp_path, "0.9\n0.5\n0.25\n", "losses.txt")
    assert_series(read_series(path, None), [0, 1, 2], [0.9, 0.5, 0.25])
    table = written(tmp_path, "1,0.9\n2,0.5\n")
    assert "column 1, column 2" in refusal(table)
    assert_series(read_series(table, "column 2"), [0, 1], [0.9, 0.5])


def test_row_numbers_and_quoted_names_do_not_mislead(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    pd.DataFrame({"step": [3, 4], "loss; a;b;c": [0.5, 0.25]}).to_csv(path)
    assert_series(read_series(path, None), [3, 4], [0.5, 0.25])
    quoted = written(tmp_path, '"0.9"\n"0.5"\n')
    assert_series(read_series(quoted, None), [0, 1], [0.9, 0.5])


def test_json_lines_may_mix_kinds_of_rows(tmp_path: Path) -> None:
    rows = [
        {"global_step": 1, "loss": 0.5},
        {"global_step": 1, "clip": "good"},
        {"global_step": 2, "loss": None},
        {"global_step": 3, "loss": math.nan},
        {"global_step": 4, "loss": 1},
    ]
    path = written(tmp_path, "\n".join(json.dumps(row) for row in rows) + "\n\n", "log.txt")
    assert_series(read_series(path, None), [1, 2, 3, 4], [0.5, math.nan, math.nan, 1.0])


def test_parquet_is_recognised_by_content(tmp_path: Path) -> None:
    frame = pd.DataFrame({"iteration": [5, 6], "l_det": [0.5, 0.25], "loss": [1.0, 2.0]})
    path = tmp_path / "log.csv"
    frame.set_index("iteration").to_parquet(path)
    assert_series(read_series(path, None), [5, 6], [0.5, 0.25])
    frame[frame.l_det < 0.5].drop(columns="l_det").to_parquet(path)
    assert_series(read_series(path, None), [6], [2.0])


def test_nulls_of_a_parquet_file_are_points(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    values = pd.array([None, 2, 3], dtype="Int64")
    pd.DataFrame({"note": [None, "a", "b"], "loss": values}, index=[7, 9, 2]).to_parquet(path)
    assert_series(read_series(path, None), [0, 1, 2], [math.nan, 2.0, 3.0])
    pd.DataFrame({"loss": ["1.5", "high"]}).to_parquet(path)
    assert "row 2: loss is 'high'" in refusal(path)


def test_the_only_column_of_numbers_is_the_loss(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,note,value\n0,a,0.5\n0,b,0.25\n")
    series = read_series(path, None)
    assert series.column == "value"
    assert_series(series, [0, 0], [0.5, 0.25])


def test_l_det_is_taken_before_other_numbers(tmp_path: Path) -> None:
    assert read_series(written(tmp_path, "loss,l_det\n1,2\n"), None).column == "l_det"


def test_fractions_of_epochs_do_not_count_steps(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,loss\n0.1,0.5\n0.2,0.25\n")
    assert_series(read_series(path, None), [0, 1], [0.5, 0.25])


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("step,loss\n1,0.5\n2,low\n", None, "line 3: loss is 'low', not a number"),
        ("step,loss\n1,low\n", None, "line 2: loss is 'low', not a number"),
        ("step,loss\n\n1,0.5\n2,low\n", "loss", "line 4: loss is 'low'"),
        (
            "a,b\n1,2\n",
            None,
            "no trace that must be the loss among a, b; choose with --tag NAME",
        ),
        ("a,b\nx,y\n", None, "no trace of numbers"),
        ("step\n1\n", None, "no trace of numbers"),
        ("step,train_loss\n1,2\n", "trainloss", "did you mean --tag train_loss?"),
        ("step,loss\n1,2\n", "Loss", "did you mean --tag loss?"),
        ("step,loss\n1,2\n", "xyz", "choose one of loss with --tag NAME"),
        ("step,loss\n", None, "no rows"),
        ("", None, "the file is empty"),
        (" \n\n", None, "the file is empty"),
        ("step,loss\n1,2\n1,2,3\n", None, "not a table"),
        ("step,loss\n1,2,3\n", None, "not a table"),
        ("loss\n0,5\n0,4\n", None, "not a table"),
        ("\n\nstep,loss\n1,low\n", None, "line 4: loss is 'low'"),
        ("step,loss\n1,2\n1.5,3\n", None, "line 3: step is 1.5; give whole numbers"),
        ("step,loss\n1,2\n,3\n", None, "line 3: step is nan; give whole numbers"),
        ("step,loss\n5,2\n3,3\n", None, "line 3: step is 3 after 5; sort the rows"),
        ('{"loss": 1}\n{"loss": \n', None, "line 2: not JSON"),
        ('{"loss": 1}\n[2]\n', None, "line 2: not a JSON object"),
        ('{"loss": 1}\n{"loss": true}\n', None, "line 2: loss is True, not a number"),
        ('{"step": 1, "loss": 1}\n{"loss": 2}\n', None, "line 2: step is missing"),
        ("{}\n", None, "no rows"),
        ("[1, 2]", None, "write one JSON object per line"),
        ("PAR1 and no more", None, "broken Parquet"),
    ],
)
def test_a_bad_file_is_named_with_its_fault_and_the_mend(
    tmp_path: Path, text: str, column: str | None, said: str
) -> None:
    assert said in refusal(written(tmp_path, text), column)


def test_what_is_no_file_or_run_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.csv")
    assert "not a run directory" in refusal(tmp_path)
    picture = tmp_path / "picture"
    picture.write_bytes(b"\x89PNG\xff")
    assert "neither TensorBoard events, Parquet nor UTF-8 text" in refusal(picture)
    assert "cannot be read" in refusal(written(tmp_path, "loss\n1\n") / "below")
