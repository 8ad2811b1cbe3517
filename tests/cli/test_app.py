"""The command line as scripts and people use it: exit codes, streams, one-line errors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from noiseprobe.cli.app import COMMANDS, whole
from noiseprobe.cli.flags import FewFlags
from noiseprobe.run.directory import Run


@pytest.fixture
def flags(given: dict[str, Any]) -> list[str]:
    names = {"class_noun": "--class"}
    pairs = [(names.get(key, "--" + key.replace("_", "-")), given[key]) for key in given]
    return [str(word) for pair in pairs for word in pair]


@pytest.fixture
def finished(call: Any, flags: list[str], tmp_path: Path) -> Path:
    assert call("run", *flags, "--out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


def test_run_prints_one_json_document_and_nothing_else(
    call: Any, flags: list[str], tmp_path: Path
) -> None:
    code, out, err = call("run", *flags, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    summary = json.loads(out)
    expected = {"run", "method", "model", "steps", "stopped_by", "stop_step", "train_seconds"}
    assert expected | {"probe_seconds", "noise_to_signal", "figures"} <= set(summary)
    assert "training" in err
    for name in ("config.toml", "environment.json", "status.json", "summary.json"):
        assert (tmp_path / "run" / name).is_file()


def test_run_prints_a_short_table(call: Any, flags: list[str], tmp_path: Path) -> None:
    code, out, _ = call("run", *flags, "--out", tmp_path / "run")
    assert code == 0
    for word in ("images", "vae_noise", "timesteps", "DVAR", "figures"):
        assert word in out


def test_stages_alone_give_what_run_gives(
    call: Any, flags: list[str], finished: Path, tmp_path: Path
) -> None:
    probe_flags = {"--replicates", "--probe-batch", "--micro-batch"}
    pairs = list(zip(flags[::2], flags[1::2], strict=True))
    training = [word for pair in pairs if pair[0] not in probe_flags for word in pair]
    probing = [word for pair in pairs if pair[0] in probe_flags for word in pair]
    alone = tmp_path / "alone"
    assert call("train", *training, "--out", alone)[0] == 0
    assert not (alone / "traces" / "probe").exists()
    assert call("probe", alone, *probing)[0] == 0
    for part in sorted((finished / "traces" / "probe").iterdir()):
        assert (alone / "traces" / "probe" / part.name).read_bytes() == part.read_bytes()


def test_a_flag_that_is_repeatable_keeps_what_each_says(
    call: Any, flags: list[str], tmp_path: Path
) -> None:
    probing = {"--replicates", "--probe-batch", "--micro-batch"}
    pairs = zip(flags[::2], flags[1::2], strict=True)
    training = [word for pair in pairs if pair[0] not in probing for word in pair]
    both = ("--track", "recent", "--track", "paired")
    assert call("train", *training, *both, "--out", tmp_path / "run")[0] == 0
    run = Run.open(tmp_path / "run")
    assert run.config.track == ("recent", "paired")
    assert run.train_trace()["paired"].notna().any()


def test_plot_draws_the_figures_again(call: Any, finished: Path) -> None:
    before = {path: path.read_bytes() for path in (finished / "figures").iterdir()}
    for path in before:
        path.unlink()
    code, out, _ = call("plot", finished)
    assert code == 0
    assert {Path(line) for line in out.split()} == set(before)
    assert {path: path.read_bytes() for path in before} == before


def test_replay_of_a_run_a_csv_and_a_parquet_file_agree(
    call: Any, finished: Path, tmp_path: Path
) -> None:
    trace = Run.open(finished).train_trace()
    trace.to_csv(tmp_path / "log.csv", index=False)
    trace.to_parquet(tmp_path / "log.parquet")
    sources = [finished, tmp_path / "log.csv", tmp_path / "log.parquet"]
    code, out, _ = call(
        "dvar-replay", *sources, "--window", 3, "--threshold", 0.5, "--json", "--column", "l_det"
    )
    assert code == 0
    replays = json.loads(out)
    keys = ["trace", "points", "window", "threshold", "stop_index", "stop_step", "ratio"]
    assert all(list(replay)[:8] == [*keys, "saved_fraction"] for replay in replays)
    assert all(replay["points"] == 7 for replay in replays)
    assert len({replay["ratio"] for replay in replays}) == 1


def test_a_grid_shows_the_stop_for_windows_and_thresholds(call: Any, finished: Path) -> None:
    code, out, _ = call("dvar-replay", finished, "--grid", "--json")
    assert code == 0
    (grid,) = json.loads(out)
    assert len(grid["stop_steps"]) == len(grid["windows"])
    assert len(grid["stop_steps"][0]) == len(grid["thresholds"])
    assert "stop step by window" in call("dvar-replay", finished, "--grid")[1]


def test_resume_finishes_what_is_there_and_refuses_other_draws(call: Any, finished: Path) -> None:
    assert call("run", "--out", finished, "--resume")[0] == 0
    code, _, err = call("run", "--out", finished, "--resume", "--seed", 9)
    assert (code, err.count("\n")) == (2, 1)
    assert "--seed" in err
    code, _, err = call("run", "--out", finished, "--resume", "--steps", 5)
    assert (code, err.count("\n")) == (2, 1)
    assert "--steps: 5 given, but 6 are done" in err


def bad_inputs(tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_text("no image")
    (tmp_path / "full").mkdir()
    Image.new("RGB", (70, 70)).save(tmp_path / "full" / "a.png")
    (tmp_path / "lacking").mkdir()
    (tmp_path / "text.csv").write_text("step,loss\n0,1.0\n1,high\n")
    (tmp_path / "good.csv").write_text("step,loss\n0,1.0\n1,0.5\n")
    (tmp_path / "locked").write_text("a file where a folder should be")
    pictures = ["--concept", tmp_path / "full", "--class", "dog"]
    return {
        "no such folder": (["run", "--concept", tmp_path / "none", "--class", "dog"], "--concept"),
        "empty folder": (["run", "--concept", tmp_path / "empty", "--class", "dog"], "empty"),
        "no image": (["run", "--concept", tmp_path / "broken", "--class", "dog"], "a.jpg"),
        "no class": (["run", "--concept", tmp_path / "full"], "--class"),
        "lacking model": (["run", *pictures, "--model", tmp_path / "lacking"], "model_index.json"),
        "known placeholder": (["run", *pictures, "--placeholder", "photo"], "--placeholder"),
        "long initializer": (["run", *pictures, "--initializer", "zebra"], "--initializer"),
        "no steps": (["run", *pictures, "--steps", 0], "--steps"),
        "window of one": (["run", *pictures, "--window", 1], "--window"),
        "out is a file": (["run", *pictures, "--out", tmp_path / "locked"], "--out"),
        "out is full": (["run", *pictures, "--out", tmp_path / "full"], "--resume"),
        "out below a file": (["run", *pictures, "--out", tmp_path / "locked" / "run"], "--out"),
        "resume nothing": (["run", "--out", tmp_path / "empty", "--resume"], "not a run"),
        "resume which": (["run", "--resume"], "--out"),
        "probe nothing": (["probe", tmp_path / "empty"], "not a run"),
        "plot nothing": (["plot", tmp_path / "none"], "not a run"),
        "no column": (["dvar-replay", tmp_path / "text.csv", "--column", "los"], "loss"),
        "text in numbers": (["dvar-replay", tmp_path / "text.csv"], "text.csv"),
        "no source": (["dvar-replay", tmp_path / "none.csv"], "none.csv"),
        "replay window": (["dvar-replay", tmp_path / "good.csv", "--window", 1], "--window"),
    }


BAD_INPUTS = """no such folder, empty folder, no image, no class, lacking model, known placeholder,
long initializer, no steps, window of one, out is a file, out is full, out below a file,
resume nothing, resume which, probe nothing, plot nothing, no column, text in numbers, no source,
replay window"""


@pytest.mark.parametrize("case", BAD_INPUTS.replace("\n", " ").split(", "))
def test_bad_input_is_one_line_and_exit_code_two(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, named = bad_inputs(tmp_path)[case]
    code, out, err = call(*arguments)
    lines = err.splitlines()
    assert code == 2, err
    assert out == ""
    assert len(lines) == 1, err
    assert named in lines[0]
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(call: Any) -> None:
    with pytest.raises(Exception, match="--out"):
        call("run", "--resume", "--debug")


HEAVY = ("torch", "diffusers", "transformers", "matplotlib", "pandas", "scipy", "numpy")


@pytest.mark.parametrize(
    ("words", "shown", "needless"),
    [
        (["run", "--help"], "--concept", HEAVY),
        (["run", "--help-all"], "--checkpoint-every", HEAVY),
        (["--help"], "dvar-replay", (*HEAVY, "pydantic", "noiseprobe.run", "noiseprobe.cli.flags")),
    ],
)
def test_help_imports_nothing_that_it_does_not_need(
    words: list[str], shown: str, needless: tuple[str, ...]
) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['noiseprobe', *{words}]\n"
        "from noiseprobe.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.exit(' '.join(set({needless}) & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


@pytest.mark.parametrize("words", COMMANDS)
def test_the_outline_of_a_command_is_its_first_paragraph(words: str) -> None:
    command = whole(words)
    assert COMMANDS[words].told == (command.help or "").split("\n\n")[0]
    assert COMMANDS[words].few == isinstance(command, FewFlags)


def test_the_names_of_the_package_resolve() -> None:
    import noiseprobe

    assert {name for name in noiseprobe.__all__ if not hasattr(noiseprobe, name)} == set()
    with pytest.raises(AttributeError, match="nothing_of_this"):
        _ = noiseprobe.nothing_of_this  # type: ignore[attr-defined]


def test_a_folder_that_cannot_be_written_is_named(
    call: Any, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Run) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(run.figures_directory))

    monkeypatch.setattr("noiseprobe.stages.drawing.plot_stage", refuse)
    code, _, err = call("plot", finished)
    assert (code, err.count("\n")) == (2, 1)
    assert f"no permission for '{finished / 'figures'}'" in err


def test_an_error_of_ours_is_one_line_and_exit_code_one(
    call: Any, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Run) -> list[Path]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("noiseprobe.stages.drawing.plot_stage", fail)
    code, out, err = call("plot", finished)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "--debug" in err


SMALL_CHECKS = ["--clip", "tiny-clip", "--samples", "2", "--sampling-steps", "1"]


@pytest.mark.parametrize(
    "method", ["textual-inversion", "dreambooth", "dreambooth-lora", "custom-diffusion"]
)
@pytest.mark.parametrize("stop", ["dvar", "clip", "fixed"])
def test_every_method_runs_under_every_rule(
    call: Any, flags: list[str], tmp_path: Path, method: str, stop: str
) -> None:
    # So that either criterion fires as soon as it may.
    own = {"dvar": ["--window", "3", "--threshold", "2"], "clip": ["--patience", "1", "--eps", "1"]}
    pairs = dict(zip(flags[::2], flags[1::2], strict=True))
    kept = [word for pair in pairs.items() if pair[0] not in own["dvar"] for word in pair]
    chosen = [*kept, "--method", method, "--stop", stop, "--check-every", "2", *own.get(stop, [])]
    more = [*SMALL_CHECKS, "--num-class-images", "2", "--settings", "deterministic,noise"]
    code, out, err = call("run", *chosen, *more, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["method"] == method
    assert summary["stopped_by"] == {"fixed": "steps"}.get(stop, stop)
    assert summary["steps"] == (6 if stop == "fixed" else 2)
    checked = Run(tmp_path / "run").train_trace()["clip_img"].notna()
    assert checked.any() == (stop == "clip")


def test_a_metric_that_was_not_measured_is_measured_and_the_others_stay(
    call: Any, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    pairs = zip(flags[::2], flags[1::2], strict=True)
    probing = {"--replicates", "--probe-batch", "--micro-batch"}
    train = [word for pair in pairs if pair[0] not in probing for word in pair]
    assert call("train", *train, "--clip", "tiny-clip", *SMALL_CHECKS[2:], "--out", run)[0] == 0
    monkeypatch.setattr(
        "noiseprobe.pictures.similarity.load_lpips",
        lambda device: lambda one, other: (one - other)[:, 0, 0, 0],
    )

    def measured(*more: str) -> dict[str, float]:
        code, out, err = call("measure", run, "--steps", "6", *more, "--json")
        assert code == 0, err
        return {row["metric"]: row["value"] for row in json.loads(out)[str(run)]}

    plain = measured()
    assert "val_lpips" not in plain
    wider = measured("--lpips")
    assert wider.keys() == plain.keys() | {"val_lpips"}
    assert wider["val_clip_img"] == plain["val_clip_img"]
    assert measured() == measured("--lpips") == wider


def test_measure_and_table_read_what_was_trained(
    call: Any, flags: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    probing = {"--replicates", "--probe-batch", "--micro-batch"}
    pairs = zip(flags[::2], flags[1::2], strict=True)
    train = [word for pair in pairs if pair[0] not in probing for word in pair]
    assert call("train", *train, "--checks", *SMALL_CHECKS, "--out", run)[0] == 0
    code, out, err = call("measure", run, "--steps", "0,6", "--json")
    assert code == 0, err
    measured = json.loads(out)[str(run)]
    assert {row["step"] for row in measured} == {0, 6}
    assert {"train_clip_img", "val_clip_img", "val_clip_txt"} <= {row["metric"] for row in measured}
    assert (run / "samples" / "step-00000006-validation.png").is_file()
    code, out, _ = call("measure", run)
    assert code == 0
    assert "val_clip_img" in out
    code, out, _ = call("table", run, "--out", tmp_path / "results", "--json")
    assert code == 0
    assert {row["variant"] for row in json.loads(out)} == {"baseline", "clip", "few", "dvar"}
    names = {path.name for path in (tmp_path / "results").iterdir()}
    stems = {f"comparison.{end}" for end in ("md", "csv", "tex", "json")}
    assert names == stems | {"runs.csv"}
    code, out, _ = call("table", run)
    assert "Baseline" in out
    for command in ("measure", "table"):
        figure = tmp_path / f"{command}.svg"
        assert call(command, run, "--plot", figure)[0] == 0
        assert "Val" in figure.read_text() or "val_clip_img" in figure.read_text()
        code, out, err = call(command, run, "--plot", tmp_path / "figure.bmp")
        assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--method", "dreambooht"], "--method: 'dreambooht' given"),
        (["run", "--stop", "dvr"], "--stop: 'dvr' given"),
        (["run", "--method", "dreambooth-lora", "--rank", "0"], "--rank: 0 given"),
        (
            ["run", "--method", "dreambooth-lora", "--lora-targets", "to_kk"],
            "--lora-targets: the unet has no layer 'to_kk'; did you mean 'to_k'?",
        ),
        (
            ["run", "--method", "dreambooth", "--prior", "--class-images", "none-there"],
            "--class-prompt: ",
        ),
        (["run", "--stop", "clip", "--clip", "."], "--clip: '"),
        (["sweep", "no-such-file.toml"], "no-such-file.toml: cannot be read"),
        (["table", "."], "holds no run"),
        (["measure", "."], "is not a run directory"),
    ],
)
def test_wrong_input_of_methods_rules_and_sweeps_ends_in_one_line(
    call: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["dvar-replay"], "missing argument 'SOURCE...'; see noiseprobe dvar-replay --help"),
        (["dvar-replay", "x", "--nope"], "no such option: --nope"),
        (["run", "--steps", "many"], "invalid value for '--steps'"),
        (["nope"], "no such command 'nope'"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    call: Any, arguments: list[str], told: str
) -> None:
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"noiseprobe: {told}")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "noiseprobe", "criteria"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.communicate()[1] == b""


def test_a_path_is_not_markup_and_a_probe_leaves_a_run_done(
    call: Any, flags: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "a[bold] [" / "b"
    code, out, err = call("run", *flags, "--out", run)
    assert code == 0, err
    assert f"Figures: {run}/figures/" in out
    assert Run.open(run).status["stage"] == "done"
    assert call("probe", run, "--replicates", 3)[0] == 0
    assert Run.open(run).status["stage"] == "done"
    assert Run.open(run).probe_trace()["replicate"].max() == 3
