"""Signal and noise of a trace: known answers, a simulated truth, and the interval of a spread."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from noiseprobe.analysis import signal_to_noise
from noiseprobe.analysis.intervals import mean_interval, ratio_interval, spread_interval
from noiseprobe.run.traces import PROBE_COLUMNS

STEPS, REPLICATES, BATCH = 12, 200, 16


def trace(shared: float, seed: int = 0) -> pd.DataFrame:
    """Samples with noise 3 of their own at all steps, 1 at each, and `shared` by their batch."""
    random = np.random.default_rng(seed)
    level = np.linspace(1, -1, STEPS)
    kept = random.normal(0, 3, (1, REPLICATES, BATCH)) + random.normal(
        0, shared, (1, REPLICATES, 1)
    )
    losses = 10 + level[:, None, None] + kept + random.normal(0, 1, (STEPS, REPLICATES, BATCH))
    step, replicate, sample = np.indices(losses.shape)
    frame = pd.DataFrame(
        {
            "step": step.ravel() * 10,
            "setting": "noise",
            "replicate": replicate.ravel() + 1,
            "sample": sample.ravel(),
            "image": 0,
            "caption": 0,
            "timestep": 0,
            "loss": losses.ravel(),
        }
    )
    return frame[list(PROBE_COLUMNS)].astype(PROBE_COLUMNS)


def test_signal_noise_and_needed_batch_of_independent_samples_are_found() -> None:
    row = signal_to_noise(trace(shared=0)).loc["noise"]
    signal = np.std(np.linspace(1, -1, STEPS), ddof=1)
    noise = np.sqrt(10 / BATCH)
    assert row["signal"] == pytest.approx(signal, rel=0.02)
    assert row["noise"] == pytest.approx(noise, rel=0.1)
    assert row["progress"] == pytest.approx(signal**2 / (signal**2 + noise**2), rel=0.1)
    assert row["batch"] == BATCH
    assert row["needed_batch"] == pytest.approx(10 / signal**2, rel=0.2)
    assert row["independence"] == pytest.approx(1, abs=0.25)


def test_a_few_redraws_of_many_samples_tell_the_noise() -> None:
    few = (trace(shared=0, seed=seed).query("replicate <= 4") for seed in range(20))
    noises = np.array([signal_to_noise(each)["noise"]["noise"] for each in few])
    assert np.mean(noises) == pytest.approx(np.sqrt(10 / BATCH), rel=0.05)
    assert np.std(noises) < 0.15 * np.mean(noises)


def test_samples_that_share_their_draw_are_not_independent() -> None:
    row = signal_to_noise(trace(shared=3)).loc["noise"]
    assert row["independence"] == pytest.approx(BATCH * (9 + 10 / BATCH) / 19, rel=0.25)


def test_redraws_that_differ_at_each_step_are_not_taken_for_progress() -> None:
    random = np.random.default_rng(0)
    flat = trace(shared=0)
    flat = flat.assign(loss=random.normal(0, 1, len(flat)).astype("float32"))
    row = signal_to_noise(flat).loc["noise"]
    assert row["signal"] < 0.3 * row["noise"]


def test_what_is_undefined_is_nan_and_no_signal_needs_an_endless_batch() -> None:
    one = trace(shared=0).query("replicate == 1")
    assert signal_to_noise(one)["needed_batch"].isna().all()
    assert signal_to_noise(trace(shared=0).query("step == 0"))["progress"].isna().all()
    turned = trace(shared=0).query("step < 20 and replicate < 3")
    # Two redraws that go opposite ways: their mean stands still.
    sign = np.where((turned["step"] > 0) == (turned["replicate"] == 1), 1.0, -1.0)
    row = signal_to_noise(turned.assign(loss=sign.astype("float32"))).loc["noise"]
    assert (row["signal"], row["progress"], row["needed_batch"]) == (0, 0, np.inf)


def test_one_checkpoint_has_the_exact_interval_of_a_normal_spread() -> None:
    losses = np.random.default_rng(0).normal(0, 2, (1, 9))
    estimate, low, high = spread_interval(losses)
    deviation = losses.std(ddof=1)
    assert estimate == pytest.approx(deviation)
    assert low == pytest.approx(deviation * np.sqrt(8 / stats.chi2.ppf(0.975, 8)))
    assert high == pytest.approx(deviation * np.sqrt(8 / stats.chi2.ppf(0.025, 8)))


def test_checkpoints_that_move_together_tell_no_more_than_one_and_others_do() -> None:
    random = np.random.default_rng(1)
    one = random.normal(0, 1, (1, 8))
    _, low, high = spread_interval(np.repeat(one, 30, axis=0))
    _, low_one, high_one = spread_interval(one)
    assert (low, high) == (pytest.approx(low_one), pytest.approx(high_one))
    covered, widths = [], []
    for _ in range(200):
        _, low, high = spread_interval(random.normal(0, 1, (30, 8)))
        covered.append(low <= 1 <= high)
        widths.append(high - low)
    assert 0.89 < np.mean(covered) <= 1
    assert np.mean(widths) < 0.5 * float(high_one - low_one)


def test_a_ratio_of_means_has_fiellers_interval() -> None:
    random = np.random.default_rng(0)
    v = random.exponential(1, 40)
    u = 0.4 * v + random.normal(0, 0.2, 40)
    estimate, low, high = ratio_interval(u, v)
    assert estimate == pytest.approx(u.mean() / v.mean())
    for end in (low, high):
        assert stats.ttest_1samp(u - end * v, 0).pvalue == pytest.approx(0.05)
    _, low, high = ratio_interval(u, random.normal(0, 1, 40))
    assert (low, high) == (-np.inf, np.inf)


def test_a_mean_has_students_interval() -> None:
    values = np.random.default_rng(0).normal(1, 1, 12)
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert mean_interval(values)[1:] == pytest.approx(expected)
    assert np.isnan(mean_interval(values[:1])[1])
