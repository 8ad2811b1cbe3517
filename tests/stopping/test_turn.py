"""Turn fires where the rise from the best is sure, by its own formula and by simulation."""

import json
import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import (
    DVAR,
    NonFiniteLossWarning,
    Outcome,
    Patience,
    Turn,
    outcome,
)

Floats = NDArray[np.float64]


def turning(seed: int = 0, points: int = 60, samples: int = 8) -> Floats:
    """Losses (points, samples) that fall, then rise; each sample at a level and pace of its own."""
    random = np.random.default_rng(seed)
    level, pace = random.gamma(2, 1, samples), random.uniform(0.8, 1.2, samples)
    time = np.arange(points)[:, np.newaxis] / points
    curve = np.exp(-time / 0.1) + 0.5 * time
    return np.asarray(level + pace * curve + random.normal(0, 0.02, (points, samples)))


@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.999])
@pytest.mark.parametrize("samples", [2, 8, 33])
def test_it_fires_where_its_formula_does(samples: int, confidence: float) -> None:
    losses = turning(samples, samples=samples)
    criterion = Turn(confidence)
    means = losses.mean(axis=1)
    fired = []
    for now in range(len(losses)):
        best = int(np.argmin(means[: now + 1]))
        rise = losses[now] - losses[best]
        neighbours = [(one - other) ** 2 for one, other in pairwise(rise)]
        error = math.sqrt(sum(neighbours) / (samples - 1) / 2 / samples)
        degrees = 2 * (samples - 1) ** 2 / (3 * samples - 4)
        limit = scipy.stats.t.isf((1 - confidence) / max(now * (now + 1), 1), degrees)
        sure = now > best and rise.mean() > limit * error
        fired.append(sure)
        assert criterion.update(losses[now]) == sure
        assert criterion.best_index == best
    assert any(fired) or samples == 2 or confidence == 0.999
    assert not all(fired[10:])


def test_its_error_is_that_of_the_mean_of_independent_and_of_stratified_samples() -> None:
    random = np.random.default_rng(0)
    strata = np.arange(32) / 32
    for spread, between in ((1.0, 0.0), (0.1, 3.0)):
        rises = between * strata + random.normal(0, spread, (4000, 32))
        squares = np.diff(rises, axis=1) ** 2
        error = np.sqrt(squares.sum(axis=1) / (2 * 31 * 32))
        assert error.mean() == pytest.approx(rises.mean(axis=1).std(), rel=0.25)
        # A usual standard error would count what differs between strata, here five times as much.
        usual = rises.std(axis=1, ddof=1).mean() / math.sqrt(32)
        assert (usual > 5 * error.mean()) == (between > 0)


def fires(losses: Floats) -> bool:
    return outcome(Turn(0.9), losses).stop_index is not None


@pytest.mark.parametrize("samples", [4, 16])
def test_of_batches_of_a_level_loss_no_more_fire_than_the_confidence_leaves(samples: int) -> None:
    random = np.random.default_rng(samples)
    wandering = random.normal(size=(500, 40, samples)).cumsum(axis=1)
    assert np.mean([fires(each) for each in wandering]) < 0.1 + 2 * math.sqrt(0.1 * 0.9 / 500)
    rising = wandering + np.arange(40)[:, np.newaxis]
    assert np.mean([fires(each) for each in rising]) > 0.5


def test_a_rise_of_all_samples_alike_is_sure_and_one_of_a_single_sample_is_not() -> None:
    start = [0.1, 0.5, 0.9, 0.3]
    assert outcome(Turn(0.999), [start, [loss + 1e-6 for loss in start]]).stop_index == 1
    assert outcome(Turn(0.9), [start, [1.1, 0.5, 0.9, 0.3]]).stop_index is None


def test_the_levels_of_samples_do_not_matter() -> None:
    losses = turning()
    levels = np.random.default_rng(1).normal(0, 100, losses.shape[1])
    plain = outcome(Turn(), losses)
    assert plain.stop_index is not None
    assert outcome(Turn(), losses + levels) == plain


def test_the_step_to_keep_is_the_best_one() -> None:
    losses = turning()
    found = outcome(Turn(), losses)
    assert found.stop_index is not None
    means = losses[: found.stop_index + 1].mean(axis=1)
    assert found.kept_index == int(np.argmin(means)) < found.stop_index


@given(
    falls=st.lists(st.floats(0.001, 1), min_size=1, max_size=30),
    confidence=st.sampled_from([0.01, 0.5, 0.99]),
)
@settings(max_examples=50, deadline=None)
def test_losses_that_never_rise_never_fire(falls: list[float], confidence: float) -> None:
    mean = 10 - np.cumsum(falls)
    pattern = np.random.default_rng(0).normal(size=(len(falls), 5)) / 8
    losses = mean[:, np.newaxis] + pattern - pattern.mean(axis=1, keepdims=True)
    assert outcome(Turn(confidence), losses).stop_index is None


@pytest.mark.parametrize("losses", [[3.0, 1.0, 2.0, 9.0], [[3.0], [1.0], [2.0], [9.0]]])
def test_one_loss_tells_of_no_uncertainty(losses: list[float]) -> None:
    assert outcome(Turn(), losses) == Outcome(None, 1, could_fire=False)


def test_another_number_of_samples_than_before_is_refused() -> None:
    criterion = Turn()
    criterion.update([1.0, 2.0])
    with pytest.raises(UserError, match="3 losses, and 2 before: give those of the same samples"):
        criterion.update([1.0, 2.0, 3.0])


@pytest.mark.parametrize("given", [[], [[1.0, 2.0]]])
def test_what_is_no_vector_is_refused(given: object) -> None:
    with pytest.raises(UserError, match=r"give one per sample, \(B,\)"):
        Turn().update(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_evaluation_with_one_bad_loss_is_left_out(bad: float) -> None:
    losses = turning()
    plain = outcome(Turn(), losses)
    assert plain.stop_index is not None
    broken = losses[plain.stop_index].copy()
    broken[3] = bad
    criterion = Turn()
    assert not any(criterion.update(each) for each in losses[: plain.stop_index])
    with pytest.warns(NonFiniteLossWarning, match="leaves it out"):
        assert not criterion.update(broken)
    assert criterion.update(losses[plain.stop_index])
    assert criterion.best_index == plain.kept_index


def test_it_is_resumed_at_any_evaluation_and_with_another_confidence() -> None:
    losses = turning(points=40)
    for cut in range(0, 40, 3):
        whole, before, after = Turn(0.99), Turn(0.5), Turn(0.99)
        expected = [whole.update(each) for each in losses]
        for each in losses[:cut]:
            before.update(each)
        after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
        assert [after.update(each) for each in losses[cut:]] == expected[cut:]
        assert after.state_dict() == whole.state_dict()


def test_what_it_keeps_does_not_grow() -> None:
    criterion = Turn()
    sizes = set()
    for losses in turning(points=2000):
        criterion.update(losses)
        sizes.add(len(criterion.state_dict()["best_losses"]))
    assert sizes == {8}


@pytest.mark.parametrize("confidence", [0, 1, -0.1, 1.5, math.nan])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(UserError, match=f"confidence {confidence}: give a number above 0"):
        Turn(confidence)


@pytest.mark.parametrize("criterion", [DVAR(), Patience()])
def test_other_criteria_ask_for_the_mean(criterion: DVAR | Patience) -> None:
    with pytest.raises(UserError, match=r"4 losses: (DVAR|Patience) looks at one"):
        criterion.update([1.0, 2.0, 3.0, 4.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not criterion.update(np.float32(1.0))
