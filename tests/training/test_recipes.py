"""A training that follows L_det as another trainer lays out its validation."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.draws.factors import TRAINERS, Trainer
from noiseprobe.draws.fixed_batch import fixed_batch
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import reopen, train_stage
from noiseprobe.training.preparing import prepare
from tests.conftest import short
from tests.training.test_driver import InterruptAt, embedding, numbers, trained

STEPS = {"steps": 2, "checkpoint_every": 2, "train_batch_size": 1, "eval_every": 2}


@pytest.fixture(scope="module")
def plain(
    model_directory: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The run that every other is held against: the same, but for the layout."""
    config = resolve(short(model_directory, photographs) | STEPS)
    return trained(tmp_path_factory.mktemp("plain") / "run", config)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_l_det_is_the_mean_loss_of_the_trainers_batch(
    given: dict[str, Any], plain: Run, tmp_path: Path, trainer: Trainer
) -> None:
    config = resolve(given | STEPS | {"fixed_batch": trainer, "eval_batch": None})
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", config, InterruptAt(1))
    run, again = reopen(tmp_path / "run", {})
    assert again.eval_batch is None
    ready = prepare(again)
    train_stage(run, again, ready)
    assert embedding(run, 2) == embedding(plain, 2)

    draws = ready.objective.draws(config.seed, "probe", len(ready.method.captions))
    batch = fixed_batch(draws, None, trainer).batch
    captions = ready.objective.captions(batch, ready.method.captions)
    with torch.no_grad():
        losses = ready.objective.losses(batch, captions)  # the weights are those of the end
    l_det = run.train_trace().set_index("step")["l_det"].dropna()
    assert l_det.index.tolist() == [0, 2]
    assert l_det[2] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert not np.isclose(l_det[2], plain.train_trace()["l_det"].iloc[-1])


def test_a_training_that_goes_on_records_what_one_without_a_pause_does(
    given: dict[str, Any], tmp_path: Path
) -> None:
    own = {"fixed_batch": "ai-toolkit", "eval_batch": 16, "eval_every": 1}
    config = resolve(given | STEPS | own)
    whole = trained(tmp_path / "whole", config)
    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", config, InterruptAt(1))
    cut, again = reopen(tmp_path / "cut", {})
    train_stage(cut, again, prepare(again))
    pd.testing.assert_frame_equal(numbers(cut), numbers(whole), check_exact=True)


def test_a_size_that_the_layout_has_not_is_one_line(
    call: Any, given: dict[str, Any], tmp_path: Path
) -> None:
    own = {"concept": given["concept"], "class": "dog", "model": given["model"], "steps": 1}
    flags = [word for key, value in own.items() for word in (f"--{key}", value)]
    layout = ("--fixed-batch", "kohya", "--eval-batch", "8", "--out", tmp_path / "run")
    code, out, error = call("train", *flags, *layout)
    assert (code, out) == (2, "")
    assert "--eval-batch: 8 given, but --fixed-batch kohya takes 16" in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_an_unknown_layout_names_those_that_there_are(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"--fixed-batch: 'kohia' given.*'kohya'.*'mlperf'"):
        resolve(given | {"fixed_batch": "kohia"})
