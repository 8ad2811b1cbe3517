"""How commands end: what is said, the exit code, and what a signal leaves."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import noiseprobe
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start, train_stage

COMMAND = [sys.executable, "-m", "noiseprobe"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_go_on_and_resuming_ends_with_the_very_weights(
    call: Any, given: dict[str, Any], tmp_path: Path, number: int, code: int
) -> None:
    given |= {"steps": 40, "checkpoint_every": 40}
    config = resolve(given)
    whole, ready = start(config, tmp_path / "whole")
    train_stage(whole, config, ready)
    names = {"class_noun": "class"}
    flags = [
        word
        for key, value in given.items()
        if key not in ("replicates", "probe_batch", "micro_batch")
        for word in (f"--{names.get(key, key)}".replace("_", "-"), str(value))
    ]
    cut = tmp_path / "cut"
    process = subprocess.Popen(
        [*COMMAND, "train", *flags, "--out", str(cut)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = next(line for line in process.stderr if line.startswith("training:"))
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == code, said
    assert "was saved" in said
    assert f"--out {cut} --resume goes on" in said.replace("\n", " ")
    stopped = Run.open(cut).status
    assert stopped["stopped_by"] == "interrupt"
    assert stopped["step"] < 40
    assert call("train", "--out", cut, "--resume")[0] == 0
    ends = [Run.open(each).checkpoint(40) for each in (cut, whole.directory)]
    weights = [(each / "learned_embeds.safetensors").read_bytes() for each in ends]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_is_one_line_with_the_path(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,loss\n" + "".join(f"{step},{1 / (step + 1)}\n" for step in range(9)))

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    out = tmp_path / "points.csv"
    code, _, err = call("dvar-replay", log, "--window", 3, "--csv", out)
    assert (code, err.count("\n")) == (1, 1), err
    assert f"{out}: {os.strerror(number).lower()}" in err
    assert "another place" in err
    assert list(tmp_path.iterdir()) == [log]


def test_the_version_is_said_and_shells_complete(call: Any) -> None:
    code, out, _ = call("--version")
    assert (code, out.split()[0], out.count("\n")) == (0, "noiseprobe", 1)
    asked = {"_NOISEPROBE_COMPLETE": "complete_bash", "COMP_WORDS": "noiseprobe dv"}
    done = subprocess.run(
        COMMAND, env=os.environ | asked | {"COMP_CWORD": "1"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "dvar-replay"


def test_the_package_lists_its_names_and_a_run_says_how_far_it_is(tmp_path: Path) -> None:
    assert dir(noiseprobe) == sorted(noiseprobe.__all__)
    criteria = "DVAR GainShare Patience EMAPlateau RelativeRange TheilSen GeneralizationLoss"
    assert {*criteria.split(), "Uprising", "Turn", "FixedSteps", "Never"} <= {*dir(noiseprobe)}
    run = Run(tmp_path / "run")
    run.write_status("training", 7, None)
    assert repr(run) == f"Run('{tmp_path / 'run'}', stage='training', step=7)"
