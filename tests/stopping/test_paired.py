"""The paired loss: known answers, honest standard errors, exact resumption."""

import json
import math

import numpy as np
import pytest
import torch

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import NonFiniteLossWarning, PairedLoss


def test_running_mean_and_its_error_are_the_weighted_sums_of_the_definition() -> None:
    random = np.random.default_rng(0)
    now, start = random.random((2, 7, 5))
    paired = PairedLoss(half_life=3)
    means = [paired.update(*each) for each in zip(now, start, strict=True)]
    weights = 0.5 ** (np.arange(7)[::-1] / 3)
    weights /= weights.sum()
    differences = now - start
    assert means == pytest.approx(differences.mean(1))
    assert paired.mean == pytest.approx(weights @ differences.mean(1))
    of_each = differences.var(axis=1, ddof=1) / 5
    assert paired.se == pytest.approx(math.sqrt(weights**2 @ of_each))


def test_interval_covers_the_averaged_gain_as_often_as_it_says() -> None:
    random, runs, steps, batch, half_life = np.random.default_rng(1), 600, 80, 8, 10
    gain = -0.3 * (1 - np.exp(-np.arange(steps) / 30))  # training goes on while it is averaged
    weights = 0.5 ** (np.arange(steps)[::-1] / half_life)
    truth = weights @ gain / weights.sum()
    covered = 0
    for _ in range(runs):
        common = random.gamma(2, 1, (steps, batch))  # what a timestep does to both models
        start = common + 0.05 * random.standard_normal((steps, batch))
        now = common * (1 + gain[:, None] / 2) + 0.05 * random.standard_normal((steps, batch))
        paired = PairedLoss(half_life)
        for each in zip(now, start, strict=True):
            paired.update(*each)
        covered += abs(paired.mean - truth) < 1.96 * paired.se
    assert 0.92 < covered / runs < 0.975


def test_common_draws_cancel() -> None:
    draws = np.random.default_rng(2).gamma(2, 10, (50, 4))
    paired = PairedLoss()
    for each in draws:
        paired.update(each - 0.25, each)
    assert paired.mean == pytest.approx(-0.25)
    assert paired.se == pytest.approx(0, abs=1e-9)


def test_tensors_of_any_precision_are_taken() -> None:
    now = torch.tensor([0.5, 0.25], dtype=torch.bfloat16, requires_grad=True)
    assert PairedLoss().update(now, torch.tensor([0.25, 0.25])) == 0.125


def test_goes_on_from_a_saved_state_exactly() -> None:
    now, start = np.random.default_rng(3).random((2, 9, 4))
    whole, first, second = PairedLoss(5), PairedLoss(5), PairedLoss(5)
    for index in range(9):
        whole.update(now[index], start[index])
        (first if index < 4 else second).update(now[index], start[index])
        if index == 3:
            second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert (second.mean, second.se) == (whole.mean, whole.se)
    with pytest.raises(UserError, match="half_life 6: the saved state has half_life 5"):
        PairedLoss(6).load_state_dict(first.state_dict())


def test_a_step_without_a_finite_loss_is_left_out() -> None:
    paired = PairedLoss()
    assert math.isnan(paired.mean)
    assert math.isnan(paired.se)
    paired.update([1.0, 2.0], [2.0, 2.5])
    before = paired.state_dict()
    with pytest.warns(NonFiniteLossWarning, match="leaves the step out"):
        assert math.isnan(paired.update([math.nan, 1.0], [1.0, 1.0]))
    assert paired.state_dict() == before


@pytest.mark.parametrize(
    ("now", "start", "told"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], "start: 3 losses for 2 samples"),
        (1.0, [1.0, 2.0], r"now: losses of shape \(\) given"),
        ([1.0], [1.0], r"now: losses of shape \(1,\) given"),
    ],
)
def test_other_than_two_vectors_of_a_batch_are_refused(
    now: object, start: object, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        PairedLoss().update(now, start)  # type: ignore[arg-type]


@pytest.mark.parametrize("half_life", [0, -1, math.inf, math.nan])
def test_a_half_life_that_is_none_is_refused(half_life: float) -> None:
    with pytest.raises(UserError, match="half_life"):
        PairedLoss(half_life)
