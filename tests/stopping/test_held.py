"""Rare losses, held for the steps that they stand for, end a run about where frequent ones do."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from noiseprobe.stopping import (
    CRITERIA,
    DVAR,
    Held,
    NonFiniteLossWarning,
    Turn,
    bare,
    build,
    dvar_grid,
    dvar_ratios,
    dvar_stops,
    outcome,
)

HELD = [name for name, criterion in CRITERIA.items() if criterion.scaled is None]
numbers = st.one_of(st.floats(-10, 10, width=32), st.just(math.nan))
traces = st.lists(numbers, min_size=1, max_size=40)
windows = st.one_of(st.integers(2, 60), st.sampled_from([0.2, 0.5]))


def curve(steps: int) -> NDArray[np.float64]:
    """A loss that falls to a level, with noise, at every step."""
    noise = np.random.default_rng(0).normal(size=steps)
    return np.asarray(0.1 + np.exp(-np.arange(steps) / 40) + 0.0005 * noise)


@given(losses=traces, every=st.integers(1, 9), window=windows)
@settings(max_examples=60, deadline=None)
def test_dvar_of_a_trace_is_dvar_of_one_loss_after_the_other(
    losses: list[float], every: int, window: float
) -> None:
    criterion, ratios, stop = Held(DVAR(window, 0.3), every), [], None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteLossWarning)
        for index, loss in enumerate(losses):
            fires = criterion.update(loss)
            dvar, _ = bare(criterion)
            assert isinstance(dvar, DVAR)
            ratios.append(dvar.ratio if math.isfinite(loss) else math.nan)
            stop = index if fires and stop is None else stop
    assert dvar_stops(losses, window, [0.3], every) == [stop]
    np.testing.assert_allclose(dvar_ratios(losses, window, every), ratios, rtol=1e-9)
    assert dvar_grid(losses, [window], [0.3], every)[0, 0] == (-1 if stop is None else stop)


@pytest.mark.parametrize("name", HELD)
@given(losses=traces)
@settings(max_examples=20, deadline=None)
def test_losses_of_every_step_are_seen_as_they_are(name: str, losses: list[float]) -> None:
    assert outcome(Held(build(name), 1), losses) == outcome(build(name), losses)


@pytest.mark.parametrize("every", [2, 5, 10])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("dvar", {"window": 80, "threshold": 0.2}),
        ("patience", {"patience": 30, "min_delta": 0.01}),
        ("relative-range", {"window": 50, "threshold": 0.4}),
        ("gain-share", {"window": 60, "threshold": 0.05}),
        ("ema-plateau", {"halflife": 20, "patience": 20, "min_delta": 0.001}),
    ],
)
def test_rare_losses_end_a_run_about_where_frequent_ones_do(
    name: str, params: dict[str, float], every: int
) -> None:
    losses = curve(400)
    often = outcome(build(name, params), losses).stop_index
    rare = outcome(build(name, params, every), losses[::every]).stop_index
    counted = outcome(build(name, params), losses[::every]).stop_index
    assert often is not None
    assert rare is not None
    assert abs(rare * every - often) <= max(2 * every, 0.15 * often)
    assert counted is None or abs(counted * every - often) > abs(rare * every - often)


def test_what_estimates_an_error_has_its_window_divided() -> None:
    rare = build("gain-interval", {"window": 60}, every=5)
    assert not isinstance(rare, Held)
    assert rare.least == 24
    assert build("uprising", {"length": 5}, every=10).least == 5


def test_the_best_is_told_by_evaluations_and_the_state_goes_on() -> None:
    losses = [0.9, 0.5, 0.6, 0.4, 0.7, 0.8]
    whole = build("patience", {"patience": 25}, every=10)
    fires = [whole.update(loss) for loss in losses]
    assert fires == [False, False, False, False, False, True]
    assert whole.best_index == 3
    assert whole.least == 4
    first, second = (build("patience", {"patience": 25}, every=10) for _ in range(2))
    for loss in losses[:4]:
        first.update(loss)
    second.load_state_dict(first.state_dict())
    assert [second.update(loss) for loss in losses[4:]] == fires[4:]
    assert second.best_index == 3


def test_a_turn_waits_for_steps_where_they_are_known() -> None:
    samples = np.add.outer([0.5, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9], [-0.01, 0.0, 0.01, 0.02])

    def stop(every: int | None) -> int | None:
        steps = None if every is None else np.arange(len(samples)) * every
        return outcome(Turn(), samples, steps).stop_index

    assert stop(None) == 6
    assert stop(5) == 6  # 25 steps after the best
    assert stop(40) == 3  # two evaluations after it
