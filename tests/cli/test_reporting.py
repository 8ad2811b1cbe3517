"""The command `report`: where the page goes, what is printed, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from noiseprobe.run.directory import Run


@pytest.fixture
def run(reported_run: Run, tmp_path: Path) -> Path:
    shutil.copytree(reported_run.directory, tmp_path / "runs" / "thing")
    return tmp_path / "runs" / "thing"


def test_the_page_lies_in_the_run_which_stays_whole(call: Any, run: Path) -> None:
    code, out, err = call("report", run)
    assert code == 0, err
    assert out.startswith(f"Report: {run / 'report.html'} (")
    assert call("verify", run)[0] == 0
    (run / "report.html").write_text("changed")
    code, out, _ = call("verify", run)
    assert code == 1
    assert "report.html is damaged" in out


def test_json_says_where_it_is_how_large_and_what_it_says(call: Any, run: Path) -> None:
    place = run.parent / "page.html"
    code, out, _ = call("report", run, "--out", place, "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["report"], told["bytes"]) == (str(place), place.stat().st_size)
    assert told["verdict"][:3] == Run(run).summary()["verdict"][:3]  # later ones name the folder
    assert told["missing"] == []
    assert not (run / "report.html").exists()


def test_of_several_runs_it_says_which_one_lacks_something(call: Any, run: Path) -> None:
    bare = run.with_name("bare")
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("metrics", "samples", "*.json*"))
    Run(bare).write_status("trained", 6, "steps")
    code, out, err = call("report", run, bare, "--out", run.parent / "page.html")
    assert code == 0, err
    assert "bare: No pictures were drawn from its checkpoints" in out
    assert f"measure {bare}" in out


def test_without_a_run_it_is_the_newest(
    call: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parents[1])
    code, out, err = call("report")
    assert code == 0
    assert "report of the newest run: runs/thing" in err
    assert (run / "report.html").is_file()
    assert "runs/thing/report.html" in out


def test_what_would_be_lost_is_not_overwritten(call: Any, run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.html"
    log.write_text("step,loss\n1,2\n2,1\n")
    for arguments, told in (
        ([run, "--out", run / "config.toml"], "name it FILE.html"),
        ([log, "--out", log], "it is a source"),
        ([tmp_path / "nothing"], "nothing"),
    ):
        code, _, err = call("report", *arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert told in err
    assert log.read_text().startswith("step")
