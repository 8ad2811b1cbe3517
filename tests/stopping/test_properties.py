"""What holds of every criterion, whatever losses it is shown, also infinite and absurd ones."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from noiseprobe.stopping import CRITERIA, DVAR, LossCriterion, build, dvar_grid, outcome
from tests.stopping.test_criteria import decisions, shown
from tests.stopping.test_dvar import defined_ratios, defined_stop

SHARES = st.sampled_from([0.05, 0.2, 0.5, 0.7])
RATIOS = st.sampled_from([1e-12, 0.01, 0.1, 0.3, 1.0])
COUNTS = st.integers(1, 6)

PARAMS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "dvar": {"window": st.integers(2, 6) | SHARES, "threshold": RATIOS},
    "gain-share": {"window": st.integers(3, 9) | SHARES, "threshold": RATIOS},
    "gain-interval": {
        "window": st.integers(2, 5),
        "share": SHARES,
        "confidence": st.sampled_from([0.5, 0.95]),
    },
    "recent-gain": {"share": SHARES, "confidence": st.sampled_from([0.5, 0.95])},
    "patience": {"patience": COUNTS, "min_delta": st.sampled_from([0.0, 0.1, 1.0])},
    "ema-plateau": {
        "halflife": st.sampled_from([0.5, 2.0, 20.0]),
        "patience": COUNTS,
        "min_delta": st.sampled_from([0.0, 0.1]),
    },
    "relative-range": {"window": st.integers(2, 6) | SHARES, "threshold": RATIOS},
    "theil-sen": {
        "window": st.integers(4, 8) | SHARES,
        "alpha": st.sampled_from([0.01, 0.05, 0.5]),
    },
    "generalization-loss": {"alpha": st.sampled_from([0.5, 5.0, 50.0])},
    "uprising": {"strips": st.integers(1, 3), "length": st.integers(1, 3)},
    "turn": {"confidence": st.sampled_from([0.1, 0.5, 0.95])},
    "fixed": {"steps": st.integers(1, 30)},
    "never": {},
}
"""Of each criterion the parameters to try."""

absurd = st.sampled_from([0.0, -0.0, 5e-324, 1e-160, 3e38, -3e38])
"""The largest are those of float32, which models compute losses in."""

larger = st.sampled_from([1e160, 1.7e308, -1.7e308])
odd = st.sampled_from([math.nan, math.inf, -math.inf])
plain = st.floats(-10, 10)
level = st.builds(lambda base, by: base + by, st.sampled_from([0.5, 1e6, 1e15]), st.floats(0, 1e-3))
losses_of = st.lists(plain, max_size=40) | st.lists(level, min_size=12, max_size=40)
any_losses = losses_of | st.lists(plain | absurd | odd | level, min_size=12, max_size=40)


def made(name: str, data: st.DataObject) -> dict[str, Any]:
    return data.draw(st.fixed_dictionaries(PARAMS[name]), label="parameters")


def first(fired: Sequence[bool]) -> int | None:
    return fired.index(True) if True in fired else None


def resumed(name: str, params: dict[str, Any], before: LossCriterion) -> LossCriterion:
    """Another one that goes on where `before` is, by way of a file."""
    after = build(name, params)
    after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
    return after


def test_all_criteria_are_tried() -> None:
    assert set(PARAMS) == set(CRITERIA)


@pytest.mark.parametrize("name", PARAMS)
@given(data=st.data(), each=any_losses, cuts=st.sets(st.integers(0, 40)))
@settings(max_examples=25, deadline=None)
def test_live_in_any_blocks_and_recorded_are_one(
    name: str, data: st.DataObject, each: list[float], cuts: set[int]
) -> None:
    params, losses = made(name, data), shown(name, each)
    whole = build(name, params)
    live = decisions(whole, losses)
    criterion, in_blocks = build(name, params), []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(losses)], strict=True):
        criterion = resumed(name, params, criterion)
        in_blocks += decisions(criterion, losses[begin:end])
    assert in_blocks == live
    assert json.dumps(criterion.state_dict()) == json.dumps(whole.state_dict())
    assert criterion.best_index == whole.best_index
    if losses:
        assert outcome(build(name, params), losses).stop_index == first(live)


@pytest.mark.parametrize("name", PARAMS)
@given(data=st.data(), each=any_losses, then=any_losses)
@settings(max_examples=25, deadline=None)
def test_a_stop_does_not_depend_on_what_comes_after_it(
    name: str, data: st.DataObject, each: list[float], then: list[float]
) -> None:
    assume(each)
    params = made(name, data)
    whole = outcome(build(name, params), shown(name, [*each, *then])).stop_index
    begun = outcome(build(name, params), shown(name, each)).stop_index
    assert begun == (whole if whole is not None and whole < len(each) else None)


@pytest.mark.parametrize("name", [name for name in PARAMS if name != "fixed"])
@given(
    data=st.data(),
    each=losses_of,
    wrong=st.lists(st.tuples(st.integers(0, 40), odd), max_size=6),
)
@settings(max_examples=25, deadline=None)
def test_what_is_not_finite_changes_no_decision(
    name: str, data: st.DataObject, each: list[float], wrong: list[tuple[int, float]]
) -> None:
    params = made(name, data)
    disturbed, known = [*each], [True] * len(each)
    for place, value in wrong:
        disturbed.insert(place, value)
        known.insert(place, False)
    fired = np.array(decisions(build(name, params), shown(name, disturbed)), dtype=bool)
    assert not fired[~np.array(known, dtype=bool)].any()
    assert fired[known].tolist() == decisions(build(name, params), shown(name, each))


DOUBLED = {name: name not in ("patience", "ema-plateau") for name in PARAMS}
"""Whether the unit of the loss changes nothing: not where `min_delta` is in it."""

SHIFTED = {
    **dict.fromkeys(("dvar", "gain-share", "patience", "theil-sen", "uprising"), True),
    **dict.fromkeys(("gain-interval", "turn", "fixed", "never"), True),
    # Of these, two are shares of the loss itself, one sees what a stretch has brought, and one
    # rounds: 2^(-1/halflife) is no fraction of two.
    **dict.fromkeys(("relative-range", "generalization-loss", "recent-gain", "ema-plateau"), False),
}
"""Whether the zero of the loss changes nothing: where it looks at differences alone."""

dyadic = st.lists(st.integers(-64, 64).map(lambda whole: whole / 4), min_size=1, max_size=40)


def moved(name: str, losses: list[float], unit: float = 1.0, shift: float = 0.0) -> list[Any]:
    """The losses in another unit, from another zero; those of samples lie about them."""
    if not CRITERIA[name].per_sample:
        return [unit * loss + shift for loss in losses]
    apart = np.array([-0.25, 0.0, 0.25, 0.0])
    return [unit * (loss + apart) + shift for loss in losses]


@pytest.mark.parametrize("name", [name for name in PARAMS if DOUBLED[name]])
@given(data=st.data(), each=dyadic, power=st.integers(-40, 40))
@settings(max_examples=25, deadline=None)
def test_the_unit_of_the_loss_changes_nothing(
    name: str, data: st.DataObject, each: list[float], power: int
) -> None:
    params = made(name, data)
    before = decisions(build(name, params), moved(name, each))
    assert decisions(build(name, params), moved(name, each, unit=2.0**power)) == before


@pytest.mark.parametrize("name", [name for name in PARAMS if SHIFTED[name]])
@given(data=st.data(), each=dyadic, shift=st.integers(-(2**20), 2**20))
@settings(max_examples=25, deadline=None)
def test_the_zero_of_the_loss_changes_nothing(
    name: str, data: st.DataObject, each: list[float], shift: int
) -> None:
    params = made(name, data)
    before = decisions(build(name, params), moved(name, each))
    assert decisions(build(name, params), moved(name, each, shift=float(shift))) == before


@pytest.mark.parametrize(
    ("name", "params", "losses", "change"),
    [
        ("patience", {"patience": 1, "min_delta": 1.0}, [3.0, 1.0], {"unit": 0.25}),
        ("ema-plateau", {"halflife": 1, "patience": 1, "min_delta": 1.0}, [9, 1], {"unit": 0.125}),
        ("relative-range", {"window": 2, "threshold": 0.1}, [2.0, 1.0], {"shift": 100.0}),
        ("generalization-loss", {"alpha": 5}, [1.0, 2.0], {"shift": 100.0}),
        ("recent-gain", {"share": 0.1, "confidence": 0.5}, [-1.0, -1.0], {"shift": 2.0}),
    ],
)
def test_unit_or_zero_count_where_they_are_said_to(
    name: str, params: dict[str, Any], losses: list[float], change: dict[str, float]
) -> None:
    assert not (DOUBLED if "unit" in change else SHIFTED)[name]
    before = decisions(build(name, params), moved(name, losses))
    assert decisions(build(name, params), moved(name, losses, **change)) != before


@given(
    each=any_losses | st.lists(plain | larger | odd, max_size=40),
    windows=st.lists(st.integers(2, 8) | SHARES, min_size=1, max_size=4),
    thresholds=st.lists(RATIOS, min_size=1, max_size=4),
)
@example(each=[1e15 + 0.125] * 9 + [1e15], windows=[2, 0.7], thresholds=[1e-12, 1.0])
@settings(max_examples=60, deadline=None)
def test_a_grid_of_dvar_is_its_cells_one_by_one_and_the_definition(
    each: list[float], windows: list[float], thresholds: list[float]
) -> None:
    grid = dvar_grid(each, windows, thresholds)
    finite = [place for place, loss in enumerate(each) if math.isfinite(loss)]
    for window, stops in zip(windows, grid.tolist(), strict=True):
        for threshold, stop in zip(thresholds, stops, strict=True):
            live = first(decisions(DVAR(window, threshold), each))
            assert stop == (-1 if live is None else live)
            if window >= 1:
                ratios = defined_ratios([each[place] for place in finite], int(window))
                defined = defined_stop(ratios, threshold)
                assert live == (None if defined is None else finite[defined])
