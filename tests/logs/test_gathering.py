"""What a folder only happens to hold does not end a replay; what was named does."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from noiseprobe.core.errors import UserError
from noiseprobe.logs import PassedOverWarning, choose_tags, read_logs

LOSS = "step,loss\n1,0.5\n2,0.25\n3,0.125\n"
GPU = "step,gpu_util,temp\n1,90,60\n2,91,61\n"
DATES = "step,loss\n2024-01-01,0.5\n2024-01-02,0.25\n"
NOTES = "step,loss,note\n1,0.5,1\n2,0.25,low\n3,0.2,2\n"

# In tests, warnings of the package are errors.
pytestmark = pytest.mark.filterwarnings("default::noiseprobe.logs.PassedOverWarning")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of two logs with a loss, and with a table of another kind between them."""
    folder = tmp_path / "mix"
    with SummaryWriter(str(folder / "tb")) as writer:
        for step in range(5):
            writer.add_scalar("loss", 1 / (1 + step), step)
    (folder / "gpu.csv").write_text(GPU, encoding="utf-8")
    (folder / "loss.csv").write_text(LOSS, encoding="utf-8")
    return folder


def replayed(call: Any, *given: object) -> tuple[list[tuple[str, str]], str]:
    """The traces in the JSON document, and standard error."""
    code, out, err = call("dvar-replay", *given, "--json")
    assert code == 0, err
    return [(Path(row["trace"]).name, row["tag"]) for row in json.loads(out)], err


@pytest.mark.parametrize("tag", [[], ["--tag", "*loss*"]])
def test_a_log_without_the_loss_is_passed_over(call: Any, mixed: Path, tag: list[str]) -> None:
    traces, err = replayed(call, mixed, *tag)
    assert traces == [("loss.csv", "loss"), ("tb", "loss")]
    assert err.count("warning") == 1
    assert f"passed over {mixed / 'gpu.csv'}: no trace" in err


@pytest.mark.parametrize("given", [["gpu.csv"], ["gpu.csv", "."], [".", "gpu.csv"], ["*.csv"]])
def test_a_log_that_was_named_is_not_passed_over(call: Any, mixed: Path, given: list[str]) -> None:
    code, out, err = call("dvar-replay", *(mixed / each for each in given))
    assert (code, out) == (2, "")
    assert f"noiseprobe: {mixed / 'gpu.csv'}: no trace" in err


def test_where_nothing_remains_that_is_said(call: Any, mixed: Path) -> None:
    code, out, err = call("dvar-replay", mixed, "--tag", "los")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"none of 3 logs can be used; the first is {mixed / 'gpu.csv'}: no trace" in err
    (mixed / "loss.csv").unlink()
    (mixed / "gpu.csv").unlink()
    code, _, err = call("dvar-replay", mixed, "--tag", "los")
    assert (code, err) == (
        2,
        f"noiseprobe: {mixed / 'tb'}: no trace matches 'los'; did you mean --tag loss?\n",
    )


def test_a_log_that_cannot_be_read_is_passed_over(call: Any, mixed: Path) -> None:
    (mixed / "dates.csv").write_text(DATES, encoding="utf-8")
    for more in ([], ["--list"]):
        traces, err = replayed(call, mixed, *more)
        assert ("loss.csv", "loss") in traces
        assert "dates.csv" not in dict(traces)
        assert f"passed over {mixed / 'dates.csv'}, line 2: step is '2024-01-01'" in err
        code, _, err = call("dvar-replay", mixed / "dates.csv", *more)
        assert code == 2
        assert "give whole numbers, or leave the column out" in err


def test_a_list_leaves_out_the_columns_that_cannot_be_read(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(NOTES, encoding="utf-8")
    traces, err = replayed(call, path, "--list")
    assert traces == [("notes.csv", "loss")]
    assert f"passed over {path}, line 3: note is 'low'" in err
    assert call("dvar-replay", path, "--tag", "note")[0] == 2


def test_a_single_point_is_passed_over_where_others_remain(call: Any, mixed: Path) -> None:
    with SummaryWriter(str(mixed / "tb")) as writer:
        writer.add_hparams({"lr": 0.1}, {"hparam/loss": 0.5}, run_name="hparams")
    expected = [("loss.csv", "loss"), ("tb", "loss")]
    for given in (mixed, mixed.parent):
        traces, err = replayed(call, given)
        assert traces == expected
        assert f"passed over {mixed / 'tb' / 'hparams'}: a single point of hparam/loss" in err
    alone = [("hparams", "hparam/loss")]
    assert replayed(call, mixed / "tb")[0] == expected[1:]
    traces, err = replayed(call, mixed / "tb" / "hparams")
    assert traces == alone
    assert "passed over" not in err
    assert replayed(call, mixed, "--tag", "hparam/*")[0] == alone
    assert replayed(call, mixed / "tb" / "hparams", mixed / "tb")[0] == alone + expected[1:]


def test_each_trace_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOSS, encoding="utf-8")
    ((log, tags),) = read_logs([tmp_path], lambda tags: choose_tags(tags, None))
    assert tags == ["loss"]
    assert log.series("loss") is log.series("loss")
    with pytest.raises(UserError, match="did you mean --tag loss"):
        log.series("los")


def test_what_was_passed_over_is_a_warning(mixed: Path) -> None:
    with pytest.warns(PassedOverWarning, match=r"gpu\.csv"):
        assert len(list(read_logs([mixed], lambda tags: choose_tags(tags, None)))) == 2
