"""The tracker: what it evaluates, records and says, and that it disturbs nothing."""

import json
import math
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from noiseprobe import DVAR, Patience, Tracker
from noiseprobe.core.errors import UserError
from noiseprobe.run.traces import TRACKED_COLUMNS, read_trace
from noiseprobe.stopping.base import NonFiniteLossWarning

Losses = Callable[[], Any]


def along(*means: float, size: int = 4) -> Losses:
    """Losses that spread around the given means, one call after the other."""
    following = iter(means)
    return lambda: np.linspace(-0.01, 0.01, size) + next(following)


def a_training(tracked: bool, steps: int = 12) -> tuple[list[torch.Tensor], list[float]]:
    """A small training with dropout, batch norm and every kind of random number."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05)
    fixed = torch.linspace(-1, 1, 15).reshape(5, 3)

    def losses() -> torch.Tensor:
        torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
        assert not model.training
        assert not torch.is_grad_enabled()
        return (model(fixed)[:, 0] - fixed[:, 0]).square()

    tracker = Tracker({"l_det": losses}, modules=[model], every=2)
    seen = []
    for step in range(1, steps + 1):
        x = torch.randn(6, 3) * random.uniform(0.5, 1) * float(np.random.rand())  # noqa: NPY002
        loss = (model(x)[:, 0] - x[:, 0]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        if tracked:
            tracker.update(step)  # between backward and step: gradients are still needed
        optimiser.step()
        seen.append(loss.item())
        assert model.training
    return [*model.state_dict().values()], seen


def test_a_training_with_a_tracker_and_one_without_are_bit_for_bit_the_same() -> None:
    (weights, losses), (others, other_losses) = a_training(True), a_training(False)
    assert losses == other_losses
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))


def test_what_is_due_is_evaluated_and_the_frame_has_its_means() -> None:
    tracker = Tracker(
        {"l_det": along(0.5, 0.4, 0.3), "l_val": along(0.6, 0.5, 0.55)}, watch="l_val", every=5
    )
    for step in range(11):
        assert not tracker.update(step)
    frame = tracker.frame()
    assert frame["step"].tolist() == [0, 5, 10]
    assert frame["l_det"].tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert frame["l_val"].tolist() == pytest.approx([0.6, 0.5, 0.55])
    assert (frame["l_val_seconds"].diff()[1:] >= 0).all()
    assert tracker.best_step == 5
    samples = tracker.samples()
    assert len(samples) == 3 * 2 * 4
    means = samples.groupby(["name", "step"])["loss"].mean()
    assert means["l_val"].tolist() == pytest.approx(frame["l_val"].tolist())


def test_the_criterion_sees_what_is_watched_and_its_stop_is_remembered() -> None:
    best: list[int] = []
    tracker = Tracker(
        {"l_det": along(5, 4, 3, 2, 1), "l_val": along(0.9, 0.5, 0.6, 0.7, 0.8)},
        watch="l_val",
        criterion=Patience(2),
        on_best=best.append,
    )
    assert [tracker.update(step) for step in range(5)] == [False, False, False, True, True]
    assert (tracker.best_step, tracker.stop_step, best) == (1, 3, [0, 1])


def test_shown_it_says_how_far_it_is_and_what_it_said() -> None:
    tracker = Tracker({"l_val": along(0.5, 0.4, 0.6, 0.7)}, criterion=Patience(2))
    assert repr(tracker).startswith("Tracker('l_val', Patience(patience=2")
    assert "step" not in repr(tracker)
    for step in range(4):
        tracker.update(step)
    assert repr(tracker).endswith(", step=3, best_step=1, stop_step=3)")


def test_dvar_has_its_ratio_in_the_frame() -> None:
    tracker = Tracker({"l_det": along(1.0, 0.5, 0.4, 0.4)}, criterion=DVAR(2, 0.01))
    assert [tracker.update(step) for step in range(4)] == [False, False, False, True]
    known = np.array([1.0, 0.5, 0.4, 0.4])
    expected = [known[k - 1 : k + 1].var() / known[: k + 1].var() for k in range(1, 4)]
    assert tracker.frame()["ratio"][1:].tolist() == pytest.approx(expected, abs=1e-12)
    assert math.isnan(tracker.frame()["ratio"][0])


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (lambda: 0.5, "shape (); give one loss per sample"),
        (lambda: torch.tensor(0.5), "shape (); give one loss per sample"),
        (lambda: np.ones((2, 3)), "shape (2, 3); give one loss per sample"),
        (lambda: [], "shape (0,); give one loss per sample"),
        (lambda: "high", "failed at step 2: ValueError: could not convert string"),
        (lambda: 1 / 0, "failed at step 2: ZeroDivisionError: division by zero"),
        (lambda: np.ones(3), "3 losses, and 4 before; give those of the same samples"),
    ],
)
def test_what_gives_no_losses_is_told_in_one_line_and_nothing_is_lost(
    tmp_path: Path, losses: Losses, said: str
) -> None:
    found: Iterator[Losses] = iter([along(0.5), along(0.4), losses])
    tracker = Tracker({"l_val": lambda: next(found)()}, out=tmp_path / "mine")
    tracker.update(0)
    tracker.update(1)
    with pytest.raises(UserError) as error:
        tracker.update(2)
    assert "losses['l_val']" in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    written = read_trace(tmp_path / "mine" / "traces" / "tracked", TRACKED_COLUMNS)
    assert written["step"].unique().tolist() == [0, 1]


def test_nan_is_recorded_warned_of_and_no_evidence() -> None:
    tracker = Tracker({"l_val": along(0.5, math.nan, 0.6, 0.7)}, criterion=Patience(2))
    tracker.update(0)
    with pytest.warns(NonFiniteLossWarning, match=r"'l_val'\] at step 1: sample 0.* is nan"):
        assert not tracker.update(1)
    assert [tracker.update(2), tracker.update(3)] == [False, True]
    assert math.isnan(tracker.frame()["l_val"][1])
    assert tracker.best_step == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("criterion", [lambda: None, lambda: Patience(5)])
def test_a_value_that_is_not_finite_is_never_the_best(bad: float, criterion: Any) -> None:
    seen: list[int] = []
    tracker = Tracker({"l_val": along(bad, 0.5, bad)}, criterion=criterion(), on_best=seen.append)
    for step in range(3):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert not tracker.update(step)
        assert [f"at step {step}: " in str(each.message) for each in told] == [True] * (step != 1)
    assert (tracker.best_step, seen) == (1, [1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"losses": {}}, "losses: none given"),
        ({"losses": {"a": len, "b": len}}, "watch: which of a, b decides?"),
        ({"losses": {"a": len}, "watch": "b"}, "watch: 'b' is none of the losses, a"),
        ({"losses": {"a": len}, "every": 0}, "every 0: give a whole number of steps"),
    ],
)
def test_a_tracker_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        Tracker(**given)


def test_steps_rise() -> None:
    tracker = Tracker({"l_det": along(1, 2, 3)})
    tracker.update(4)
    with pytest.raises(UserError, match="step 4: it comes after step 4"):
        tracker.update(4)


@pytest.mark.parametrize("with_folder", [True, False])
def test_a_loaded_state_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, with_folder: bool
) -> None:
    curve = [0.9, 0.5, 0.52, 0.54, 0.56, 0.58]

    def new(out: str, first: int) -> Tracker:
        place = tmp_path / out if with_folder else None
        return Tracker({"l_val": along(*curve[first:])}, criterion=Patience(4), out=place)

    whole = new("whole", 0)
    answers = [whole.update(step) for step in range(6)]
    before = new("cut", 0)
    for step in range(3):
        before.update(step)
    state = json.loads(json.dumps(before.state_dict()))
    before.update(3)  # after the state was saved, and lost
    before.close()
    after = new("cut", 3)
    after.load_state_dict(state)
    assert [after.update(step) for step in range(3, 6)] == answers[3:]
    assert (after.best_step, after.stop_step) == (whole.best_step, whole.stop_step) == (1, 5)
    for tracker in (whole, after):
        tracker.close()
    columns = ["step", "l_val"]
    pd.testing.assert_frame_equal(after.frame()[columns], whole.frame()[columns])
    pd.testing.assert_frame_equal(after.samples(), whole.samples())


def test_a_folder_with_another_trace_is_not_overwritten(tmp_path: Path) -> None:
    tracker = Tracker({"l_det": along(1, 2)}, out=tmp_path / "mine")
    tracker.update(0)
    tracker.close()
    again = Tracker({"l_det": along(1, 2)}, out=tmp_path / "mine")
    with pytest.raises(UserError, match="holds a trace already; choose another folder"):
        again.update(0)


def test_neither_diffusers_nor_torch_is_needed() -> None:
    code = (
        "import sys, numpy as np, noiseprobe\n"
        "ones = {'l_det': lambda: np.ones(3)}\n"
        "tracker = noiseprobe.Tracker(ones, criterion=noiseprobe.Patience(1))\n"
        "assert [tracker.update(0), tracker.update(1)] == [False, True]\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
