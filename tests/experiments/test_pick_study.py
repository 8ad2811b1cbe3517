"""The study of pick: its logs have the pool's losses, and what it counts is what pick says."""

import numpy as np
import pandas as pd
import pytest

from experiments.pick.measure import (
    CHECKPOINT,
    EVERY,
    LOG,
    LOG_FIXED,
    LOG_STEPS,
    REDRAWN,
    STRATIFIED,
    UNPAIRED,
    log_of,
    measured,
)
from experiments.pick.report import figure_of, report
from experiments.turn.pools import Pool


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Whose loss is lowest at step 240, by far, with draws that all steps share."""
    steps = np.arange(0, 601, EVERY)
    random = np.random.default_rng(0)
    own = 0.01 * random.normal(size=(len(steps), 128))
    losses = random.normal(1, 0.5, 128) + np.abs(steps - 240)[:, np.newaxis] / 600 + own
    return Pool("textual-inversion", "cup", losses, steps)


@pytest.fixture(scope="module")
def numbers(pool: Pool) -> pd.DataFrame:
    return measured(pool, repeats=20)


def test_what_pairs_tell_is_sure_and_what_each_tells_alone_is_not(numbers: pd.DataFrame) -> None:
    rows = numbers[numbers["size"] == 32].set_index("kind")
    for column, value in {"held": 1, "sure": 1, "right": 1, "lacks": 0}.items():
        assert rows[column][[REDRAWN, STRATIFIED]].tolist() == [value, value]
    assert rows["share"].to_dict()[UNPAIRED] > 0.5
    assert (numbers["held"] > 0.9).all()


@pytest.mark.parametrize(("kind", "points"), [(LOG, 31), (LOG_FIXED, 31), (LOG_STEPS, 601)])
def test_a_log_has_the_expected_losses_and_the_noise_of_its_draws(
    pool: Pool, kind: str, points: int
) -> None:
    logs = [log_of(pool, kind, 4, np.random.default_rng(seed)) for seed in range(200)]
    steps, truth, _ = logs[0]
    assert len(steps) == points
    np.testing.assert_allclose(truth[steps % CHECKPOINT == 0], pool.losses[::3].mean(axis=1))
    noise = np.array([values - truth for _, _, values in logs])
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(pool.losses.std(axis=1).mean() / 2, rel=0.1)
    jumps = np.diff(noise, axis=1).std()
    assert jumps < 0.02 if kind == LOG_FIXED else jumps > 0.2


def test_the_report_says_what_was_counted(numbers: pd.DataFrame) -> None:
    told = report(numbers)
    assert f"{numbers['held'].iloc[0]:.3f}" in told
    assert len(figure_of(numbers).axes[0].get_yticks()) == len(numbers)
