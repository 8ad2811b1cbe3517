"""Noise-to-signal: known answers, a simulated truth, and everything that leaves it undefined."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis import (
    as_seen,
    batch_losses,
    deterministic_losses,
    published_noise_to_signal,
)
from noiseprobe.core.errors import UserError
from noiseprobe.draws.factors import FACTORS
from noiseprobe.run.traces import PROBE_COLUMNS


def make_trace(losses: dict[tuple[int, str, int], Sequence[float]]) -> pd.DataFrame:
    """A probe trace from the per-sample losses of each (step, setting, replicate)."""
    rows = [
        (step, setting, replicate, sample, 0, 0, 0, loss)
        for (step, setting, replicate), batch in losses.items()
        for sample, loss in enumerate(batch)
    ]
    return pd.DataFrame(rows, columns=list(PROBE_COLUMNS)).astype(PROBE_COLUMNS)


KNOWN = make_trace(
    {
        (0, "deterministic", 0): [3.0, 5.0],
        (10, "deterministic", 0): [1.0, 3.0],
        (0, "noise", 1): [2.0, 4.0],
        (0, "noise", 2): [4.0, 6.0],
        (10, "noise", 1): [0.0, 2.0],
        (10, "noise", 2): [4.0, 6.0],
    }
)


def test_batch_losses_are_means_over_samples() -> None:
    losses = batch_losses(KNOWN).set_index(["setting", "step", "replicate"])["loss"]
    assert losses["deterministic", 0, 0] == 4.0
    assert losses["noise", 10, 2] == 5.0
    assert deterministic_losses(KNOWN).to_dict() == {0: 4.0, 10: 2.0}


def test_noise_to_signal_by_hand() -> None:
    row = published_noise_to_signal(KNOWN).loc["noise"]
    # Replicates 3, 5 and 1, 5: standard deviations √2 and 2√2; L_det 4, 2: √2.
    assert row["noise"] == pytest.approx(1.5 * np.sqrt(2))
    assert row["signal"] == pytest.approx(np.sqrt(2))
    assert row["noise_to_signal"] == pytest.approx(1.5)


def simulated(seed: int, spread: dict[str, float], replicates: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    redraws = {name: random.normal(0, spread[name], replicates) for name in spread}
    losses: dict[tuple[int, str, int], Sequence[float]] = {}
    for step, level in enumerate((4.0, 3.0, 2.0, 1.0)):
        losses[step, "deterministic", 0] = [level]
        for name, values in redraws.items():
            for replicate, value in enumerate(values, start=1):
                losses[step, name, replicate] = [level + value]
    return make_trace(losses)


def test_a_simulated_truth_is_found_and_ordered() -> None:
    spread = dict(zip(FACTORS, (2.0, 0.1, 0.5, 9.0, 4.0), strict=True))
    table = published_noise_to_signal(simulated(0, spread, 400))
    signal = np.std([4.0, 3.0, 2.0, 1.0], ddof=1)
    assert list(table.index) == list(FACTORS)
    for name, truth in spread.items():
        assert table.loc[name, "noise_to_signal"] == pytest.approx(truth / signal, rel=0.12)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    signal = np.std([4.0, 3.0, 2.0, 1.0], ddof=1)
    tables = [published_noise_to_signal(simulated(seed, {"noise": 1.0}, 6)) for seed in range(60)]
    covered = [table.low["noise"] <= 1 / signal <= table.high["noise"] for table in tables]
    assert 0.86 <= np.mean(covered) <= 1


def test_the_table_does_not_depend_on_row_order_or_other_settings() -> None:
    trace = simulated(1, {"noise": 1.0, "images": 2.0}, 8)
    shuffled = trace.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        published_noise_to_signal(trace), published_noise_to_signal(shuffled)
    )
    alone = published_noise_to_signal(trace[trace["setting"] != "images"])
    pd.testing.assert_frame_equal(alone, published_noise_to_signal(trace).loc[["noise"]])


def test_statistics_leave_the_global_random_state_alone() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    published_noise_to_signal(KNOWN)
    assert np.random.random() == expected  # noqa: NPY002


@pytest.mark.parametrize(
    "trace",
    [
        KNOWN[KNOWN["setting"] != "deterministic"],
        KNOWN[KNOWN["step"] == 0],
        KNOWN[(KNOWN["setting"] == "deterministic") | (KNOWN["replicate"] == 1)],
        KNOWN.assign(loss=np.float32("nan")),
        KNOWN.assign(loss=np.float32(1)),
    ],
    ids=["no deterministic", "one checkpoint", "one replicate", "not finite", "no change"],
)
def test_what_is_undefined_is_nan(trace: pd.DataFrame) -> None:
    assert published_noise_to_signal(trace)["noise_to_signal"].isna().all()


def test_an_empty_trace_gives_an_empty_table() -> None:
    assert published_noise_to_signal(KNOWN[:0]).empty


def test_as_seen_takes_another_replicate_at_each_checkpoint() -> None:
    assert as_seen(KNOWN, "noise").to_dict() == {0: 3.0, 10: 5.0}
    assert as_seen(KNOWN, "deterministic").to_dict() == {0: 4.0, 10: 2.0}
    with pytest.raises(UserError, match="'images' is not in the probe trace"):
        as_seen(KNOWN, "images")


def test_named_settings_come_in_canonical_order_and_others_after_them() -> None:
    shuffled = ["timesteps+noise", "original", "noise", "deterministic", "captions", "images+noise"]
    trace = make_trace({(0, setting, 1): [1.0] for setting in shuffled})
    order = ["captions", "noise", "original", "images+noise", "timesteps+noise"]
    assert list(published_noise_to_signal(trace).index) == order


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_batch_with_a_loss_that_is_not_finite_is_not_counted(bad: float) -> None:
    spoilt = KNOWN.copy()
    spoilt.loc[(spoilt["step"] == 0) & (spoilt["replicate"] == 1), "loss"] = [bad, 4.0]
    assert np.isnan(as_seen(spoilt, "noise")[0])
    # Only the second checkpoint has two replicates left: 1 and 5.
    assert published_noise_to_signal(spoilt).loc["noise", "noise"] == pytest.approx(2 * np.sqrt(2))
