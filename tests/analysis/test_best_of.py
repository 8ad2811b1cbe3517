"""Which checkpoint is best: known answers, and a set that holds the best as often as it says."""

import numpy as np
import pytest
import scipy.stats

from noiseprobe.analysis import best_of
from noiseprobe.analysis.best_of import best_of_samples, best_of_series
from noiseprobe.core.errors import UserError


def paired(means: np.ndarray, count: int, own: float, seed: int) -> np.ndarray:
    """Losses whose draws are shared: (checkpoints, samples)."""
    random = np.random.default_rng(seed)
    shared = random.normal(1, 0.5, count)
    return shared + means[:, None] + own * random.normal(size=(len(means), count))


def test_two_checkpoints_are_compared_by_students_test() -> None:
    random = np.random.default_rng(0)
    one = random.normal(0, 1, 40)
    difference = random.normal(0, 1, 40)
    for shift in np.linspace(-0.6, 0.6, 25):
        losses = np.stack([one, one + difference + shift])
        found = best_of_samples([1, 2], losses)
        parts = np.diff(losses[1] - losses[0])
        error = np.sqrt((parts**2).sum() / (2 * 39 * 40))
        ratio = (difference + shift).mean() / error
        limit = scipy.stats.t.ppf(0.95, 2 * 39**2 / (3 * 40 - 4))
        if abs(abs(ratio) - limit) > 1e-9:
            assert found.sure == (abs(ratio) > limit)


@pytest.mark.parametrize(("checkpoints", "gap"), [(6, 0.0), (6, 0.02)])
def test_the_best_is_among_the_candidates_as_often_as_it_says(
    checkpoints: int, gap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_of, "DRAWN", 1000)
    means = gap * np.abs(np.arange(checkpoints) - 2)
    runs = 300
    held, many = 0, 0
    for seed in range(runs):
        found = best_of_samples(np.arange(checkpoints), paired(means, 24, 0.1, seed))
        held += 2 in found.candidates
        many += len(found.candidates)
    assert held / runs > 0.95 - 3 * np.sqrt(0.05 * 0.95 / runs)
    if gap:
        assert many / runs < checkpoints - 1, "those that are far are left out"


def test_draws_that_checkpoints_share_do_not_count() -> None:
    means = np.array([0.2, 0.1, 0.0, 0.05])
    found = best_of_samples([0, 10, 20, 30], paired(means, 32, 0.02, 1))
    assert found.sure
    assert found.step == 20
    row = found.table.set_index("step").loc[0]
    assert row["low"] < 0.2 < row["high"]
    assert row["high"] - row["low"] < 0.1


def test_more_checkpoints_than_are_simulated_are_compared_by_bonferroni(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    means = np.append(0.03 * np.arange(8.0), np.full(20, 0.5))
    losses = paired(means, 32, 0.1, 3)
    simulated = best_of_samples(np.arange(28), losses)
    monkeypatch.setattr(best_of, "MOST_SIMULATED", 5)
    bounded = best_of_samples(np.arange(28), losses)
    assert set(simulated.candidates) <= set(bounded.candidates)
    assert len(bounded.candidates) < 10


def test_checkpoints_that_are_the_same_cannot_be_told_apart() -> None:
    losses = np.tile(np.random.default_rng(0).normal(size=16), (3, 1))
    found = best_of_samples([1, 2, 3], losses)
    assert found.candidates == [1, 2, 3]
    assert best_of_samples([7], losses[:1]).sure


@pytest.mark.parametrize(("points", "noise"), [(12, 0.01), (60, 0.05), (3000, 0.3)])
def test_the_lowest_part_of_a_series_is_among_the_candidates(points: int, noise: float) -> None:
    place = np.linspace(0, 1, points)
    curve = (place - 0.4) ** 2
    held, runs = 0, 60
    for seed in range(runs):
        random = np.random.default_rng(seed)
        found = best_of_series(np.arange(points), curve + noise * random.normal(size=points))
        ends = found.table["step"].to_numpy()
        held += int(ends[np.searchsorted(ends, curve.argmin())]) in found.candidates
    assert held / runs > 0.9
    assert len(found.table) == (points if points < 40 else 20)


def test_a_series_without_noise_is_known_to_the_point() -> None:
    steps = np.arange(0, 3000, 100)
    found = best_of_series(steps, np.abs(steps - 1300) / 1e3)
    assert found.step == 1300


def test_values_that_are_not_finite_are_left_out() -> None:
    values = np.linspace(1, 0, 12)
    values[3] = np.nan
    assert len(best_of_series(np.arange(12), values).table) == 11
    with pytest.raises(UserError, match="4 finite values"):
        best_of_series(np.arange(5), [1, 2, 3, 4, np.nan])


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="two samples or more"):
        best_of_samples([1, 2], np.zeros((2, 1)))
