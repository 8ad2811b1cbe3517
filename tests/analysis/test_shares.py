"""Variance shares of the loss on a diffusion model whose shares are known exactly."""

import numpy as np
import pandas as pd
import pytest

from experiments.shares.analytic import AnalyticModel
from experiments.shares.studies import design_losses, shares_study, spread_study
from noiseprobe.analysis import interactions, variance_shares
from noiseprobe.analysis.shares import small_batch
from noiseprobe.draws.factors import FACTORS
from noiseprobe.draws.sobol import SOBOL_ROWS
from noiseprobe.run.traces import PROBE_COLUMNS

MODEL = AnalyticModel.make(4)


def design_trace(pairs: int, batch: int, seed: int = 0, step: int = 0) -> pd.DataFrame:
    a, b, ab, ba = design_losses(MODEL, np.random.default_rng(seed), (pairs, batch))
    losses = [a, b, *np.moveaxis(ab, -1, 0), *np.moveaxis(ba, -1, 0)]
    pair, sample = np.meshgrid(np.arange(1, pairs + 1), np.arange(batch), indexing="ij")
    frames = [
        pd.DataFrame(
            {
                "step": step,
                "setting": name,
                "replicate": pair.ravel(),
                "sample": sample.ravel(),
                "image": 0,
                "caption": 0,
                "timestep": 0,
                "loss": values.ravel(),
            }
        )
        for name, values in zip(SOBOL_ROWS, losses, strict=True)
    ]
    return pd.concat(frames)[list(PROBE_COLUMNS)].astype(PROBE_COLUMNS)


def test_the_closed_form_is_what_simulation_finds() -> None:
    random = np.random.default_rng(0)
    drawn = MODEL.draw(random, (200_000,))
    assert MODEL.loss(drawn).var() == pytest.approx(MODEL.explained(FACTORS), rel=0.04)
    for given in (["timesteps"], ["noise"], ["images", "captions"], ["timesteps", "vae_noise"]):
        # Two losses that share what is given alone have the covariance Var(E[loss | given]).
        other = MODEL.draw(random, (200_000,)) | {factor: drawn[factor] for factor in given}
        shared = np.cov(MODEL.loss(drawn), MODEL.loss(other))[0, 1]
        assert shared == pytest.approx(MODEL.explained(given), abs=0.004), given


def test_true_shares_are_found_and_their_intervals_hold_them() -> None:
    first, whole = MODEL.shares()
    trace = design_trace(512, 8)
    table = variance_shares(trace).set_index("factor")
    assert list(table.index) == list(FACTORS)
    np.testing.assert_allclose(table["first"], first, atol=0.04)
    np.testing.assert_allclose(table["total"], whole, atol=0.04)
    assert (table["first_low"] < table["first"]).all()
    assert (table["first"] < table["first_high"]).all()
    mixed = interactions(trace).set_index(["first", "second"])["share"]
    truth = MODEL.interaction("timesteps", "noise")
    assert mixed["timesteps", "noise"] == pytest.approx(truth, abs=0.08)


def test_intervals_hold_the_truth_between_93_and_97_of_100_times() -> None:
    # 64 pairs of 4, as 32 pairs of 8 are cut; 1,200 repetitions are known to ± 1.3 points.
    found = shares_study(MODEL, 64, 4, 1200)
    assert found["coverage"].between(0.915, 0.98).all()
    assert 0.93 < found["coverage"].mean() < 0.97


@pytest.mark.parametrize("factor", ["images", "timesteps"])
def test_the_interval_of_the_noise_holds_the_truth_with_few_replicates(factor: str) -> None:
    found = spread_study(MODEL, factor, (4, 8), 600).set_index("replicates")
    assert found["chi_square"].between(0.925, 0.975).all()
    assert (found["bootstrap"] < 0.9).all()


def test_shares_do_not_depend_on_the_batch() -> None:
    random = np.random.default_rng(0)
    widths = []
    for batch in (4, 32):
        tables = [
            variance_shares(design_trace(64, batch, seed=int(random.integers(1 << 30))))
            for _ in range(8)
        ]
        mean = pd.concat(tables).groupby("factor")["total"].mean().reindex(list(FACTORS))
        np.testing.assert_allclose(mean, MODEL.shares()[1], atol=0.05)
        widths.append(np.mean([(each["total_high"] - each["total_low"]).mean() for each in tables]))
    # Eight times the samples are eight times the pairs.
    assert widths[1] == pytest.approx(widths[0] / np.sqrt(8), rel=0.25)


@pytest.mark.parametrize(("size", "cut"), [(1, 1), (3, 3), (4, 4), (8, 4), (10, 5), (7, 7)])
def test_batches_are_cut_into_equal_ones_of_at_least_four(size: int, cut: int) -> None:
    assert small_batch(size) == cut


def test_checkpoints_are_analysed_one_by_one_in_order() -> None:
    late, early = design_trace(8, 4, seed=1, step=20), design_trace(8, 4, seed=2, step=0)
    both = variance_shares(pd.concat([late, early]).sample(frac=1, random_state=0))
    assert both["step"].tolist() == [0] * 5 + [20] * 5
    alone = variance_shares(late)
    pd.testing.assert_frame_equal(both.iloc[5:].reset_index(drop=True), alone)
    assert variance_shares(late[:0]).empty


def test_a_batch_with_a_loss_that_is_not_finite_is_left_out() -> None:
    trace = design_trace(32, 4)
    spoilt = trace.assign(
        loss=trace["loss"].mask((trace["replicate"] == 3) & (trace["sample"] == 1))
    )
    left = variance_shares(trace[trace["replicate"] != 3])
    pd.testing.assert_frame_equal(variance_shares(spoilt), left)
