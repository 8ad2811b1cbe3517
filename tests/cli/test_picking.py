"""Which checkpoint to take, from the command line: of runs, and of logs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from noiseprobe.analysis.picking import pareto_front
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import METRICS_COLUMNS, TRACKED_COLUMNS, TRAIN_COLUMNS, write_part
from noiseprobe.training.tracker import Tracker


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Makes a run whose tracked losses have these means at its checkpoints."""

    def make(**means: dict[int, float]) -> Run:
        run = Run.create(tmp_path / "run", resolve({"steps": 100}), "cpu")
        random = np.random.default_rng(0)
        rows = []
        for name, at in means.items():
            draws = random.normal(0, 0.1, 16)
            for step, mean in at.items():
                run.checkpoint(step).mkdir(parents=True, exist_ok=True)
                losses = draws - draws.mean() + mean + random.normal(0, 1e-4, 16)
                rows += [(step, name, place, each) for place, each in enumerate(losses)]
        table = pd.DataFrame(rows, columns=list(TRACKED_COLUMNS)).sort_values("step")
        write_part(run.tracked_directory, TRACKED_COLUMNS, table)
        steps = sorted(set(table["step"]))
        write_part(run.train_directory, TRAIN_COLUMNS, pd.DataFrame({"step": steps}))
        return run

    return make


def test_a_held_out_loss_decides_where_there_is_one(made: Any, call: Any) -> None:
    run = made(l_det={0: 0.3, 50: 0.2, 100: 0.1}, l_val={0: 0.3, 50: 0.2, 100: 0.25})
    code, text, err = call("pick", run.directory, "--json")
    assert code == 0, err
    found = json.loads(text)
    assert found["take"] == str(run.checkpoint(50))
    assert (found["step"], found["stop_step"], found["sure"]) == (50, 50, True)
    assert found["indistinguishable"] == [50]
    assert found["held_out"] is True
    assert [row["step"] for row in found["checkpoints"]] == [0, 50, 100]


def test_without_one_it_says_that_overfitting_cannot_be_seen(made: Any, call: Any) -> None:
    run = made(l_det={0: 0.3, 50: 0.1, 100: 0.1})
    code, text, _ = call("pick", run.directory)
    flowing = " ".join(text.split())
    assert code == 0
    assert "it cannot be told from" in flowing
    assert "Overfitting cannot be seen from it" in flowing
    assert "Training could have stopped at step 50" in flowing


def test_what_cannot_be_told_is_no_error(made: Any, call: Any, tmp_path: Path) -> None:
    run = made(l_val={0: 0.2, 50: 0.2, 100: 0.2})
    figure = tmp_path / "pick.png"
    code, text, _ = call("pick", run.directory, "--json", "--plot", figure)
    found = json.loads(text)
    assert code == 0
    assert (found["take"], found["step"], found["stop_step"]) == (None, None, None)
    assert "cannot be told" in found["why"]
    assert figure.is_file()


def test_what_a_tracker_kept_of_samples_is_compared(call: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    draws = random.normal(0.1, 0.05, 16)
    means = iter([0.3, 0.1, 0.1, 0.2])
    tracker = Tracker({"l_val": lambda: draws + next(means)}, out=tmp_path / "mine", every=10)
    for step in range(0, 40, 10):
        tracker.update(step)
    tracker.close()
    code, text, err = call("pick", tmp_path / "mine", "--json")
    assert code == 0, err
    found = json.loads(text)
    assert found["indistinguishable"] == [10, 20], "of four means alone nothing would be known"
    assert (found["take"], found["held_out"]) == (None, True)


@pytest.mark.parametrize("points", [10, 200, 100_000])
def test_a_log_of_any_length_gives_an_answer(call: Any, tmp_path: Path, points: int) -> None:
    steps = np.linspace(0, 1000, points).round(3)
    random = np.random.default_rng(0)
    losses = 0.1 + 0.05 * (steps / 1000 - 0.6) ** 2 + 0.002 * random.normal(size=points)
    log = tmp_path / "log.csv"
    pd.DataFrame({"step": np.arange(points), "val_loss": losses}).to_csv(log, index=False)
    code, text, err = call("pick", log, "--json")
    assert code == 0, err
    found = json.loads(text)
    assert found["loss"] == "val_loss"
    assert abs(found["step"] / points - 0.6) < 0.25
    assert found["stop_step"] <= found["step"]


@pytest.fixture
def weights(tmp_path: Path) -> list[Path]:
    """LoRA files of steps 100, 200, … 900, and one without a step."""
    files = [tmp_path / "out" / f"dog-step{step:08d}.safetensors" for step in range(100, 1000, 100)]
    files[0].parent.mkdir()
    for place, file in enumerate(files):
        name = "unet.down_blocks.0.attentions.0.to_q.lora.down.weight"
        save_file({name: torch.full((1, 2), float(place))}, file)
    return files


@pytest.mark.parametrize("points", [11, 101, 1001])
def test_a_log_names_the_file_to_take(
    call: Any, tmp_path: Path, weights: list[Path], points: int
) -> None:
    steps = np.linspace(0, 1000, points).round().astype(int)
    losses = 0.1 + 0.05 * (steps / 1000 - 0.62) ** 2
    losses += 1e-4 * np.random.default_rng(0).normal(size=points)
    log = tmp_path / "log.csv"
    pd.DataFrame({"step": steps, "val_loss": losses}).to_csv(log, index=False)
    code, text, err = call("pick", log, "--checkpoints", tmp_path / "out", "--json")
    assert code == 0, err
    found = json.loads(text)
    assert [row["step"] for row in found["checkpoints"]] == list(range(100, 1000, 100))
    assert found["next"] == f"noiseprobe dvar-replay {log} --all"
    assert (found["take"], found["step"]) == (str(weights[5]), 600)
    # A pattern without quotes, spelt out by the shell.
    spelt = call("pick", log, "--checkpoints", *weights, "--json")
    assert json.loads(spelt[1]) == found
    code, text, _ = call("pick", log, "--checkpoints", str(tmp_path / "out" / "*.safetensors"))
    assert f"Take {weights[5]}" in " ".join(text.split())


def test_what_does_not_belong_together_ends_in_one_line(
    call: Any, tmp_path: Path, made: Any, weights: list[Path]
) -> None:
    log, files = tmp_path / "log.csv", tmp_path / "out"
    pd.DataFrame({"step": np.arange(10), "val_loss": 0.1}).to_csv(log, index=False)
    run = made(l_val={0: 0.3, 50: 0.2}).directory
    for words, told in (
        ([], "nothing to pick from"),
        (
            [log, "--checkpoints", files],
            "0 of 9 --checkpoints are of steps of which it",
        ),
        ([run, "--checkpoints", files], "a run has its own"),
        ([log, "--checkpoints", files, "--model", "x"], "--model: it belongs to --checkpoints"),
        ([log, "--budget", "1min"], "--budget: it belongs to --checkpoints"),
        ([log, "--checkpoints", tmp_path / "none*"], "no LoRA, embedding"),
    ):
        code, text, err = call("pick", *words)
        assert (code, text, err.count("\n")) == (2, "", 1), (words, err)
        assert told in err, err


def test_a_training_loss_comes_with_a_warning(call: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    losses = 0.1 + 0.05 * np.exp(-np.arange(3000) / 300) + 0.05 * random.normal(size=3000)
    log = tmp_path / "log.csv"
    pd.DataFrame({"step": np.arange(3000), "train_loss": losses}).to_csv(log, index=False)
    code, text, _ = call("pick", log)
    assert code == 0
    assert "It is the loss of training batches" in " ".join(text.split())


@pytest.mark.parametrize("values", [3, 1])
def test_too_few_values_are_refused_in_one_line(call: Any, tmp_path: Path, values: int) -> None:
    log = tmp_path / "log.csv"
    pd.DataFrame({"step": np.arange(values), "val_loss": 0.1}).to_csv(log, index=False)
    code, text, err = call("pick", log)
    assert (code, text) == (2, "")
    assert str(log) in err


def test_a_run_without_losses_says_what_to_do(call: Any, tmp_path: Path) -> None:
    Run.create(tmp_path / "run", resolve({"steps": 100}), "cpu")
    code, _, err = call("pick", tmp_path / "run")
    assert code == 2
    assert "noiseprobe probe" in err


def test_the_front_has_what_nothing_beats() -> None:
    points = {0: (0.2, 0.9), 10: (0.5, 0.8), 20: (0.4, 0.7), 30: (0.6, 0.5), 40: (0.6, 0.4)}
    rows = [
        (step, name, value)
        for step, values in points.items()
        for name, value in zip(("train_clip_img", "val_clip_txt"), values, strict=True)
    ]
    front = pareto_front(pd.DataFrame(rows, columns=list(METRICS_COLUMNS)))
    assert front["step"].tolist() == [0, 10, 30]
    assert pareto_front(pd.DataFrame(columns=list(METRICS_COLUMNS))).empty
