"""DVAR decides as its plain definition does, on any trace, live and replayed."""

import json
import math
import subprocess
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import DVAR, NonFiniteLossWarning, dvar_ratios, dvar_stops

KINDS = ["decaying", "flat", "stepped", "constant", "offset", "step from 1e6", "ties"]


def population_variance(values: list[Fraction]) -> Fraction:
    mean = sum(values, Fraction(0)) / len(values)
    return sum(((value - mean) ** 2 for value in values), Fraction(0)) / len(values)


def defined_ratios(losses: list[float], window: int) -> list[float]:
    """The definition to the letter: rational arithmetic, rounded once at the end."""
    values = [Fraction(loss) for loss in losses]
    ratios = [math.nan] * len(values)
    for index in range(window - 1, len(values)):
        total = population_variance(values[: index + 1])
        if total:
            recent = population_variance(values[index + 1 - window : index + 1])
            ratios[index] = float(recent / total)
    return ratios


def defined_stop(ratios: list[float], threshold: float) -> int | None:
    return next((index for index, ratio in enumerate(ratios) if ratio < threshold), None)


def streamed(losses: list[float], window: int, threshold: float) -> tuple[list[float], int | None]:
    criterion = DVAR(window, threshold)
    decisions, ratios = [], []
    for loss in losses:
        decisions.append(criterion.update(loss))
        ratios.append(criterion.ratio)
    return ratios, decisions.index(True) if any(decisions) else None


def trace(kind: str, points: int, rng: np.random.Generator) -> NDArray[np.float64]:
    noise = rng.normal(size=points)
    steps = np.arange(points)
    if kind == "decaying":
        return 0.2 + np.exp(-steps / rng.uniform(1, 8)) + 10 ** rng.uniform(-6, -1) * noise
    if kind == "flat":
        return 0.15 + 0.01 * noise
    if kind == "stepped":
        return np.where(steps < rng.integers(1, points), 1.0, 0.3) + 1e-3 * noise
    if kind == "constant":
        return np.full(points, rng.choice([0.0, 0.1, 1e6 + 0.1, 1e-300]))
    if kind == "offset":
        return 1e6 + 1e-3 * noise * np.exp(-steps / 5)
    if kind == "step from 1e6":
        return np.where(steps < rng.integers(1, points), 1e6, 0.0) + 1e-3 * noise
    return rng.integers(0, 3, size=points) / 4


@pytest.mark.parametrize("kind", KINDS)
def test_decides_as_the_definition_on_random_traces(kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    fired = 0
    for _ in range(1500):
        losses = trace(kind, int(rng.integers(4, 13)), rng).tolist()
        window = int(rng.integers(2, 7))
        threshold = float(rng.choice([1e-9, 0.01, 0.1, 0.25, 0.5, 1.0]))
        expected = defined_ratios(losses, window)
        stop = defined_stop(expected, threshold)
        ratios, decision = streamed(losses, window, threshold)
        np.testing.assert_array_equal(ratios, expected)
        assert decision == stop
        np.testing.assert_allclose(dvar_ratios(losses, window), expected, rtol=1e-12, atol=0)
        assert dvar_stops(losses, window, [threshold]) == [stop]
        fired += stop is not None
    # Traces on which nothing is ever decided would compare None with None.
    assert fired == 0 if kind == "constant" else fired > 100


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_ratios_agree_with_the_exact_ones_on_long_traces(kind: str) -> None:
    losses = trace(kind, 5000, np.random.default_rng(7))
    for window in (2, 37, 310, 4999, 5000):
        exact, _ = streamed(losses.tolist(), window, 0.1)
        np.testing.assert_allclose(dvar_ratios(losses, window), exact, rtol=1e-11, atol=0)


@given(
    losses=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12),
    window=st.integers(2, 6),
    threshold=st.floats(1e-12, 10),
)
@settings(max_examples=300, deadline=None)
def test_any_floats_at_all_are_decided_as_defined(
    losses: list[float], window: int, threshold: float
) -> None:
    finite = [index for index, loss in enumerate(losses) if math.isfinite(loss)]
    expected = defined_ratios([losses[index] for index in finite], window)
    stop = defined_stop(expected, threshold)
    ratios = np.full(len(losses), np.nan)
    ratios[finite] = expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteLossWarning)
        _, decision = streamed(losses, window, threshold)
    assert decision == (None if stop is None else finite[stop])
    np.testing.assert_allclose(dvar_ratios(losses, window), ratios, rtol=1e-11, atol=1e-300)
    assert dvar_stops(losses, window, [threshold]) == [decision]


def test_a_ratio_equal_to_the_threshold_does_not_stop() -> None:
    alternating = [0.0, 1.0] * 50
    assert streamed(alternating, 2, 1.0)[0][1::2] == [1.0] * 50
    assert streamed(alternating, 2, 1.0)[1] is None
    assert dvar_stops(alternating, 2, [1.0]) == [None]
    # var(3, 1) / var(0, 4, 3, 1) = 1 / 2.5
    assert streamed([0.0, 4.0, 3.0, 1.0], 2, 0.4)[1] == 2
    assert streamed([0.0, 4.0, 1.0, 3.0], 2, 0.4)[1] is None
    assert dvar_stops([0.0, 4.0, 1.0, 3.0], 2, [0.4, 0.4 + 1e-15]) == [None, 3]


def test_stops_at_the_step_worked_out_by_hand() -> None:
    # var(1, 1) = 0 at index 3, with var(3, 2, 1, 1) = 11/16.
    assert streamed([3.0, 2.0, 1.0, 1.0], 2, 0.1)[1] == 3
    ratios, _ = streamed([3.0, 2.0, 1.0, 1.0], 2, 0.1)
    np.testing.assert_array_equal(ratios, [np.nan, 1.0, 0.25 / (2 / 3), 0.0])


def test_a_constant_trace_has_no_ratio_and_never_stops() -> None:
    ratios, stop = streamed([0.1] * 1000, 10, 1e9)
    assert stop is None
    assert np.isnan(ratios).all()
    assert np.isnan(dvar_ratios([0.1] * 1000, 10)).all()


def test_nothing_is_decided_before_a_window_of_losses() -> None:
    losses = [5.0, 1.0, 1.0, 1.0]
    assert streamed(losses, 5, 100.0)[1] is None
    assert np.isnan(dvar_ratios(losses, 5)).all()
    assert dvar_stops(losses, 5, [100.0]) == [None]
    assert dvar_stops([], 5, [100.0]) == [None]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_loss_warns_and_is_no_evidence(bad: float) -> None:
    losses = [3.0, 2.0, 1.0, 1.0]
    criterion = DVAR(2, 0.1)
    for loss in losses[:3]:
        assert not criterion.update(loss)
    before = criterion.state_dict(), criterion.ratio
    with pytest.warns(NonFiniteLossWarning, match="leaves it out"):
        assert not criterion.update(bad)
    assert (criterion.state_dict(), criterion.ratio) == before
    assert criterion.update(losses[3])
    with pytest.warns(NonFiniteLossWarning):
        assert not criterion.update(bad), "it does not stop on the evidence of before"
    assert dvar_stops([*losses[:3], bad, losses[3]], 2, [0.1]) == [4]
    ratios = dvar_ratios([*losses[:3], bad, losses[3]], 2)
    np.testing.assert_allclose(ratios, [np.nan, 1.0, 0.375, np.nan, 0.0], rtol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [0, 3, 40])
def test_goes_on_from_a_saved_state_as_if_never_interrupted(kind: str, cut: int) -> None:
    losses = trace(kind, 80, np.random.default_rng(3)).tolist()
    whole, before = DVAR(8, 0.1), DVAR(8, 0.1)
    for loss in losses[:cut]:
        assert whole.update(loss) == before.update(loss)
    after = DVAR(8, 0.1)
    after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
    np.testing.assert_equal(after.ratio, before.ratio)
    for loss in losses[cut:]:
        assert after.update(loss) == whole.update(loss)
        np.testing.assert_equal(after.ratio, whole.ratio)
    assert after.state_dict() == whole.state_dict()


def test_the_state_of_another_window_is_refused() -> None:
    with pytest.raises(UserError, match="window 5: the saved state has window 4"):
        DVAR(5, 0.1).load_state_dict(DVAR(4, 0.1).state_dict())


def test_the_state_does_not_grow_with_the_number_of_losses() -> None:
    criterion = DVAR(10, 1e-9)
    sizes = []
    for count in (1000, 20000):
        for loss in np.random.default_rng(0).normal(size=count):
            criterion.update(loss)
        sizes.append(len(json.dumps(criterion.state_dict())))
    assert sizes[1] - sizes[0] < 100


@pytest.mark.parametrize("window", [1, 0, -3, 2.5, True, math.nan])
def test_a_window_that_has_no_variance_is_refused(window: int) -> None:
    with pytest.raises(UserError, match=f"window {window}: .*from 2 to"):
        DVAR(window, 0.1)
    with pytest.raises(UserError, match="window"):
        dvar_ratios([1.0, 2.0], window)


@pytest.mark.parametrize("threshold", [0.0, -0.1, math.nan, math.inf])
def test_a_threshold_that_no_ratio_can_be_held_against_is_refused(threshold: float) -> None:
    with pytest.raises(UserError, match=f"threshold {threshold}"):
        DVAR(5, threshold)
    with pytest.raises(UserError, match="threshold"):
        dvar_stops([1.0, 2.0], 2, [threshold])


def test_losses_that_are_no_series_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        dvar_ratios([[1.0, 2.0], [3.0, 4.0]], 2)


def test_importing_the_criteria_imports_nothing_heavy() -> None:
    code = "import sys, noiseprobe.stopping; print({'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
