"""A replay says where DVAR would have stopped and what that would have saved."""

import json
import warnings
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.replay import default_grid, replay, replay_criterion, replay_grid
from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.stopping import DVAR, NonFiniteLossWarning


def series(losses: list[float], every: int = 1, start: int = 0) -> Series:
    steps = np.arange(len(losses), dtype=np.int64) * every + start
    return Series("log.csv", steps, np.array(losses, dtype=np.float64), "loss")


# var(1, 1) = 0 at index 3 is the first ratio below 0.1; the ratio before it is 0.375.
LEVELLING = [3.0, 2.0, 1.0, 1.0, 1.0]


def test_a_levelling_trace_stops_where_worked_out_by_hand() -> None:
    found = replay(series(LEVELLING, every=100, start=50), window=2, threshold=0.1)
    assert asdict(found) == {
        "trace": "log.csv",
        "points": 5,
        "window": 2,
        "threshold": 0.1,
        "stop_index": 3,
        "stop_step": 350,
        "ratio": 0.0,
        "saved_fraction": 0.25,
    }


def test_a_trace_that_goes_on_changing_gives_its_last_ratio() -> None:
    found = replay(series([0.0, 4.0, 1.0, 3.0]), window=2, threshold=0.1)
    assert (found.stop_index, found.stop_step, found.saved_fraction) == (None, None, 0.0)
    assert found.ratio == pytest.approx(0.4, rel=1e-15)


@pytest.mark.parametrize("losses", [[1.0, 2.0], [2.0, 2.0, 2.0, 2.0], [1.0], []])
def test_a_short_or_constant_trace_never_fires_and_has_no_ratio(losses: list[float]) -> None:
    found = replay(series(losses), window=3, threshold=100.0)
    assert (found.stop_index, found.ratio, found.saved_fraction) == (None, None, 0.0)
    json.dumps(asdict(found), allow_nan=False)


def test_non_finite_points_keep_their_index_and_warn() -> None:
    losses = [3.0, np.nan, 2.0, np.inf, 1.0, 1.0, 1.0]
    with pytest.warns(NonFiniteLossWarning, match="left out 2 of 7 values of loss"):
        found = replay(series(losses), window=2, threshold=0.1)
    assert (found.points, found.stop_index, found.saved_fraction) == (7, 5, 1 / 6)


@pytest.mark.parametrize("losses", [[0.0, 4.0, 1.0, 3.0, np.nan], [np.nan, np.nan]])
def test_a_diverged_end_leaves_json_without_nan(losses: list[float]) -> None:
    with pytest.warns(NonFiniteLossWarning):
        found = replay(series(losses), window=2, threshold=0.1)
    assert found.stop_index is None
    assert found.ratio == (pytest.approx(0.4) if np.isfinite(losses[0]) else None)
    json.dumps(asdict(found), allow_nan=False)


def test_steps_that_do_not_move_save_nothing() -> None:
    assert replay(series(LEVELLING, every=0), window=2, threshold=0.1).saved_fraction == 0.0


@pytest.mark.parametrize(("window", "threshold"), [(1, 0.1), (2, 0.0)])
def test_bad_arguments_are_refused(window: int, threshold: float) -> None:
    with pytest.raises(UserError):
        replay(series(LEVELLING), window, threshold)
    with pytest.raises(UserError):
        replay_grid(series(LEVELLING), [window], [threshold])


def test_a_grid_agrees_with_the_live_criterion_in_every_cell() -> None:
    rng = np.random.default_rng(0)
    losses = 0.3 + np.exp(-np.arange(600) / 60) + 0.02 * rng.normal(size=600)
    windows, thresholds = [2, 5, 50, 300, 500], [0.0001, 0.01, 0.15, 0.5]
    grid = replay_grid(series(losses.tolist(), every=10), windows, thresholds)
    assert grid.index.tolist() == windows
    assert grid.columns.tolist() == thresholds
    assert set(grid.dtypes) == {pd.Int64Dtype()}
    for row, window in enumerate(windows):
        for column, threshold in enumerate(thresholds):
            criterion = DVAR(window, threshold)
            stop = next((i * 10 for i, loss in enumerate(losses) if criterion.update(loss)), None)
            cell = grid.iloc[row, column]
            assert cell is pd.NA if stop is None else cell == stop
    assert grid.isna().any(axis=None)
    assert grid.notna().any(axis=None)


def test_a_grid_warns_once_of_what_it_leaves_out() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        grid = replay_grid(series([*LEVELLING[:3], np.nan, *LEVELLING[3:]]), [2, 3, 7], [0.1, 0.5])
    assert len(caught) == 1
    assert grid.iloc[0].tolist() == [4, 2]
    assert grid.iloc[2].isna().all()


@pytest.mark.parametrize("points", [0, 1, 9, 10, 11, 300, 6000, 123456])
def test_the_default_grid_fits_the_trace(points: int) -> None:
    every, thresholds = default_grid(points)
    windows = [window for window in every if window >= 1]
    shares = every[len(windows) :]
    assert shares == sorted(set(shares))
    assert DVAR.scale_free["window"] in shares
    assert windows == sorted(set(windows))
    assert min(windows) >= 2
    assert max(windows) <= max(2, points // 2)
    assert max(windows) * 2.5 > points // 2 or points < 10
    assert thresholds == sorted(thresholds)
    assert 0.15 in thresholds


def test_any_criterion_is_replayed_by_name() -> None:
    losses = [3.0, 2.0, 1.0, 1.5, np.nan, 1.5, 1.0]
    with pytest.warns(NonFiniteLossWarning, match="left out 1 of 7 values of loss") as caught:
        found = replay_criterion(series(losses, every=10), "patience", {"patience": 2.0})
    assert len(caught) == 1
    assert asdict(found) == {
        "trace": "log.csv",
        "tag": "loss",
        "criterion": "patience",
        "params": {"patience": 2, "min_delta": 0.0},
        "points": 7,
        "every": 1,
        "stop_index": 5,
        "stop_step": 50,
        "kept_step": 20,
        "saved_fraction": 1 / 6,
        "could_fire": True,
        "best_step": 20,
        "best": 1.0,
        "loss_at_stop": 1.5,
        "loss_at_keep": 1.0,
    }


def test_what_is_best_stopped_at_and_kept_are_values_of_the_trace_or_unknown() -> None:
    high = Series("log.csv", np.arange(4), np.array([0.1, 0.7, 0.3, np.nan]), "clip_img")
    with pytest.warns(NonFiniteLossWarning):
        found = replay_criterion(high, "patience", {"patience": 1})
    never = replay_criterion(high, "dvar")
    assert (found.best_step, found.best) == (1, 0.7)  # of a similarity, the highest
    assert (found.stop_step, found.loss_at_stop, found.loss_at_keep) == (2, 0.3, 0.7)
    assert (never.loss_at_stop, never.loss_at_keep) == (None, None)
    with pytest.warns(NonFiniteLossWarning):
        empty = replay_criterion(series([np.nan, np.inf]), "patience")
    assert (empty.best_step, empty.best, empty.loss_at_keep) == (None, None, None)


def test_a_trace_is_warned_of_once_whatever_is_replayed_over_it() -> None:
    first, second = series([3.0, np.nan, 1.0]), series([3.0, np.nan, 1.0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for given in (first, second):
            replay(given, window=2, threshold=0.1)
            replay_criterion(given, "patience")
            replay_criterion(given, "fixed")
            replay_grid(given, [2], [0.1])
    assert len(caught) == 2


def test_dvar_by_name_stops_where_dvar_does() -> None:
    given = series(LEVELLING, every=100, start=50)
    by_name = replay_criterion(given, "dvar", {"window": 2, "threshold": 0.1})
    own = replay(given, window=2, threshold=0.1)
    assert (by_name.stop_step, by_name.saved_fraction) == (own.stop_step, own.saved_fraction)
    assert by_name.kept_step == own.stop_step


def test_a_criterion_that_never_fires_saves_nothing() -> None:
    found = replay_criterion(series([3.0, 1.0, 2.0]), "patience")
    assert (found.stop_index, found.stop_step, found.kept_step) == (None, None, 1)
    assert found.saved_fraction == 0.0


def test_an_unknown_criterion_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean patience"):
        replay_criterion(series(LEVELLING), "patients")
