"""The interval of a rank correlation: neighbouring steps are drawn anew together."""

import numpy as np
import pandas as pd
import pytest

from experiments.shares.studies import correlation_study
from noiseprobe.analysis import correlations
from noiseprobe.analysis.correlation import block_bootstrap, block_length
from noiseprobe.run.traces import PROBE_COLUMNS

EMPTY = pd.DataFrame(columns=list(PROBE_COLUMNS))


def train(points: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    clip = np.cumsum(random.normal(0, 1, points))
    noise = random.normal(0, 0.5, points)
    return pd.DataFrame(
        {"step": range(points), "loss": noise, "grad_norm": 1.0, "l_det": noise - clip}
    ).assign(clip_img=clip)


def test_the_interval_holds_the_estimate_and_is_the_same_twice() -> None:
    table = correlations(train(40), EMPTY)
    row = table.loc["l_det"]
    assert -1 <= row["low"] < row["rho"] < row["high"] < 0
    assert table["low"]["loss"] < 0 < table["high"]["loss"]
    pd.testing.assert_frame_equal(table, correlations(train(40), EMPTY))


def test_few_points_or_a_constant_have_no_interval() -> None:
    few = correlations(train(6), EMPTY)
    assert np.isfinite(few["rho"]["l_det"])
    assert few[["low", "high"]].isna().all(axis=None)
    assert correlations(train(40), EMPTY).loc["grad_norm"].drop("points").isna().all()


def test_blocks_of_neighbours_stay_together() -> None:
    assert [block_length(points) for points in (8, 27, 100, 1000)] == [2, 3, 5, 10]
    line = np.arange(50.0)
    low, high = block_bootstrap(line, line)
    assert (low, high) == (pytest.approx(1), pytest.approx(1))


def test_blocks_cover_more_often_than_single_steps_where_series_have_memory() -> None:
    found = correlation_study(60, 0.8, 60)
    assert found["blocks"] > found["single_steps"] + 0.03


def test_a_step_with_a_loss_that_is_not_finite_is_no_point() -> None:
    steps = np.repeat(np.arange(20) * 10, 4)
    sample = np.tile(np.arange(4), 20)
    probe = pd.DataFrame({"step": steps, "setting": "deterministic", "replicate": 0})
    probe = probe.assign(sample=sample, image=0, caption=0, timestep=100, loss=sample - steps / 10)
    # Without its lowest sample the mean of a batch would rise.
    probe.loc[(steps >= 100) & (sample == 0), "loss"] = np.nan
    run = train(200).assign(clip_img=np.arange(200.0))
    run.loc[run["step"] == 7, "l_det"] = np.inf
    table = correlations(run, probe)
    assert (table["rho"]["l_det, begin"], table["points"]["l_det, begin"]) == (-1, 10)
    assert table["points"]["l_det"] == 199
