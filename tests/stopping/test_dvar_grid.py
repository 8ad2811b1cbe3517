"""A grid of windows and thresholds decides as DVAR does in every cell."""

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from noiseprobe.analysis.replay import replay_grid, replay_grids
from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.stopping import (
    DVAR,
    NEVER,
    NonFiniteLossWarning,
    dvar_grid,
    dvar_ratios,
    dvar_recorded,
    dvar_replayed,
    dvar_stops,
)
from noiseprobe.stopping.dvar_sums import RunningSums

THRESHOLDS = [1e-6, 0.01, 0.1, 0.15, 0.25, 0.5, 1.0, 1.5]


def by_row(
    losses: NDArray[np.float64], windows: list[int], thresholds: list[float]
) -> list[list[int]]:
    """What the live criterion does, loss by loss; its ratio is exact."""
    rows = []
    for window in windows:
        criterion, lowest = DVAR(window, 1.0), np.full(len(losses), np.inf)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NonFiniteLossWarning)
            for index, loss in enumerate(losses):
                criterion.update(loss)
                lowest[index] = criterion.ratio if np.isfinite(loss) else math.nan
        fires = [np.flatnonzero(lowest < threshold) for threshold in thresholds]
        rows.append([int(where[0]) if len(where) else NEVER for where in fires])
    return rows


def traces() -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng(0)
    steps = np.arange(900)
    noise = random.normal(size=900)
    gaps = 0.2 + np.exp(-steps / 90) + 0.02 * noise
    gaps[[0, 3, 400]] = math.nan, math.inf, -math.inf
    return {
        "falling": 0.3 + np.exp(-steps / 100) + 0.02 * noise,
        "noise": noise,
        "flat, then a step": np.where(steps < 300, 1.0, 0.5) + 1e-12 * noise,
        "far from zero": 1e9 + np.exp(-steps / 60) + 1e-3 * noise,
        "huge": 1e160 * noise,
        "tiny": 1e-160 * noise,
        "one spike": np.where(steps == 2, 1e6, 0.0) + 1e-3 * noise,
        "constant": np.full(900, 0.1),
        "ties": random.integers(0, 2, 900).astype(np.float64),
        "gaps": gaps,
        "two": np.array([1.0, 2.0]),
        "none": np.array([]),
        "all NaN": np.full(5, math.nan),
    }


@pytest.mark.parametrize("name", traces())
def test_decides_as_dvar_on_every_kind_of_trace(name: str) -> None:
    losses, windows = traces()[name], [2, 3, 10, 77, 450, 899, 900, 901]
    assert dvar_grid(losses, windows, THRESHOLDS).tolist() == by_row(losses, windows, THRESHOLDS)


@given(
    losses=st.lists(st.floats(), max_size=12),
    windows=st.lists(st.integers(2, 6), max_size=3),
    thresholds=st.lists(st.floats(1e-12, 10), max_size=3),
)
@example(losses=[0.0, 1e-109, 1e45], windows=[2, 2], thresholds=[0.5])
@example(losses=[1e149, -1e149, 0.0, 1e-130], windows=[2, 3], thresholds=[0.5])
@example(losses=[0.0, 1e-130, 1e149, 1e149, 1e149], windows=[2, 3], thresholds=[1e-12, 0.5])
@settings(max_examples=200, deadline=None)
def test_any_floats_at_all_are_decided_as_by_dvar(
    losses: list[float], windows: list[int], thresholds: list[float]
) -> None:
    values = np.array(losses, dtype=np.float64)
    grid = dvar_grid(values, windows, thresholds)
    assert grid.shape == (len(windows), len(thresholds))
    assert grid.tolist() == by_row(values, windows, thresholds)


@pytest.mark.parametrize(("windows", "thresholds"), [([1], [0.1]), ([2], [0.0]), ([2], [math.nan])])
def test_bad_arguments_are_refused(windows: list[int], thresholds: list[float]) -> None:
    with pytest.raises(UserError):
        dvar_grid([1.0, 2.0], windows, thresholds)


def test_a_long_level_far_from_the_first_loss_costs_no_digits() -> None:
    # The sums of squares grow to the number of losses, what a window varies is 1e-10 of that.
    random = np.random.default_rng(2)
    spread = np.geomspace(3e-3, 6e-4, 50_000)
    losses = np.concatenate([[2.0], 1 + spread * random.normal(size=50_000)])
    lowest = np.unique(np.minimum.accumulate(dvar_ratios(losses, 10)[1000:]))
    lowest = lowest[lowest > 2e-3]
    near = [float(ratio * factor) for ratio in lowest for factor in (1 - 2e-6, 1 + 2e-6)]
    assert dvar_grid(losses, [10], near).tolist() == by_row(losses, [10], near)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-6, 1e-3, 1.0]),
    st.sampled_from([0.0, 1.0, 1e4, -1e9]),
    st.sampled_from([2, 3, 10, 150, 400]),
)
@settings(max_examples=60, deadline=None)
def test_running_sums_are_off_by_no_more_than_they_say(
    seed: int, spread: float, level: float, window: int
) -> None:
    random = np.random.default_rng(seed)
    fall = random.choice([0.0, 1.0, 100.0]) * np.exp(-np.arange(400) / random.uniform(1, 100))
    losses = level + fall + spread * random.normal(size=400)
    losses[: random.integers(0, 30)] = losses[0]
    variances = dvar_recorded._variances(losses)
    assert variances is not None
    sums = RunningSums.of(losses, variances)
    first = sums.first(window)
    exact = dvar_ratios(losses, window)[first:]
    assert np.isfinite(exact).all()
    assert np.isnan(dvar_ratios(losses, window)[:first]).all()
    error = np.abs(sums.ratios(window) - exact)
    assert error.max(initial=0) <= sums.error(window) + 1e-12 * np.abs(exact).max(initial=0)


@pytest.mark.parametrize("name", traces())
@pytest.mark.parametrize("window", [3, 77, 0.5])
def test_a_replay_is_its_stop_and_its_ratios(name: str, window: float) -> None:
    losses = traces()[name]
    ratios = dvar_ratios(losses, window)
    known = np.unique(ratios[np.isfinite(ratios)])
    for threshold in (0.1, *known[known > 0][:: max(len(known) // 3, 1)].tolist()):
        stop, found = dvar_replayed(losses, window, threshold)
        assert [stop] == dvar_stops(losses, window, [threshold])
        np.testing.assert_array_equal(found, ratios)


def test_most_cells_of_a_usual_trace_need_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = []

    def counted(values: Any, decides: Any, window: int, threshold: float) -> int:
        slow.append(threshold)
        return exact_stop(values, decides, window, threshold)

    exact_stop = dvar_recorded._exact_stop
    monkeypatch.setattr(dvar_recorded, "_exact_stop", counted)
    thresholds = np.geomspace(0.001, 0.99, 50).tolist()
    dvar_grid(traces()["falling"], range(5, 455, 10), thresholds)
    assert len(slow) < 0.02 * 45 * 50


def test_grids_of_many_traces_are_those_of_each() -> None:
    random = np.random.default_rng(1)
    many = [
        Series(f"run-{length}", np.arange(length) * 5 + 3, random.normal(size=length), "l_det")
        for length in (50, 20, 1)
    ]
    windows, thresholds = [3, 10, 30], [0.05, 0.3]
    table = replay_grids(many, windows, thresholds)
    assert table.index.names == ["trace", "window"]
    assert len(table) == 9
    for series in many:
        own = replay_grid(series, windows, thresholds)
        here = table[table.index.get_level_values("trace") == series.name].droplevel("trace")
        pd.testing.assert_frame_equal(here, own)
