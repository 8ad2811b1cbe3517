"""Recent gain: known answers, an interval that holds what it says, what it keeps and leaves out."""

import math

import numpy as np
import pytest
import scipy.stats

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import NonFiniteLossWarning, RecentGain


def test_gains_add_up_and_the_interval_is_that_of_their_difference() -> None:
    random = np.random.default_rng(0)
    stretches = [random.normal(-gain, 0.3, 40) for gain in (0.9, 0.4, 0.1)]
    criterion = RecentGain(share=0.2, confidence=0.9)
    for stretch in stretches:
        criterion.update(stretch)
    gains = np.array([-stretch.mean() for stretch in stretches])
    errors = np.array([stretch.std(ddof=1) / math.sqrt(40) for stretch in stretches])
    assert criterion.gain == pytest.approx(gains[-1])
    assert criterion.total == pytest.approx(gains.sum())
    weights = np.array([-0.2, -0.2, 0.8])  # of gain - share * total in the gains
    assert criterion.se == pytest.approx(math.sqrt(np.sum((weights * errors) ** 2)))
    upper = weights @ gains + scipy.stats.norm.ppf(0.9) * criterion.se
    assert criterion.upper == pytest.approx(upper)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_a_last_stretch_of_just_the_share_stops_as_often_as_it_may(confidence: float) -> None:
    random, share, runs = np.random.default_rng(1), 0.2, 4000
    last = share * 1.5 / (1 - share)  # which is that share of all three
    stops = 0
    for _ in range(runs):
        criterion = RecentGain(share, confidence)
        for gain in (1.0, 0.5):
            criterion.update(random.normal(-gain, 1, 100))
        stops += criterion.update(random.normal(-last, 1, 100))
    interval = scipy.stats.binomtest(stops, runs).proportion_ci(0.999)
    assert interval.low < 1 - confidence < interval.high


def test_a_gain_that_goes_on_is_not_stopped_and_one_that_ends_is() -> None:
    on = RecentGain()
    assert not any(on.update([-0.2, -0.3, -0.25]) for _ in range(6))
    ends = RecentGain()
    gains = (0.5, 0.3, 0.2, 0.01)
    fires = [ends.update([-gain - 0.001, -gain, -gain + 0.001]) for gain in gains]
    assert fires == [False, False, False, True]


def test_it_keeps_the_stretch_after_which_most_was_gained() -> None:
    criterion = RecentGain()
    for gain in (0.5, 0.3, -0.1, 0.05):
        criterion.update([-gain, -gain])
    assert criterion.best_index == 1


def test_without_an_error_it_never_fires() -> None:
    criterion = RecentGain()
    assert not any(criterion.update(-gain) for gain in (0.5, 0.3, 0.0, 0.0))
    assert criterion.best_index == 1
    assert math.isnan(criterion.upper)


def test_a_stretch_with_nan_is_left_out() -> None:
    criterion, other = RecentGain(), RecentGain()
    criterion.update([-0.5, -0.4])
    with pytest.warns(NonFiniteLossWarning, match="RecentGain"):
        assert not criterion.update([-0.5, math.nan])
    criterion.update([-0.1, -0.2])
    other.update([-0.5, -0.4])
    other.update([-0.1, -0.2])
    assert (criterion.gain, criterion.total, criterion.se) == (other.gain, other.total, other.se)
    assert criterion.best_index == 2


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="one per sample"):
        RecentGain().update(np.zeros((2, 2)))
    with pytest.raises(UserError, match="share 1"):
        RecentGain(share=1)
    with pytest.raises(UserError, match=r"confidence 0\.4"):
        RecentGain(confidence=0.4)
