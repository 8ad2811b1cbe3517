"""The loss by timestep: what is learned where, draw by draw."""

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis import learning_bins, timestep_losses
from noiseprobe.analysis.timesteps import edges, holm, paired_draws
from noiseprobe.run.traces import PROBE_COLUMNS

STEPS = (0, 10, 20, 30, 40, 50)


def trace(
    setting: str = "original", replicates: int = 20, batch: int = 30, seed: int = 0
) -> pd.DataFrame:
    """Bin 0 falls to the end; bin 1 falls before step 30; the rest only wobbles.

    What draws differ by is far larger than any change.
    """
    random = np.random.default_rng(seed)
    timestep = random.integers(0, 1000, (replicates, batch))
    level = 5 + random.normal(0, 1, (replicates, batch))
    frames = []
    for step in STEPS:
        change = np.select([timestep < 100, timestep < 200], [-0.01 * step, -0.01 * min(step, 30)])
        loss = level + change + random.normal(0, 0.02, timestep.shape)
        replicate, sample = np.indices(timestep.shape)
        frames.append(
            pd.DataFrame(
                {
                    "step": step,
                    "setting": setting,
                    "replicate": replicate.ravel() + 1,
                    "sample": sample.ravel(),
                    "image": 0,
                    "caption": 0,
                    "timestep": timestep.ravel(),
                    "loss": loss.ravel(),
                }
            )
        )
    return pd.concat(frames)[list(PROBE_COLUMNS)].astype(PROBE_COLUMNS)


def test_changes_are_found_below_the_scatter_of_the_draws() -> None:
    table = timestep_losses(trace()).set_index(["step", "bin"])
    last = table.loc[50]
    assert last["change"][0] == pytest.approx(-0.5, abs=0.01)
    assert last["change"][1] == pytest.approx(-0.3, abs=0.01)
    assert last["relative"][0] == pytest.approx(-0.5 / table["loss"].loc[0][0], rel=0.05)
    assert (last["change_high"][:2] < 0).all()
    assert (last["relative_high"][:2] < 0).all()
    assert (last["change"][2:].abs() < 0.02).all()
    assert (table["change"].loc[0] == 0).all()
    assert int(last["samples"].sum()) == 20 * 30


def test_only_what_still_falls_is_still_learning() -> None:
    table = learning_bins(trace()).set_index("bin")
    assert table["trend"].to_dict() == {0: "falling"} | dict.fromkeys(range(1, 10), "none")
    # The last third is the three checkpoints 30, 40 and 50 at the least.
    assert table["change"][0] == pytest.approx(-0.2, abs=0.01)
    assert learning_bins(trace().query("step < 20")).empty


def test_bins_without_change_are_seldom_called_learning() -> None:
    found = [
        (learning_bins(trace(replicates=10, batch=10, seed=seed))["trend"][1:] != "none").any()
        for seed in range(40)
    ]
    assert np.mean(found) < 0.2


def test_the_rows_of_the_design_are_more_draws_of_everything() -> None:
    whole = trace(replicates=8, batch=10)
    odd = whole["replicate"] % 2 == 1
    pair = (whole["replicate"] + 1) // 2
    design = whole.assign(setting=np.where(odd, "A", "B"), replicate=pair)
    empty = whole[:0]
    pd.testing.assert_frame_equal(timestep_losses(empty, design), timestep_losses(whole))
    few = whole[whole["replicate"] <= 2]
    pd.testing.assert_frame_equal(timestep_losses(few, design), timestep_losses(whole))


def test_the_setting_that_redraws_most_is_used() -> None:
    both = pd.concat([trace("timesteps", seed=1), trace("original", seed=2)])
    pd.testing.assert_frame_equal(timestep_losses(both), timestep_losses(trace(seed=2)))
    only = timestep_losses(trace("timesteps+noise", seed=1))
    pd.testing.assert_frame_equal(only, timestep_losses(trace("timesteps", seed=1)))


def test_a_draw_that_is_not_finite_somewhere_is_left_out_everywhere() -> None:
    whole = trace(replicates=2)
    here = (whole["step"] == 20) & (whole["replicate"] == 1) & (whole["sample"] == 3)
    losses, timesteps = paired_draws(whole.assign(loss=whole["loss"].mask(here)))
    assert len(losses) == len(timesteps) == 59


def test_an_empty_trace_gives_an_empty_table_and_an_empty_bin_is_nan() -> None:
    assert timestep_losses(trace()[:0]).empty
    assert learning_bins(trace()[:0]).empty
    low = timestep_losses(trace().query("timestep < 500")).set_index("bin")
    assert low[["loss", "change", "relative"]].loc[[7]].isna().all(axis=None)


def test_every_timestep_is_in_the_bin_whose_edges_hold_it() -> None:
    for bins, count in ((10, 1000), (7, 1000), (3, 50)):
        for timestep in range(count):
            low, high = edges(timestep * bins // count, bins, count)
            assert low <= timestep < high


def test_holm_rejects_what_the_table_of_its_procedure_rejects() -> None:
    # 0.01 ≤ 0.05/4, 0.013 ≤ 0.05/3, 0.03 > 0.05/2: and nothing after it, though 0.04 ≤ 0.05.
    assert holm(np.array([0.04, 0.01, 0.03, 0.013])).tolist() == [False, True, False, True]
    assert holm(np.array([np.nan, 0.001])).tolist() == [False, True]
