"""Each criterion decides as its published definition does, is resumed exactly, and bears NaN."""

import json
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import (
    CRITERIA,
    EMAPlateau,
    GainInterval,
    GainShare,
    GeneralizationLoss,
    LossCriterion,
    NonFiniteLossWarning,
    Outcome,
    Patience,
    RelativeRange,
    TheilSen,
    Uprising,
    as_losses,
    build,
    completed,
    outcome,
)
from noiseprobe.stopping.turn import WAIT_STEPS

SMALL: dict[str, dict[str, float]] = {
    "dvar": {"window": 4, "threshold": 0.05},
    "gain-share": {"window": 9, "threshold": 0.1},
    "gain-interval": {"window": 4, "share": 0.1, "confidence": 0.9},
    "recent-gain": {"share": 0.1, "confidence": 0.9},
    "patience": {"patience": 4, "min_delta": 0.25},
    "ema-plateau": {"halflife": 2, "patience": 3, "min_delta": 0.0},
    "relative-range": {"window": 4, "threshold": 0.1},
    "theil-sen": {"window": 6, "alpha": 0.05},
    "generalization-loss": {"alpha": 20},
    "uprising": {"strips": 2, "length": 3},
    "turn": {"confidence": 0.95},
    "fixed": {"steps": 25},
}
"""Parameters with which each criterion fires somewhere in 60 losses, and not at once."""

whole_losses = st.lists(st.integers(1, 40).map(float), min_size=1, max_size=40)


def shown(name: str, losses: Sequence[float]) -> list[Any]:
    """The losses as a criterion of the name takes them: those of samples, or their mean.

    To one that sees changes, each is what a stretch has brought.
    """
    paces = np.array([0.999, 1.0, 1.001, 1.0]) * (-1 if name == "recent-gain" else 1)
    return [loss * paces for loss in losses] if CRITERIA[name].per_sample else list(losses)


def decisions(criterion: LossCriterion, losses: Sequence[ArrayLike]) -> list[bool]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteLossWarning)
        return [criterion.update(loss) for loss in losses]


def falling(points: int, seed: int = 0) -> list[float]:
    random = np.random.default_rng(seed)
    noise = random.normal(size=points)
    trace = 1 + 4 * np.exp(-np.arange(points) / 6) + 0.1 * noise + 0.02 * np.arange(points)
    return list(trace)


def test_all_criteria_are_tested_here() -> None:
    assert {*SMALL, "never"} == set(CRITERIA)


def test_never_never_stops() -> None:
    assert outcome(build("never"), falling(40)) == Outcome(None, 39, could_fire=False)


def test_patience_by_hand() -> None:
    criterion = Patience(patience=2, min_delta=0.5)
    # 9.6 and 9.4 are no improvement on 10 by more than 0.5 until 9.4; then 9.0 and 9.3 are none.
    assert decisions(criterion, [10, 9.6, 9.4, 9.0, 9.3]) == [False, False, False, False, True]
    assert criterion.best_index == 2


def test_an_improvement_of_exactly_min_delta_is_none() -> None:
    assert decisions(Patience(patience=1, min_delta=0.5), [10, 9.5]) == [False, True]
    assert decisions(Patience(patience=1, min_delta=0.0), [10, 10]) == [False, True]


@given(losses=whole_losses, patience=st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_patience_counts_from_the_first_lowest_loss(losses: list[float], patience: int) -> None:
    lowest = [int(np.argmin(losses[: end + 1])) for end in range(len(losses))]
    criterion = Patience(patience)
    expected = [end - best >= patience for end, best in enumerate(lowest)]
    assert decisions(criterion, losses) == expected
    assert criterion.best_index == lowest[-1]


@given(losses=whole_losses, window=st.integers(2, 8))
@settings(max_examples=200, deadline=None)
def test_the_relative_range_is_that_of_the_rolling_extremes(
    losses: list[float], window: int
) -> None:
    rolling = pd.Series(losses).rolling(window)
    high, low = rolling.max(), rolling.min()
    expected = (2 * (high - low) / (high.abs() + low.abs())).to_numpy()
    criterion = RelativeRange(window, threshold=0.3)
    ratios, fired = [], []
    for loss in losses:
        fired.append(criterion.update(loss))
        ratios.append(criterion.ratio)
    np.testing.assert_allclose(ratios, expected, rtol=1e-14)
    assert fired == [bool(ratio < 0.3) for ratio in expected]


@pytest.mark.parametrize(
    ("losses", "ratio"),
    [
        ([0.0, 0.0], 0.0),
        ([-1.0, 1.0], 2.0),
        ([-3.0, -1.0], 1.0),
        ([1.7e308, -1.7e308], 2.0),
        ([5e-324, 0.0], 2.0),
    ],
)
def test_the_relative_range_of_odd_windows(losses: list[float], ratio: float) -> None:
    criterion = RelativeRange(2, threshold=0.1)
    assert decisions(criterion, losses)[-1] == (ratio < 0.1)
    assert criterion.ratio == ratio


def test_the_queues_of_a_window_hold_no_more_than_the_window() -> None:
    criterion = RelativeRange(5, threshold=0.1)
    for loss in (*range(100), *range(100, 0, -1)):
        criterion.update(float(loss))
        state = criterion.state_dict()
        assert max(len(state["highest"]), len(state["lowest"])) <= 5


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("window", [4, 7, 15])
def test_slope_and_significance_are_those_of_scipy(window: int, ties: bool) -> None:
    random = np.random.default_rng(window)
    losses = falling(60, seed=window)
    if ties:
        losses = list(np.round(losses) + random.integers(0, 2, 60))
    criterion = TheilSen(window, alpha=0.1)
    fired = 0
    for end in range(60):
        stops = criterion.update(losses[end])
        if end + 1 < window:
            assert not stops
            assert math.isnan(criterion.p_value)
            assert math.isnan(criterion.slope)
            continue
        recent = np.array(losses[end + 1 - window : end + 1])
        told = scipy.stats.kendalltau(
            np.arange(window), recent, method="asymptotic", alternative="less"
        )
        expected = 1.0 if math.isnan(told.pvalue) else told.pvalue
        assert criterion.p_value == pytest.approx(expected, rel=1e-9)
        assert stops == (expected >= 0.1)
        slope = scipy.stats.theilslopes(recent, np.arange(window)).slope
        assert criterion.slope == pytest.approx(slope, abs=1e-12)
        fired += stops
    assert 0 < fired < 60 - window + 1


def test_a_level_window_is_no_fall() -> None:
    criterion = TheilSen(4, alpha=0.9)
    assert decisions(criterion, [0.1] * 4) == [False, False, False, True]
    assert (criterion.score, criterion.slope, criterion.p_value) == (0, 0.0, 1.0)


@given(losses=whole_losses, halflife=st.floats(0.5, 20))
@settings(max_examples=100, deadline=None)
def test_the_moving_average_is_that_of_pandas(losses: list[float], halflife: float) -> None:
    expected = pd.Series(losses).ewm(halflife=halflife, adjust=True).mean().to_numpy()
    criterion = EMAPlateau(halflife, patience=100)
    averages = []
    for loss in losses:
        criterion.update(loss)
        averages.append(criterion.average)
    np.testing.assert_allclose(averages, expected, rtol=1e-12)


def test_the_plateau_is_of_the_average_not_of_the_loss() -> None:
    # One lucky loss of 0 would be the best for long; the average hardly notices it.
    losses = np.linspace(5, 1, 60)
    losses[20] = 0.0
    assert outcome(Patience(10), losses) == Outcome(30, 20)
    assert outcome(EMAPlateau(halflife=8, patience=10), losses) == Outcome(None, 59)


@given(losses=whole_losses, alpha=st.sampled_from([1.0, 5.0, 20.0, 100.0]))
@settings(max_examples=200, deadline=None)
def test_generalization_loss_is_per_cent_above_the_lowest(
    losses: list[float], alpha: float
) -> None:
    values = np.array(losses)
    expected = 100 * (values / np.minimum.accumulate(values) - 1) > alpha
    criterion = GeneralizationLoss(alpha)
    assert decisions(criterion, losses) == expected.tolist()
    assert criterion.best_index == int(np.argmin(values))


def test_generalization_loss_at_and_below_zero() -> None:
    criterion = GeneralizationLoss(5)
    assert decisions(criterion, [1.0, 0.0, 0.0]) == [False, False, False]
    assert criterion.percent == 0.0
    assert criterion.update(1e-9)
    assert criterion.percent == math.inf
    assert not criterion.update(-1.0)
    assert not criterion.update(5.0), "a share of a negative loss says nothing"
    assert math.isnan(criterion.percent)


def uprising_stops(losses: list[float], strips: int, length: int, end: int) -> bool:
    """Prechelt's recursion to the letter, with `end` the number of losses seen."""
    if end % length or end < 2 * length:
        return False
    rose = losses[end - 1] > losses[end - 1 - length]
    return rose and (strips == 1 or uprising_stops(losses, strips - 1, length, end - length))


@given(losses=whole_losses, strips=st.integers(1, 4), length=st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_uprising_is_the_published_recursion(losses: list[float], strips: int, length: int) -> None:
    expected = [uprising_stops(losses, strips, length, end + 1) for end in range(len(losses))]
    criterion = Uprising(strips, length)
    assert decisions(criterion, losses) == expected
    assert criterion.best_index == int(np.argmin(losses))


@given(losses=whole_losses, window=st.integers(3, 12))
@settings(max_examples=200, deadline=None)
def test_the_gain_share_is_that_of_the_medians_of_thirds(losses: list[float], window: int) -> None:
    part = window // 3
    medians = pd.Series(losses).rolling(part).median().to_numpy()
    expected = []
    for now in range(len(losses)):
        then = now - window + part
        seen = medians[part - 1 : now + 1]
        total = seen[0] - seen.min() if len(seen) else 0.0
        gain = medians[then] - medians[now] if now >= window - 1 else math.nan
        expected.append(gain < 0 if total == 0 else bool(gain / total < 0.3))
    assert decisions(GainShare(window, threshold=0.3), losses) == expected


def test_the_gain_share_stops_where_dvar_is_blind() -> None:
    line = np.linspace(1, 0, 301)
    # A straight fall: the window's share of it is below a third when it is three times as long.
    stop = outcome(GainShare(60, threshold=1 / 3), line).stop_index
    assert stop == pytest.approx(3 * 40 + 20, abs=2)
    assert outcome(build("dvar", {"window": 200, "threshold": 0.1}), line).stop_index is None
    u_shaped = 1 + ((np.arange(400) - 150) / 150) ** 2
    # Medians 40 apart, the later around c, differ by 80 (170 - c) / 150², which is 0.05 at c = 156.
    passed = outcome(GainShare(60, threshold=0.05), u_shaped).stop_index
    assert passed == pytest.approx(156 + 10, abs=3)


def test_a_constant_loss_has_no_gain_to_share() -> None:
    assert outcome(GainShare(3, threshold=0.5), [1.0] * 20).stop_index is None
    assert outcome(GainShare(3, threshold=0.5), [1.0, 1.1, 1.2]).stop_index == 2


@given(losses=whole_losses, window=st.integers(2, 6), share=st.sampled_from([0.02, 0.3]))
@settings(max_examples=200, deadline=None)
def test_the_gain_interval_is_that_of_its_definition(
    losses: list[float], window: int, share: float
) -> None:
    criterion = GainInterval(window, share, confidence=0.9)
    for end, loss in enumerate(losses, start=1):
        stops = criterion.update(loss)
        if end < 2 * window:
            assert not stops
            assert math.isnan(criterion.gain)
            assert math.isnan(criterion.upper)
            continue
        before, last = losses[end - 2 * window : end - window], losses[end - window : end]
        gain, total = np.mean(before) - np.mean(last), losses[0] - np.mean(last)
        variances = [np.mean(np.diff(each) ** 2) / 2 for each in (before, last)]
        se = math.sqrt((variances[0] + (1 - share) ** 2 * variances[1]) / window)
        upper = gain - share * total + scipy.stats.norm.ppf(0.9) * se
        found = (criterion.gain, criterion.total, criterion.se, criterion.upper)
        assert found == pytest.approx((gain, total, se, upper), abs=1e-12)
        assert stops == (criterion.upper < 0)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_gain_interval_holds_a_gain_of_exactly_the_share_as_often_as_it_says(
    confidence: float,
) -> None:
    window, share, runs = 25, 0.1, 2000
    random = np.random.default_rng(0)
    # Straight falls that bring 0.1 from window to window, of 1 in all; each run as noisy as it is.
    trend = -0.9 - 0.1 * (np.arange(2 * window) - (window - 1) / 2) / window
    noise = random.normal(size=(runs, 2 * window)) * random.uniform(0.1, 1.0, (runs, 1))
    held = 0
    for losses in trend + noise:
        criterion = GainInterval(window, share, confidence)
        stops = decisions(criterion, [0.0, *losses])
        held += not stops[-1]
    assert held / runs == pytest.approx(confidence, abs=0.02)


def test_the_gain_interval_stops_when_it_is_sure() -> None:
    steps = np.arange(400)
    falling = -(1 - np.exp(-steps / 40))
    # Windows of 20 up to c + 9.5 fall short of all by y = e^(-c/40), nearly, and brought
    # (e^0.5 - 1) y. That is 0.1 (1 - y) at y = 0.1336, c = 80.5.
    share = outcome(GainInterval(20, share=0.1, confidence=0.5), falling).stop_index
    assert share is not None
    assert share == pytest.approx(80.5 + 9.5, abs=1)
    noisy = falling + np.random.default_rng(0).normal(0, 0.1, 400) * np.sqrt(-falling)
    sure = outcome(GainInterval(20, share=0.1, confidence=0.99), noisy).stop_index
    assert sure is not None
    assert share < sure < 250
    assert outcome(GainInterval(20, 0.1, 0.5), np.zeros(400)).stop_index is None
    getting_worse = outcome(GainInterval(20, share=0.1), steps / 400).stop_index
    assert getting_worse == 39, "it stops as soon as it can"


@pytest.mark.parametrize("name", SMALL)
def test_is_resumed_at_any_step_as_if_never_interrupted(name: str) -> None:
    each_loss = falling(60)
    each_loss[7] = math.nan
    losses = shown(name, each_loss)
    whole = decisions(build(name, SMALL[name]), losses)
    assert any(whole)
    assert not whole[0]
    for cut in range(len(losses)):
        before, after = build(name, SMALL[name]), build(name, SMALL[name])
        decisions(before, losses[:cut])
        after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
        assert after.best_index == before.best_index
        assert decisions(after, losses[cut:]) == whole[cut:]


@pytest.mark.parametrize("name", [name for name in SMALL if name != "fixed"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_loss_warns_and_is_no_evidence(name: str, bad: float) -> None:
    losses = shown(name, falling(60))
    plain = outcome(build(name, SMALL[name]), losses)
    assert plain.stop_index is not None
    with_bad = [each for loss in falling(60) for each in (bad, loss)]
    disturbed = outcome(build(name, SMALL[name]), shown(name, with_bad))
    assert disturbed == Outcome(2 * plain.stop_index + 1, 2 * plain.kept_index + 1)
    criterion = build(name, SMALL[name])
    decisions(criterion, losses[: plain.stop_index + 1])
    with pytest.warns(NonFiniteLossWarning, match="leaves it out"):
        assert not criterion.update(*shown(name, [bad])), (
            "it does not stop on the evidence of before"
        )


@pytest.mark.parametrize("name", SMALL)
@given(losses=whole_losses, power=st.integers(-30, 30))
@settings(max_examples=50, deadline=None)
def test_the_unit_of_the_loss_does_not_matter(name: str, losses: list[float], power: int) -> None:
    scaled = dict(SMALL[name])
    if "min_delta" in scaled:
        scaled["min_delta"] *= 2.0**power
    in_other_unit = [loss * 2.0**power for loss in losses]
    plain = outcome(build(name, SMALL[name]), shown(name, losses))
    assert outcome(build(name, scaled), shown(name, in_other_unit)) == plain


@pytest.mark.parametrize(
    "name", ["dvar", "gain-share", "gain-interval", "patience", "theil-sen", "uprising", "fixed"]
)
@given(losses=whole_losses, shift=st.integers(-1000, 1000))
@settings(max_examples=50, deadline=None)
def test_the_zero_of_the_loss_does_not_matter(name: str, losses: list[float], shift: int) -> None:
    shifted = [loss + shift for loss in losses]
    assert outcome(build(name, SMALL[name]), shifted) == outcome(build(name, SMALL[name]), losses)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "fixed"])
@given(losses=whole_losses)
@settings(max_examples=50, deadline=None)
def test_fires_no_earlier_than_it_says_and_could_fire_then(name: str, losses: list[float]) -> None:
    loose = {"threshold": 2.0} if name == "dvar" else {}
    least = build(name, SMALL[name]).least
    steps = np.arange(len(losses) + least + 1) * WAIT_STEPS

    def ended(values: list[float]) -> Outcome:
        criterion = build(name, SMALL[name] | loose)
        return outcome(criterion, shown(name, values), steps[: len(values)])

    found = ended([math.nan, *losses])
    assert found.stop_index is None or found.stop_index >= least
    assert found.could_fire == (len(losses) >= least)
    rising = [float(place) for place in range(1, least + 1)]
    ends = ([1.0] * least, rising, [*[20.0] * (least - 1), 1.0])
    stops = [ended(end).stop_index for end in ends]
    assert least - 1 in stops


@pytest.mark.parametrize("name", CRITERIA)
def test_shows_its_parameters_as_they_are_given(name: str) -> None:
    criterion = build(name, SMALL.get(name, {}))
    params = completed(name, SMALL.get(name))
    shown = ", ".join(f"{key}={value:g}" for key, value in params.items())
    assert repr(criterion) == f"{type(criterion).__name__}({shown})"


def test_what_is_to_be_high_is_negated_before_a_criterion_sees_it() -> None:
    scores = np.array([0.60, 0.70, 0.71, 0.715, 0.90])
    clip = outcome(Patience(2, min_delta=0.02), as_losses("val_clip_img", scores))
    assert (clip.stop_index, clip.kept_index) == (3, 1)
    assert as_losses("run - train/loss", scores) is scores
    assert as_losses("clip_img", 0.5) == -0.5


@pytest.mark.parametrize("name", SMALL)
def test_the_state_does_not_grow_with_the_number_of_losses(name: str) -> None:
    criterion = build(name, SMALL[name])
    sizes = []
    for count in (300, 3000):
        for loss in shown(name, np.random.default_rng(0).normal(1, 0.1, count).tolist()):
            criterion.update(loss)
        sizes.append(len(json.dumps(criterion.state_dict())))
    assert sizes[1] - sizes[0] < 100


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("patience", "patience", 0),
        ("patience", "patience", 2.5),
        ("patience", "min_delta", -0.1),
        ("patience", "min_delta", math.nan),
        ("ema-plateau", "halflife", 0),
        ("ema-plateau", "patience", 0),
        ("ema-plateau", "min_delta", math.inf),
        ("relative-range", "window", 1),
        ("relative-range", "threshold", 0),
        ("theil-sen", "window", 3),
        ("theil-sen", "alpha", 1),
        ("theil-sen", "alpha", math.nan),
        ("generalization-loss", "alpha", -1),
        ("uprising", "strips", 0),
        ("uprising", "length", 0.5),
        ("dvar", "window", 1),
        ("dvar", "threshold", math.inf),
        ("gain-share", "window", 2),
        ("gain-share", "threshold", 0),
        ("turn", "confidence", 1),
        ("gain-interval", "window", 1),
        ("gain-interval", "share", 0),
        ("gain-interval", "share", 1),
        ("gain-interval", "confidence", 0.4),
        ("gain-interval", "confidence", 1),
        ("fixed", "steps", 0),
    ],
)
def test_a_parameter_outside_its_range_is_named(name: str, parameter: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"{parameter} {value:g}.*: give a") as caught:
        build(name, {parameter: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("dvar", "window"),
        ("gain-share", "window"),
        ("gain-interval", "window"),
        ("relative-range", "window"),
        ("theil-sen", "window"),
        ("ema-plateau", "halflife"),
        ("uprising", "length"),
    ],
)
def test_the_state_of_other_parameters_is_refused(name: str, parameter: str) -> None:
    other = build(name, {parameter: 9})
    with pytest.raises(UserError, match=f"{parameter} 8.*{parameter} 9"):
        build(name, {parameter: 8}).load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: build("dvr"), "did you mean dvar"),
        (lambda: build("theil_sen"), "did you mean theil-sen"),
        (lambda: build("zzz"), "choose one of dvar, gain-share"),
        (lambda: build("patience", {"min_detla": 1}), "did you mean min_delta"),
        (lambda: build("patience", {"min-delta": 1}), "did you mean min_delta"),
        (lambda: build("dvar", {"zzz": 1}), "choose one of window, threshold"),
    ],
)
def test_a_typo_suggests_the_nearest(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


@pytest.mark.parametrize("name", CRITERIA)
def test_says_what_it_is(name: str) -> None:
    criterion = CRITERIA[name]
    assert criterion.formula
    assert criterion.source
    assert set(criterion.grid) == set(completed(name))
    for parameter, values in criterion.grid.items():
        for value in values:
            build(name, {parameter: value})


def test_whole_numbers_are_taken_as_floats_too() -> None:
    assert completed("dvar", {"window": 20.0}) == {"window": 20, "threshold": 0.15}
    assert isinstance(completed("dvar", {"window": 20.0})["window"], int)
    assert isinstance(completed("ema-plateau", {"halflife": 3.0})["halflife"], float)


@pytest.mark.parametrize("name", ["dvar", "relative-range", "theil-sen", "fixed"])
def test_without_a_best_the_stop_is_kept(name: str) -> None:
    found = outcome(build(name, SMALL[name]), falling(40))
    assert found.stop_index == found.kept_index
    short: NDArray[np.float64] = np.array([3.0, 2.0])
    assert outcome(build(name, SMALL[name]), short) == Outcome(None, 1, could_fire=False)


def test_a_best_is_kept_also_without_a_stop() -> None:
    assert outcome(Patience(10), [3.0, 1.0, 2.0]) == Outcome(None, 1, could_fire=False)
