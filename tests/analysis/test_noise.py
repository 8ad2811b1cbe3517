"""Signal and noise of a trace: known answers, a simulated truth, and the interval of a spread."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.noise_to_signal.coverage import as_trace, simulated, true_ratios
from experiments.shares.analytic import AnalyticModel
from noiseprobe.analysis import noise_to_signal, published_noise_to_signal, signal_to_noise
from noiseprobe.analysis.intervals import (
    log_ratio_interval,
    mean_interval,
    ratio_interval,
    spread_interval,
)
from noiseprobe.draws.factors import FACTORS
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


PROGRESS = np.linspace(0, 0.6, 5)


def probed(model: AnalyticModel, seed: int, batch: int = 32, replicates: int = 6) -> pd.DataFrame:
    """The probe trace of a fine-tune whose truth is known."""
    random = np.random.default_rng(seed)
    return as_trace(simulated(model, PROGRESS, batch, replicates, random))


def test_the_ratio_is_that_of_the_expected_loss_and_its_interval_holds_for_other_batches() -> None:
    model = AnalyticModel.make(8)
    truth = true_ratios(model, PROGRESS, 32).rename_axis("setting")
    tables = [noise_to_signal(probed(model, seed)).loc[list(FACTORS)] for seed in range(100)]
    held = np.array([(each["low"] < truth) & (truth < each["high"]) for each in tables])
    # 500 intervals, five of each batch together: 95% give or take what 100 batches can tell.
    assert 0.90 < held.mean() < 0.99
    middle = np.median([each["noise_to_signal"] for each in tables], axis=0)
    assert middle == pytest.approx(truth, rel=0.1)
    before = [
        published_noise_to_signal(probed(model, seed)).loc[list(FACTORS)] for seed in range(100)
    ]
    missed = [(each["low"] > truth) | (each["high"] < truth) for each in before]
    assert np.mean(missed) > 0.15  # as published: chance made the batch, and no interval knows


def test_both_tables_and_both_definitions_tell_one_story_of_one_trace() -> None:
    trace = probed(AnalyticModel.make(8), 0, batch=256, replicates=40)
    ratios, batches = noise_to_signal(trace), signal_to_noise(trace)
    assert list(ratios.index) == list(batches.index)
    for name in ("noise", "signal"):
        assert ratios[name].tolist() == batches[name].tolist()
    for ratio, needed in (("noise_to_signal", "batch"), ("low", "low"), ("high", "high")):
        expected = 256 * ratios[ratio] ** 2
        assert batches[f"needed_{needed}"].tolist() == pytest.approx(expected.tolist())
    assert batches["progress"].tolist() == pytest.approx(
        (1 / (1 + ratios["noise_to_signal"] ** 2)).tolist()
    )
    # With so many samples and redraws chance has little say, and the published one agrees.
    published = published_noise_to_signal(trace)
    assert published["noise_to_signal"].tolist() == pytest.approx(
        ratios["noise_to_signal"].tolist(), rel=0.35
    )


def test_where_samples_cannot_tell_there_is_no_ratio_but_a_bound_below() -> None:
    flat = probed(AnalyticModel.make(8), 1, batch=8)
    flat["loss"] = np.random.default_rng(0).normal(1, 1, len(flat)).astype("float32")
    row = noise_to_signal(flat).loc["noise"]
    assert np.isnan(row["noise_to_signal"])
    assert row["low"] >= 0
    assert row["high"] == np.inf
    assert row["noise"] == pytest.approx(np.sqrt(1 / 8), rel=0.2)


def test_a_factor_that_does_nothing_has_no_noise_for_sure() -> None:
    trace = probed(AnalyticModel.make(8), 0)
    fixed = trace[trace["setting"] == "deterministic"].set_index(["step", "sample"])["loss"]
    single = trace["setting"] == "captions"
    keys = pd.MultiIndex.from_frame(trace[single][["step", "sample"]])
    trace.loc[single, ["loss"]] = fixed.reindex(keys).to_numpy()[:, None]
    columns = ["noise", "noise_to_signal", "low", "high"]
    assert list(noise_to_signal(trace)[columns].loc["captions"]) == [0, 0, 0, 0]


def test_what_is_measured_at_some_steps_only_has_no_say() -> None:
    trace = probed(AnalyticModel.make(8), 0)
    once = trace[(trace["setting"] == "timesteps") & (trace["replicate"] == 1)]
    once = once[once["step"] == 2].assign(replicate=99, loss=np.float32(50.0))
    pd.testing.assert_frame_equal(noise_to_signal(pd.concat([trace, once])), noise_to_signal(trace))
    diverged = trace[trace["step"] == 4].assign(step=9, loss=np.float32(np.nan))
    longer = pd.concat([trace, diverged])
    pd.testing.assert_frame_equal(noise_to_signal(longer), noise_to_signal(trace))
    shuffled = trace.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(noise_to_signal(shuffled), noise_to_signal(trace))
    fewer = noise_to_signal(trace[trace["setting"].isin(["deterministic", "original", "noise"])])
    pd.testing.assert_frame_equal(fewer, noise_to_signal(trace).loc[["noise", "original"]])


def test_the_logarithm_of_a_ratio_of_variances_has_the_jackknifes_interval() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(0, 2, (2, 2000, 40))
    truth, held = 1.0, []
    for u, v in zip(one, other, strict=True):
        left_out = ~np.eye(40, dtype=bool)
        rest = [np.array([each[keep].var(ddof=1) for keep in left_out]) for each in (u, v)]
        found, low, high = log_ratio_interval(u.var(ddof=1), rest[0], v.var(ddof=1), rest[1])
        assert found == pytest.approx(u.var(ddof=1) / v.var(ddof=1))
        held.append(low < truth < high)
        if len(held) == 400:
            break
    assert 0.92 < np.mean(held) < 0.98
    assert np.isnan(log_ratio_interval(1.0, np.ones(2), 1.0, np.ones(2))[0])
