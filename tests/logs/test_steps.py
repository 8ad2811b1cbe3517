"""Which column counts steps, what happens where none does, and that steps stay exact."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch.utils.tensorboard import SummaryWriter

from noiseprobe.core.errors import UserError
from noiseprobe.logs import NumberedLogWarning, RestartedLogWarning, read_log, read_series
from noiseprobe.logs.tags import step_columns


def written(tmp_path: Path, text: str, name: str = "log") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def saved(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "log"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_series(path, column)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "Training Step",
        "num_steps",
        "batch_idx",
        "iters",
        "globalStep",
        "run - n_iter",
        "Update No.",
    ],
)
def test_a_step_is_known_by_the_words_of_its_name(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, **{name: np.arange(0, 100, 10), "Loss": np.linspace(1, 0, 10)})
    log = read_log(path)
    assert log.tags == ("Loss",)
    assert log.series("Loss").steps.tolist() == list(range(0, 100, 10))


def test_what_only_speaks_of_steps_counts_none() -> None:
    names = ["step_loss", "step_time", "steps_per_second", "batch_size", "steps_offset", "lr", "n"]
    assert step_columns(names) == []
    names = ["epoch", "Epoch No", "batch", "Training Step", "global_step", "step"]
    assert step_columns(names) == [*names[:1:-1], *names[:2]]


def test_text_under_a_name_that_may_count_steps_is_no_step(tmp_path: Path) -> None:
    path = written(tmp_path, "step,batch,loss\n3,first.png,0.5\n4,second.png,0.25\n")
    assert read_series(path).steps.tolist() == [3, 4]
    path = written(tmp_path, "batch,loss\nfirst.png,0.5\nsecond.png,0.25\n")
    with pytest.warns(NumberedLogWarning, match="no column counts steps"):
        assert read_series(path).steps.tolist() == [0, 1]


def test_rows_without_steps_are_numbered_and_that_is_said_once(tmp_path: Path) -> None:
    text = "Relative Time (Process),loss,lr\n0.5,0.9,1\n1.5,0.5,1\n2.5,0.3,1\n"
    log = read_log(written(tmp_path, text))
    with pytest.warns(NumberedLogWarning, match="rows are numbered from 0") as caught:
        steps = [log.series(tag).steps.tolist() for tag in log.tags]
    assert steps == [[0, 1, 2]] * 2
    assert len(caught) == 1
    assert str(caught[0].message).startswith(str(log.path))


EPOCHS = np.repeat(np.arange(6), 100)
BATCHES = np.tile(np.arange(100), 6)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"epoch": EPOCHS}, "epoch repeats too often"),
        ({"epoch": EPOCHS, "batch": BATCHES}, "batch begins anew in each epoch"),
        ({"epoch": EPOCHS, "step": BATCHES}, "step begins anew in each epoch"),
        ({"batch": BATCHES}, "batch repeats too often"),
        ({"step": np.zeros(600, int)}, "step repeats too often"),
        ({"epoch": EPOCHS + BATCHES / 100}, "epoch holds fractions"),
    ],
)
def test_steps_that_do_not_tell_points_apart_are_numbered(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    path = saved(tmp_path, **columns, loss=np.linspace(1, 0, 600))
    with pytest.warns(NumberedLogWarning, match=said):
        series = read_series(path)
    np.testing.assert_array_equal(series.steps, np.arange(600))


def test_a_column_that_tells_points_apart_is_taken_before_one_that_does_not(tmp_path: Path) -> None:
    steps = np.arange(600) * 3
    path = saved(tmp_path, epoch=EPOCHS, step=BATCHES, global_step=steps, loss=1.5)
    np.testing.assert_array_equal(read_series(path).steps, steps)
    path = saved(tmp_path, epoch=np.arange(600) // 2, batch=np.arange(600) % 2, loss=1.5)
    np.testing.assert_array_equal(read_series(path).steps, np.arange(600) // 2)


def test_a_step_that_is_logged_twice_is_a_step(tmp_path: Path) -> None:
    path = saved(tmp_path, step=np.arange(600) // 2, loss=1.5)
    np.testing.assert_array_equal(read_series(path).steps, np.arange(600) // 2)


def test_a_restart_beside_epochs_is_a_restart(tmp_path: Path) -> None:
    steps = np.array([*range(60), *range(50, 100)])
    path = saved(tmp_path, epoch=steps // 20, step=steps, loss=1.5)
    with pytest.warns(RestartedLogWarning, match="falls back to 50; 10 points"):
        np.testing.assert_array_equal(read_series(path).steps, np.arange(100))


def test_all_traces_of_a_table_are_numbered_alike(tmp_path: Path) -> None:
    judge = np.where(BATCHES == 99, 0.5, np.nan)
    log = read_log(saved(tmp_path, epoch=EPOCHS, loss=1.5, val_loss=judge))
    with pytest.warns(NumberedLogWarning):
        assert log.series("val_loss").steps.tolist() == list(range(99, 600, 100))
    rows: list[dict[str, Any]] = []
    for step in range(9):
        rows += [{"step": step, name: 0.5} for name in ("loss", "lr", "norm")]
    path = written(tmp_path, "\n".join(map(json.dumps, rows)))
    assert read_series(path).steps.tolist() == list(range(9))


def test_events_without_steps_are_numbered(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for point in range(600):
            writer.add_scalar("loss", 1 / (1 + point))
            if point % 100 == 99:
                writer.add_scalar("val_loss", 1.0, point // 100)
    log = read_log(tmp_path)
    with pytest.warns(NumberedLogWarning, match="steps of loss repeat too often") as caught:
        steps = {tag: log.series(tag).steps.tolist() for tag in log.tags}
    assert steps == {"loss": list(range(600)), "val_loss": list(range(99, 600, 100))}
    assert len(caught) == 1


def test_a_few_points_at_one_step_do_not_number_the_others(tmp_path: Path) -> None:
    rows = [{"step": step, name: 0.5} for step in range(9) for name in ("loss", "lr", "norm")]
    rows += [{"step": 8, "eval_loss": 0.5}] * 3
    log = read_log(written(tmp_path, "\n".join(map(json.dumps, rows))))
    assert log.series("loss").steps.tolist() == list(range(9))
    assert log.series("eval_loss").steps.tolist() == [8] * 3
    with SummaryWriter(str(tmp_path / "events")) as writer:
        for row in rows:
            (name,) = row.keys() - {"step"}
            writer.add_scalar(name, row[name], row["step"])
    log = read_log(tmp_path / "events")
    assert log.series("loss").steps.tolist() == list(range(9))
    assert log.series("eval_loss").steps.tolist() == [8] * 3


@pytest.mark.parametrize("form", ["csv", "exponent", "spaced", "lines", "json", "parquet", "index"])
def test_large_steps_stay_exact(tmp_path: Path, form: str) -> None:
    steps = [2**60 + place for place in range(20)]
    frame = pd.DataFrame({"step": steps, "loss": 0.5})
    path = tmp_path / "log"
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "index":
        frame.index = pd.RangeIndex(2**60, 2**60 + 20, name="step")
        frame[["loss"]].to_parquet(path)
    elif form in ("lines", "json"):
        frame.to_json(path, orient="records", lines=form == "lines")
    else:
        frame.to_csv(path, index=False)
        if form == "exponent":
            written(tmp_path, path.read_text() + "2e18,0.25\n")
        if form == "spaced":
            written(tmp_path, path.read_text().replace(",", " ,"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_series(path).steps.tolist()[:20] == steps


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 10**30])
def test_steps_beyond_64_bits_are_one_line(tmp_path: Path, step: int) -> None:
    for form in (
        "step,loss\n1,0.5\n{},0.25\n",
        '{{"step": 1, "loss": 1}}\n{{"step": {}, "loss": 2}}',
    ):
        said = refusal(written(tmp_path, form.format(step)))
        assert "step is " in said
        assert "give whole numbers below 2^63, or leave the column out" in said
        assert "\n" not in said
    path = saved(tmp_path, step=[-(2**63), 2**63 - 1], loss=[0.5, 0.25])
    assert read_series(path).steps.tolist() == [-(2**63), 2**63 - 1]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("2024-01-01 10:00", "step is '2024-01-01 10:00', not a number; give whole numbers, or"),
        ("late", "step is 'late', not a number; give whole numbers, or leave the column out"),
        ("1.5", "step is 1.5; give whole numbers, or leave the column out"),
        ("", "step is nan; give whole numbers, or leave the column out"),
        ('"1,000"', "step is '1,000', not a number; write 1000"),
    ],
)
def test_the_mend_of_a_step_is_no_other_trace(tmp_path: Path, cell: str, said: str) -> None:
    message = refusal(written(tmp_path, f"step,loss\n1,0.5\n{cell},0.25\n3,0.2\n"))
    assert f"line 3: {said}" in message
    assert "--tag" not in message


def test_commas_between_thousands_are_named(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, 'step,loss\n1,0.5\n2,"1,234.5"\n'))
    assert message.endswith("line 3: loss is '1,234.5', not a number; write 1234.5")
    assert "write" not in refusal(written(tmp_path, 'step,loss\n1,0.5\n2,"1,23"\n'))
