"""How much of a series is noise from one value to the next, held against simulated truth."""

import numpy as np
import pytest

from noiseprobe.analysis.trend import FEWEST, trend_of


def test_the_ratio_is_von_neumanns() -> None:
    values = np.array([1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 5.0, 8.0])
    by_hand = (4 + 1 + 9 + 1 + 4 + 1 + 9) / ((values - 4.25) ** 2).sum()
    assert trend_of(values).ratio == pytest.approx(by_hand)


def test_a_trend_is_seen_in_one_of_twenty_series_without_one() -> None:
    random = np.random.default_rng(0)
    seen = [trend_of(random.normal(size=50)).seen for _ in range(4000)]
    assert np.mean(seen) == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_noise_share_and_the_noise_are_those_that_were_put_in(share: float) -> None:
    random, steps = np.random.default_rng(1), np.linspace(0, 1, 4000)
    trend = np.exp(-3 * steps)
    noise = trend.std() * np.sqrt(share / (1 - share))
    found = trend_of(trend + noise * random.normal(size=4000))
    assert found.noise_share == pytest.approx(share, abs=0.03)
    assert found.noise == pytest.approx(noise, rel=0.05)
    assert found.seen


def test_the_end_of_noise_alone_is_within_what_chance_gives() -> None:
    random, above = np.random.default_rng(2), 0
    for _ in range(1000):
        values = random.normal(size=100)
        above += not trend_of(values).chance(float(values[-1] - values.min()))
    assert above < 50
    assert not trend_of(np.linspace(0, 1, 100)).chance(0.5)


@pytest.mark.parametrize("values", [[], [1.0], [2.0] * 20, [np.nan] * 20, list(range(FEWEST - 1))])
def test_of_too_few_or_equal_values_nothing_is_said(values: list[float]) -> None:
    found = trend_of(np.array(values, dtype=np.float64))
    assert np.isnan(found.ratio)
    assert not found.noisy
    assert not found.chance(0.0)
