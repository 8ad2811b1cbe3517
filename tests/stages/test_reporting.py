"""What a report gathers of runs and logs: the numbers of other commands, and what is lacking."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.picking import pick_of_run
from noiseprobe.analysis.stops import dvar_stop
from noiseprobe.analysis.verdicts_picking import of_pick
from noiseprobe.core.errors import UserError
from noiseprobe.plots.report.contents import Report
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import ABOUT, flag, of_command
from noiseprobe.stages import telling
from noiseprobe.stages.again import again
from noiseprobe.stages.foreign import find_series, settings_of
from noiseprobe.stages.reporting import gather, newest_run, write_report
from tests.stages.reported import HOSTILE, MEASURED


@pytest.fixture(scope="module")
def found(reported_run: Run) -> Report:
    return gather([reported_run.directory])


def test_the_verdict_is_what_run_and_pick_say(found: Report, reported_run: Run) -> None:
    (told,) = found.runs
    assert list(told.verdict) == reported_run.summary()["verdict"]
    assert list(told.picked) == of_pick(pick_of_run(reported_run))
    assert found.verdict == [*told.verdict, *told.picked]


def test_the_numbers_are_those_of_the_traces(found: Report, reported_run: Run) -> None:
    (told,) = found.runs
    train = reported_run.train_trace().set_index("step")
    l_val = train["l_val"].dropna()
    assert told.losses.best == ("l_val", l_val.idxmin())
    held = told.losses.tracked["l_val"].set_index("step")
    np.testing.assert_array_equal(held["loss"], l_val)
    np.testing.assert_allclose(held["change"], l_val - l_val.iloc[0], atol=1e-6)
    table = told.checkpoints.table.set_index("step")
    assert list(table.index) == reported_run.checkpoint_steps()
    assert {step: tuple(table.loc[step, ["likeness", "prompt"]]) for step in MEASURED} == MEASURED
    assert told.checkpoints.front == [0, 2]
    rows = {row["criterion"]: row for row in told.criteria}
    trace = reported_run.train_trace()
    assert rows["dvar"]["stop_step"] == dvar_stop(trace, reported_run.config)
    kept = rows["patience"]["kept_step"]
    assert rows["patience"]["held_out"] == l_val[l_val.index <= kept].iloc[-1]


def test_the_command_gives_the_very_settings(found: Report, reported_run: Run) -> None:
    program, command, *words = as_bash_reads(found.runs[0].command)
    assert (program, command) == ("noiseprobe", "run")
    keys = {flag(key): key for key in of_command("run")}
    given = {keys[name]: value for name, value in zip(words[::2], words[1::2], strict=True)}
    assert resolve(given).model_dump() == reported_run.config.model_dump()
    assert len(given) < len(ABOUT) / 2  # what is the default is not said


def test_the_command_of_another_trainers_checkpoints_names_them(
    reported_run: Run, photographs: Path, tmp_path: Path
) -> None:
    given = {"model": reported_run.config.model, "concept": str(photographs), "replicates": 3}
    files = [str(reported_run.checkpoint(step)) for step in reported_run.checkpoint_steps()[1:]]
    series = find_series(files, given, "a photo of <v>")
    config = settings_of(series, given)
    run = Run.create(tmp_path / "run", config, "cpu", series=series)
    program, command, *words = as_bash_reads(again(run, config))
    assert (program, command) == ("noiseprobe", "probe")
    flags = list(zip(words[::2], words[1::2], strict=True))
    assert [str(Path(to).parent) for name, to in flags if name == "--checkpoints"] == files
    assert dict(flags)["--caption"] == "a photo of <v>"
    keys = {flag(key): key for key in of_command("probe")}
    named = {keys[name]: value for name, value in flags if name in keys}
    assert settings_of(series, named) == config


def test_pictures_are_by_step_with_their_prompts(found: Report) -> None:
    pictures = found.runs[0].pictures
    assert list(pictures.drawn) == list(MEASURED)
    assert len(pictures.photographs) == 4
    drawn = pictures.drawn[2]
    assert [each.caption for each in drawn.training][1] == "training a photo of <v>"
    assert drawn.validation[1].alt == "Drawn at step 2: validation a photo of <v>"
    assert HOSTILE.split("\u2028")[0] in drawn.training[0].alt


def test_pictures_that_do_not_fit_are_left_out_evenly(
    reported_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_them = telling.run_report(reported_run).pictures
    first = all_of_them.drawn[0]
    size = sum(len(each.source) for each in [*first.training, *first.validation])
    kept = sum(len(each.source) for each in all_of_them.photographs)
    monkeypatch.setattr(telling, "MOST_BYTES", kept + int(2.5 * size))
    pictures = telling.run_report(reported_run).pictures
    assert sorted([*pictures.drawn, *pictures.left_out]) == list(MEASURED)
    assert pictures.left_out == [2]


def test_a_run_that_lacks_something_says_how_to_get_it(reported_run: Run, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    lacking = shutil.ignore_patterns("probe", "metrics", "samples", "*.json", "*.jsonl")
    shutil.copytree(reported_run.directory, bare, ignore=lacking)
    Run(bare).write_status("training", 6, "interrupt")
    (told,) = gather([bare]).runs
    steps = ",".join(map(str, reported_run.checkpoint_steps()))
    ways = [how for _, how in told.missing]
    assert ways == [
        f"noiseprobe run --out {bare} --resume",
        f"noiseprobe probe {bare}",
        f"noiseprobe measure {bare} --steps {steps}",
    ]
    assert not told.pictures.drawn
    assert any("may go on" in sentence for sentence in told.verdict)
    write_report([bare], tmp_path / "bare.html")  # a page can be made of it
    shutil.rmtree(bare / "traces")
    (told,) = gather([bare]).runs
    assert list(told.verdict) == ["No step of its training is recorded yet."]
    write_report([bare], tmp_path / "bare.html")


def test_several_runs_are_compared(reported_run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(reported_run.directory, tmp_path / name)
    found = gather([tmp_path])
    assert [run.name for run in found.runs] == ["one", "two"]
    assert found.comparison is not None
    assert set(found.comparison.table["variant"]) == {"baseline", "dvar"}
    assert found.comparison.verdict[0] in found.verdict
    assert all(not run.pictures.drawn for run in found.runs)


def test_a_log_says_what_a_replay_says(call: Any, tmp_path: Path) -> None:
    log = recorded(tmp_path / "sdxl.csv")
    (tmp_path / "of-the-trainer").mkdir()
    (tmp_path / "of-the-trainer" / "config.toml").write_text("rank = 'of another tool'")
    assert [trace.tag for trace in gather([tmp_path]).traces] == ["loss/validation"]
    (trace,) = gather([log]).traces
    assert trace.tag == "loss/validation"
    assert trace.best_step == 90
    code, out, _ = call("dvar-replay", log, "--all", "--json")
    assert code == 0
    replayed = {row["criterion"]: row["stop_step"] for row in json.loads(out)}
    assert {row["criterion"]: row["stop_step"] for row in trace.criteria} == replayed
    assert trace.stop == replayed["dvar"]
    assert len(trace.training) == 200


def test_a_run_and_a_log_share_a_page(reported_run: Run, tmp_path: Path) -> None:
    found = gather([reported_run.directory, recorded(tmp_path / "sdxl.csv")])
    assert (len(found.runs), len(found.traces), found.comparison) == (1, 1, None)
    assert found.runs[0].pictures.drawn


def test_the_newest_run_is_the_one_worked_on_last(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run is named"):
        newest_run(tmp_path)
    for age, name in enumerate(("z-first", "a-last")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.toml").touch()
        (folder / "status.json").touch()
        os.utime(folder / "status.json", (1000 + age, 1000 + age))
    assert newest_run(tmp_path) == tmp_path / "a-last"


def as_bash_reads(command: str) -> list[str]:
    """The words of a command line."""
    script = f"printf '%s\\0' {command}"
    there = os.environ | {"LC_ALL": "C.UTF-8"}
    printed = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env=there)
    return printed.stdout.decode().split("\0")[:-1]


def recorded(file: Path) -> Path:
    """A log with a validation loss that is lowest at step 90, and a training loss."""
    steps = np.arange(200)
    validation = np.where(steps % 10 == 0, 1 + ((steps - 90) / 100.0) ** 2, np.nan)
    columns = {"step": steps, "train/loss": np.cos(steps) + 2, "loss/validation": validation}
    pd.DataFrame(columns).to_csv(file, index=False)
    return file
