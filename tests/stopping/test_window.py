"""A window that is a share grows as it is defined, and each criterion decides on it as defined."""

import json
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import (
    DVAR,
    NEVER,
    GainShare,
    RelativeRange,
    TheilSen,
    build,
    dvar_grid,
    dvar_ratios,
    dvar_stops,
)
from noiseprobe.stopping.params import parse_param, shown_params
from noiseprobe.stopping.window import SortedLosses, parse_window, shown_window, window_after

whole_losses = st.lists(st.integers(1, 40).map(float), min_size=1, max_size=80)
any_losses = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
shares = st.integers(1, 99).map(lambda per_cent: per_cent / 100)


def length(share: float, seen: int) -> int:
    """The definition, with the share as the decimal that it is written as."""
    return max(5, math.ceil(Fraction(str(share)) * seen))


def variance(values: list[Fraction]) -> Fraction:
    mean = sum(values, Fraction(0)) / len(values)
    return sum(((value - mean) ** 2 for value in values), Fraction(0)) / len(values)


def dvar_defined(losses: list[float], share: float) -> list[float]:
    exact, ratios = [Fraction(loss) for loss in losses], []
    for seen in range(1, len(losses) + 1):
        total = variance(exact[:seen])
        window = length(share, seen)
        known = seen >= 5 and total > 0
        ratios.append(float(variance(exact[seen - window : seen]) / total) if known else math.nan)
    return ratios


def gain_share_defined(losses: list[float], share: float) -> list[float]:
    found, lowest, first = [], math.inf, math.nan
    for seen in range(1, len(losses) + 1):
        window = length(share, seen)
        part = window // 3
        now = float(np.median(losses[seen - part : seen]))
        first = now if seen == 1 else first
        lowest = min(lowest, now)
        if seen < 5:
            found.append(math.nan)
            continue
        gain = float(np.median(losses[seen - window :][:part])) - now
        total = first - lowest
        found.append(gain / total if total > 0 else -math.inf if gain < 0 else math.nan)
    return found


def range_defined(losses: list[float], share: float) -> list[float]:
    found = [math.nan] * min(4, len(losses))
    for seen in range(5, len(losses) + 1):
        recent = losses[seen - length(share, seen) : seen]
        high, low = max(recent), min(recent)
        found.append(0.0 if high == low else 2 * (high - low) / (abs(high) + abs(low)))
    return found


def theil_sen_defined(losses: list[float], share: float) -> list[float]:
    found = [math.nan] * min(4, len(losses))
    for seen in range(5, len(losses) + 1):
        recent = losses[seen - length(share, seen) : seen]
        told = scipy.stats.kendalltau(
            np.arange(len(recent)), recent, method="asymptotic", alternative="less"
        )
        found.append(1.0 if math.isnan(told.pvalue) else float(told.pvalue))
    return found


def live(
    criterion: DVAR | GainShare | RelativeRange | TheilSen, losses: list[float]
) -> list[float]:
    name = {DVAR: "ratio", GainShare: "share", RelativeRange: "ratio", TheilSen: "p_value"}
    found = []
    for loss in losses:
        criterion.update(loss)
        found.append(float(getattr(criterion, name[type(criterion)])))
    return found


@given(share=shares, seen=st.integers(1, 10_000_000))
def test_a_share_is_taken_of_what_was_seen_to_the_last_loss(share: float, seen: int) -> None:
    # 0.07 · 100 is 7.000000000000001 in floating point, whose ceiling is one too many.
    assert window_after(share, seen) == length(share, seen)
    assert 0 <= window_after(share, seen + 1) - window_after(share, seen) <= 1


@given(losses=any_losses, share=shares)
@settings(max_examples=150, deadline=None)
def test_dvar_with_a_share_is_its_definition_live_and_recorded(
    losses: list[float], share: float
) -> None:
    expected = dvar_defined(losses, share)
    np.testing.assert_array_equal(live(DVAR(share, 1.0), losses), expected)
    np.testing.assert_array_equal(dvar_ratios(losses, share), expected)
    thresholds = [0.01, 0.1, 0.5, 1.0, *(ratio for ratio in expected[-3:] if ratio > 0)]
    fires = [[ratio < threshold for ratio in expected] for threshold in thresholds]
    stops = [each.index(True) if any(each) else None for each in fires]
    assert dvar_stops(losses, share, thresholds) == stops
    grid = dvar_grid(losses, [3, share], thresholds)[1].tolist()
    assert grid == [NEVER if stop is None else stop for stop in stops]


@pytest.mark.parametrize(
    ("make", "defined"),
    [
        (lambda share: GainShare(share, 0.1), gain_share_defined),
        (lambda share: RelativeRange(share, 0.1), range_defined),
        (lambda share: TheilSen(share, 0.5), theil_sen_defined),
    ],
)
@given(losses=whole_losses, share=shares)
@settings(max_examples=60, deadline=None)
def test_the_others_with_a_share_are_their_definitions(
    make: Callable[[float], GainShare],
    defined: Callable[[list[float], float], list[float]],
    losses: list[float],
    share: float,
) -> None:
    found = live(make(share), losses)
    np.testing.assert_allclose(found, defined(losses, share), rtol=1e-9, atol=1e-300)


def test_a_share_stops_a_curve_at_the_same_place_however_often_it_was_recorded() -> None:
    dense = 0.2 + np.exp(-np.arange(6000) / 600)
    stops = [
        every * stop
        for every in (1, 10, 100)
        for stop in dvar_stops(dense[::every], 0.4, [0.05])
        if stop is not None
    ]
    assert len(stops) == 3
    assert np.ptp(stops) <= 100, "a value in every hundred steps cannot be nearer"
    assert dvar_stops(dense[::100], 310, [0.05]) == [None]


@pytest.mark.parametrize("name", ["dvar", "gain-share", "relative-range", "theil-sen"])
def test_a_share_is_resumed_at_any_loss_as_if_never_interrupted(name: str) -> None:
    random = np.random.default_rng(0)
    losses = (1 + 4 * np.exp(-np.arange(60) / 8) + 0.1 * random.normal(size=60)).round(1).tolist()
    loose = {"window": 0.3} | ({"alpha": 0.3} if name == "theil-sen" else {"threshold": 0.2})
    straight = build(name, loose)
    whole = [straight.update(loss) for loss in losses]
    assert any(whole)
    assert not all(whole[5:])
    for cut in range(60):
        before, after = build(name, loose), build(name, loose)
        for loss in losses[:cut]:
            before.update(loss)
        after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
        assert [after.update(loss) for loss in losses[cut:]] == whole[cut:]
        saved = [json.dumps(each.state_dict()) for each in (after, straight)]
        assert saved[0] == saved[1]


@pytest.mark.parametrize("name", ["dvar", "gain-share", "relative-range", "theil-sen"])
def test_a_share_can_fire_from_five_losses_on(name: str) -> None:
    criterion = build(name, {"window": 0.01})
    assert criterion.least == 5
    assert repr(criterion).startswith(f"{type(criterion).__name__}(window=0.01, ")
    with pytest.raises(UserError, match=r"window 0\.02: the saved state has window 0\.01"):
        build(name, {"window": 0.02}).load_state_dict(criterion.state_dict())
    for wrong in (1.5, 1.0, 0.0, -0.2, 1e-9, math.nan):
        with pytest.raises(UserError, match=r"window .*: give a whole .* or a share .* 20%"):
            type(criterion)(window=wrong)  # type: ignore[call-arg]


def test_memory_of_a_share_is_in_proportion_to_the_log() -> None:
    criterion = DVAR(0.1, 1e-9)
    for loss in np.random.default_rng(0).normal(size=3000).tolist():
        criterion.update(loss)
    assert len(criterion.state_dict()["recent"]) == 300


@pytest.mark.parametrize(
    ("text", "window"),
    [("310", 310), ("20%", 0.2), ("33.3%", 0.333), ("7%", 0.07), ("0.5", 0.5), ("1e2", 100)],
)
def test_a_window_is_read_and_written_as_people_do(text: str, window: float) -> None:
    assert parse_window(text) == window
    assert type(parse_window(text)) is type(window)
    assert parse_window(shown_window(window)) == window
    assert parse_param(f"window={text}") == ("window", window)
    assert shown_params({"window": window, "alpha": 0.05}) == (
        f"window={shown_window(window)} alpha=0.05"
    )


@pytest.mark.parametrize("text", ["100%", "0%", "-5%", "2.5", "0", "", "%", "nan", "inf", "1e999"])
def test_what_is_no_window_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"--window .*: give a whole number .* 20%$"):
        parse_window(text)


@given(losses=st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=30))
def test_sorted_losses_know_median_and_order(losses: list[float]) -> None:
    held = SortedLosses()
    for loss in losses:
        held.add(loss)
    held.remove(losses[0])
    rest = np.array(losses[1:])
    assert held.median == np.median(rest)
    assert len(held) == len(rest)
    told = tuple(int(found.sum()) for found in (rest < 1.0, rest == 1.0, rest > 1.0))
    assert held.around(1.0) == told


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_straight_fall_is_stopped_where_the_square_of_the_share_is_below(share: float) -> None:
    line = np.arange(500, 0, -1.0)
    spans = [(length(share, seen), seen) for seen in range(5, 501)]
    ratios = [(window**2 - 1) / (seen**2 - 1) for window, seen in spans]
    np.testing.assert_allclose(dvar_ratios(line, share)[4:], ratios, rtol=1e-12)
    stopped = dvar_stops(line, share, [0.15])[0] is not None
    assert stopped == (share**2 < 0.15)
