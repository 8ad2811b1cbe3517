"""The interval is that of the statistic over resampled units."""

import numpy as np
import pytest
from scipy import stats

from noiseprobe.analysis.bootstrap import (
    FEWEST,
    bootstrap_interval,
    interval_of_units,
    ratio_of_sums,
)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(1).normal(3, 1, 40)
    oracle = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", random_state=0
    ).confidence_interval
    assert bootstrap_interval(values) == pytest.approx(tuple(oracle), abs=0.02)


def test_units_with_several_numbers_stay_whole() -> None:
    pairs = np.column_stack([np.arange(1.0, 21.0), 2 * np.arange(1.0, 21.0)])
    low, high = bootstrap_interval(pairs[:, ::-1], ratio_of_sums)
    assert (low, high) == (2, 2)


def test_a_seed_repeats() -> None:
    values = [0.1, 0.5, 0.9]
    assert bootstrap_interval(values) == bootstrap_interval(values)


@pytest.mark.parametrize("values", [[], [0.3]])
def test_of_fewer_than_two_units_nothing_is_known(values: list[float]) -> None:
    assert np.isnan(bootstrap_interval(values)).all()


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_mean_of_few_has_the_interval_of_student(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(interval_of_units(values), expected)


def test_the_mean_of_enough_has_that_of_the_bootstrap_and_of_one_none() -> None:
    values = np.random.default_rng(0).normal(size=FEWEST)
    assert interval_of_units(values) == bootstrap_interval(values)
    assert np.isnan(interval_of_units(values[:1])).all()
