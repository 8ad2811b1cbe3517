"""Held-out photographs from the command line: flags, JSON, sentences, figures, errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noiseprobe import Tracker, Turn
from tests.cli.test_app import flags

__all__ = ["flags"]


@pytest.fixture
def to_train(flags: list[str]) -> list[str]:
    """The flags that `train` has as well."""
    at = flags.index("--replicates"), flags.index("--probe-batch")
    return [word for place, word in enumerate(flags) if place - 1 not in at and place not in at]


def test_a_run_with_a_held_out_photograph_says_its_best_step(
    call: Any, flags: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    held = ["--hold-out", "1", "--val-every", "2", "--track", "paired,recent"]
    held += ["--recent-steps", "4"]
    held += ["--watch", "l_val", "--keep", "best"]
    code, text, err = call("run", *flags, *held, "--out", out, "--json")
    assert code == 0, err
    summary = json.loads(text)
    assert summary["result"] == str(out / "result")
    assert summary["take"] == str(out / "checkpoints" / f"step-{summary['best_step']:08d}")
    assert any("The held-out loss was" in line for line in summary["verdict"])
    assert any("brought the training loss down by" in line for line in summary["verdict"])
    drawn = {Path(path).name for path in summary["figures"]}
    assert {"11-held-out.png", "12-paired.png", "15-recent.png"} <= drawn
    assert (out / "result" / "learned_embeds.safetensors").is_file()


def test_a_run_without_one_offers_it(call: Any, to_train: list[str], tmp_path: Path) -> None:
    code, text, _ = call("train", *to_train, "--out", tmp_path / "run")
    assert code == 0
    flowing = " ".join(text.split())
    assert "--hold-out 1" in flowing
    assert "--cross" in flowing


def test_turn_ends_a_training_from_the_command_line(
    call: Any, to_train: list[str], tmp_path: Path
) -> None:
    own = [to_train.index(flag) for flag in ("--stop", "--window", "--threshold")]
    rest = [word for at, word in enumerate(to_train) if at not in own and at - 1 not in own]
    rest = [*rest, "--method", "dreambooth", "--learning-rate", "0.01", "--steps", "30"]
    out = tmp_path / "run"
    turn = ["--stop", "turn", "--param", "confidence=0.8", "--hold-out", "1", "--val-every", "1"]
    code, text, err = call("train", *rest, *turn, "--out", out, "--json")
    assert code == 0, err
    told = json.loads(text)
    assert told["stopped_by"] == "turn"
    assert 0 < told["fired"]["turn"] < 30
    assert int(Path(told["take"]).name.removeprefix("step-")) < told["fired"]["turn"]


def test_probe_held_out_shows_the_gap(call: Any, to_train: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert call("train", *to_train, "--hold-out", "1", "--out", out)[0] == 0
    few = ["--replicates", "2", "--probe-batch", "8", "--settings", "deterministic,original"]
    code, text, err = call("probe", out, "--held-out", *few, "--json")
    assert code == 0, err
    told = json.loads(text)
    assert {row["step"] for row in told["gap"]} >= {0, 2, 4, 6}
    assert len(told["timesteps"]) == 10
    assert any(path.endswith("14-gap.png") for path in told["figures"])
    code, text, _ = call("probe", out, "--held-out", *few)
    assert code == 0
    assert "on those held out" in " ".join(text.split())


def test_what_a_tracker_wrote_is_plotted_and_replayed(call: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    base = random.uniform(0, 1, 16)
    curve = iter([0.0, -0.2, -0.3, *(0.1 * step for step in range(20))])
    losses = {"mine": lambda: base + next(curve) + random.normal(0, 0.01, 16)}
    tracker = Tracker(losses, criterion=Turn(), out=tmp_path / "run")
    stopped = next(step for step in range(20) if tracker.update(step))
    code, text, err = call("plot", tmp_path / "run")
    assert code == 0, err
    assert "11-held-out.png" in text
    code, text, err = call(
        "dvar-replay", tmp_path / "run", "--tag", "mine", "--criterion", "turn", "--json"
    )
    assert code == 0, err
    (told,) = json.loads(text)
    assert (told["stop_step"], told["kept_step"]) == (stopped, tracker.best_step)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--hold-out", "4"], "--hold-out: it leaves none of the 4 photographs"),
        (["--hold-out", "00.jpg"], "--hold-out: no photograph is called '00.jpg'"),
        (["--validation", "SAME"], "--validation: 'SAME/other.bmp' is the same photograph as"),
        (["--cross", "--hold-out", "1"], "--cross: it holds each photograph out in turn"),
    ],
)
def test_what_cannot_be_held_out_is_one_line_and_leaves_nothing(
    call: Any, to_train: list[str], tmp_path: Path, more: list[str], said: str
) -> None:
    concept = Path(to_train[to_train.index("--concept") + 1])
    same = tmp_path / "same"
    same.mkdir()
    Image.open(concept / "00.png").save(same / "other.bmp")
    more = [str(same) if word == "SAME" else word for word in more]
    code, text, err = call("run", *to_train, *more, "--out", tmp_path / "run")
    assert (code, text) == (2, "")
    assert said.replace("SAME", str(same)) in err
    assert not (tmp_path / "run").exists()


def test_probe_held_out_of_a_run_without_one_is_refused(
    call: Any, to_train: list[str], tmp_path: Path
) -> None:
    assert call("train", *to_train, "--out", tmp_path / "run")[0] == 0
    code, _, err = call("probe", tmp_path / "run", "--held-out")
    assert code == 2
    assert "--held-out: no photograph was held out" in err
