"""What is said first, what comes next, and what never reaches a terminal."""

import json
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.cli.terminal import Terminal
from noiseprobe.draws.factors import FACTORS
from noiseprobe.run.directory import Run

ODD = "\x1b[31mloss\nx"


@pytest.fixture
def flags(given: dict[str, Any]) -> list[str]:
    names = {"class_noun": "class"}
    pairs = [("--" + names.get(key, key).replace("_", "-"), given[key]) for key in given]
    return [str(word) for pair in pairs for word in pair]


@pytest.fixture
def training(flags: list[str]) -> list[str]:
    pairs = zip(flags[::2], flags[1::2], strict=True)
    probing = {"--replicates", "--probe-batch", "--micro-batch"}
    return [word for pair in pairs if pair[0] not in probing for word in pair]


def one_line(text: str) -> str:
    return " ".join(text.split())


def after(out: str) -> list[str]:
    """The words of the next command, which is the last line."""
    last = out.splitlines()[-1]
    assert last.startswith("Next: noiseprobe ")
    return shlex.split(last)[2:]


def test_the_sentences_of_a_run_are_those_of_its_json_and_the_next_command_works(
    call: Any, flags: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "my run"
    code, out, err = call("run", *flags, "--out", run)
    assert code == 0, err
    summary = Run(run).summary()
    assert summary["verdict"]
    for sentence in summary["verdict"]:
        assert one_line(sentence) in one_line(out)
    assert out.index(one_line(summary["verdict"][0])[:20]) < out.index("noise-to-signal")
    assert summary["take"] == str(run / "checkpoints" / "step-00000006")
    assert set(summary["noise_to_signal_interval"]) == set(FACTORS)
    for factor, ends in summary["noise_to_signal_interval"].items():
        low, high = ends
        ratio = summary["noise_to_signal"][factor]
        # Where so few samples cannot tell, there is a bound below and no number.
        assert high is None if ratio is None else low <= ratio <= high
    assert after(out) == shlex.split(summary["next"])[1:]
    code, out, err = call(*after(out))
    assert code == 0, err
    assert after(out)[:2] in (["analyze", str(run)], ["probe", str(run)])


def test_what_is_unknown_is_null(call: Any, flags: list[str], tmp_path: Path) -> None:
    code, out, err = call("run", *flags, "--replicates", 1, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert set(summary["noise_to_signal"].values()) == {None}
    assert set(summary["noise_to_signal_interval"].values()) == {None}
    assert "1 redraw is too few" in summary["verdict"][0]
    assert summary["next"].endswith("--replicates 7")


def test_each_command_on_a_run_says_a_next_one_that_works(
    call: Any, training: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = ["--checks", "--clip", "tiny-clip", "--samples", 2, "--sampling-steps", 1]
    code, out, err = call("train", *training, *pictures, "--out", "run", "--replicates", 2)
    assert code == 2  # a flag of the probe
    code, out, err = call("train", *training, *pictures, "--out", "run")
    assert code == 0, err
    assert "Take the checkpoint of the last step: run/result" in one_line(out)
    assert after(out) == ["probe", "run"]
    assert call("probe", "run", "--replicates", 2, "--probe-batch", 3)[0] == 0
    for command in (
        ["analyze", "run"],
        ["measure", "run", "--steps", "0,6"],
        ["table", "run"],
        ["regret", "run", "--judge", "clip_img"],
        ["dvar-replay", "run"],
    ):
        code, out, err = call(*command)
        assert code == 0, err
        more = after(out)
        small = ["--replicates", 2, "--probe-batch", 4] if "sobol" in more else []
        code, _, err = call(*more, *small)
        assert code == 0, (command, more, err)


def test_the_document_of_train_and_analyze_has_the_verdict(
    call: Any, flags: list[str], training: list[str], tmp_path: Path
) -> None:
    code, out, err = call("train", *training, "--out", tmp_path / "a", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert {"run", "stage", "step", "stopped_by", "fired", "verdict", "next", "take"} <= set(
        document
    )
    assert document["verdict"][0].startswith("All 6 steps were taken")
    assert call("run", *flags, "--out", tmp_path / "b")[0] == 0
    document = json.loads(call("analyze", tmp_path / "b", "--json")[1])
    assert all(isinstance(sentence, str) for sentence in document["verdict"])
    assert document["next"] == f"noiseprobe probe {tmp_path / 'b'} --design sobol"


def test_a_run_says_what_it_works_on_and_that_its_pictures_will_be_poor(
    call: Any, photographs: Path, tmp_path: Path
) -> None:
    given = ["--steps", 1, "--eval-batch", 2, "--train-batch-size", 1, "--seed", 7]
    own = ["--concept", photographs, "--class", "dog"]
    code, _, err = call("train", *own, *given, "--out", tmp_path / "own")
    assert code == 0, err
    assert "model tiny-sd, textual-inversion, cpu, fp32, seed 7\n" in err
    assert "the mechanics are real, the pictures will be blobs; --model" in err
    code, _, err = call("train", *given, "--out", tmp_path / "bundled")
    assert code == 0, err
    assert "blobs" not in err


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A log whose name, and whose tags, hold an escape and an end of line."""
    steps = np.arange(80)
    table = pd.DataFrame(
        {"step": steps, ODD: np.exp(-steps / 9), f"val {ODD}": 1 + abs(steps - 40) / 50}
    )
    path = tmp_path / "\x1b[2J \nlog.parquet"
    table.to_parquet(path)
    return path


@pytest.mark.parametrize(
    "more",
    [
        ["dvar-replay", "LOG"],
        ["dvar-replay", "LOG", "--all"],
        ["dvar-replay", "LOG", "--tag", "*"],
        ["dvar-replay", "LOG", "--list"],
        ["dvar-replay", "LOG", "--grid"],
        ["dvar-replay", "LOG", "--tag", "\x1b[31m"],
        ["regret", "LOG", "--judge", f"val {ODD}"],
        ["regret", "LOG", "--judge", "\x1b[31m"],
        ["table", "\x1b[31mnone"],
        ["plot", "\x1b[31m\nnone"],
        ["run", "--concept", "\x1b[31mnone"],
        ["run", "--\x1b[31m"],
        ["dvar-replay", "LOG", "--window", "\x1b[31m"],
    ],
)
def test_no_escape_reaches_a_terminal(call: Any, odd: Path, more: list[str]) -> None:
    code, out, err = call(*[odd if word == "LOG" else word for word in more])
    assert code in (0, 2)
    for line in (out + err).splitlines():
        assert line.isprintable(), line
    if code == 2:
        assert err.count("\n") == 1


def test_json_keeps_names_exact_and_the_next_command_reads_the_odd_path(
    call: Any, odd: Path
) -> None:
    rows = json.loads(call("dvar-replay", odd, "--tag", "*", "--json")[1])
    assert [(row["trace"], row["tag"]) for row in rows] == [
        (str(odd), ODD),
        (str(odd), f"val {ODD}"),
    ]
    out = call("dvar-replay", odd)[1]
    last = out.splitlines()[-1]
    quoted = re.search(r"\$'(.*?)' --", last)
    assert quoted
    assert quoted[1].encode().decode("unicode_escape") == str(odd)


def test_a_log_with_both_losses_says_where_the_held_out_one_is_best(
    call: Any, tmp_path: Path
) -> None:
    random, steps = np.random.default_rng(0), np.arange(400)
    held = np.where(steps % 10 == 0, 1 + abs(steps - 200) / 400, np.nan)
    log = tmp_path / "log.csv"
    pd.DataFrame({"step": steps, "train_mse": random.uniform(size=400), "valid_mse": held}).to_csv(
        log, index=False
    )
    code, out, err = call("dvar-replay", log)
    assert code == 0
    assert "replayed: valid_mse (another: --tag)" in err
    said = one_line(out)
    assert "valid_mse is lowest at step 200 (1); at its end, step 390, it is 48% worse." in said
    assert (
        "The curve of train_mse tells nothing: from one value to the next there is nothing" in said
    )
    assert after(out)[-1] == "--all"
    code, out, _ = call(*after(out), "--json")
    rows = json.loads(out)
    assert any(row["stop_step"] is not None for row in rows)
    for row in rows:
        assert (row["best_step"], row["best"]) == (200, 1.0)
        assert row["loss_at_stop"] == (held[row["stop_step"]] if row["stop_step"] else None)
        assert row["loss_at_keep"] == held[row["kept_step"]]
        assert any(sentence.startswith("valid_mse is lowest") for sentence in row["verdict"])


def test_a_constant_loss_is_not_stopped_without_a_remark(call: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,loss\n" + "".join(f"{step},0.5\n" for step in range(99)))
    out = call("dvar-replay", log, "--criterion", "patience")[1]
    assert "loss does not change: all its 99 values are 0.5." in one_line(out)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_replays_fit_the_terminal(
    call: Any, tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    steps = np.arange(300)
    for name in ("first", "second"):
        table = pd.DataFrame({"step": steps, "loss": np.exp(-steps / 30), "val_loss": steps / 300})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    for command in (
        ["dvar-replay", tmp_path / "first.csv", "--all"],
        ["dvar-replay", tmp_path, "--all"],
        ["dvar-replay", tmp_path, "--list"],
        ["regret", tmp_path / "first.csv", "--judge", "loss"],
    ):
        code, out, err = call(*command)
        assert code == 0, err
        for line in out.splitlines():
            assert len(line) <= columns or line.startswith("Next: ") or len(line.split()) == 1, line


def test_off_a_terminal_the_time_left_is_told_after_the_first_unit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Terminal() as terminal:
        terminal.stage("training", 300)
        terminal.advance(1, "L_det 0.1")
        terminal.advance(131)
        terminal.stage("probing", 2)
        terminal.advance(2)
        terminal.note("run: a/:dog:/[b]/\x1b[2J")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 0 of 300 done"
    assert re.fullmatch(r"training: 1 of 300, L_det 0\.1, \d+:\d\d:\d\d left", lines[1])
    assert lines[2:] == [
        "training: ended after 131 of 300",
        "probing: 0 of 2 done",
        r"run: a/:dog:/[b]/\x1b[2J",
    ]


def test_a_bar_ends_where_the_work_did_but_not_where_it_was_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Terminal() as terminal:
        terminal.stage("training", 300)
        terminal.advance(1)
        (first,) = terminal.bars.tasks
        assert "left" in first.fields["left"]
        terminal.advance(131)
        terminal.stage("probing", 4, 4)
    second = terminal.bars.tasks[1]
    assert [(each.completed, each.total) for each in (first, second)] == [(131, 131), (4, 4)]
    with suppress(KeyboardInterrupt), Terminal() as terminal:
        terminal.stage("training", 300)
        terminal.advance(50)
        raise KeyboardInterrupt
    assert (terminal.bars.tasks[0].completed, terminal.bars.tasks[0].total) == (50, 300)
