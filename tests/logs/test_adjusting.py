"""The timestep-adjusted loss keeps the trend, loses the timestep's noise, and never looks ahead."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.logs import choose_tags, read_log, timestep_adjusted
from noiseprobe.logs.adjusting import LEARNED

STEPS = np.arange(1000)
TREND = 0.3 * np.exp(-STEPS / 250)
NAME = "loss (timestep-adjusted)"


def made(seed: int, samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Losses of which the timestep explains nearly all, with a trend and noise of 0.05 a sample."""
    random = np.random.default_rng(seed)
    times = random.integers(0, 1000, (1000, samples))
    noise = random.normal(0, 0.05, times.shape)
    return np.exp(-times / 200) + TREND[:, None] + noise, times


def test_a_known_trend_comes_back_with_the_noise_that_the_timestep_leaves() -> None:
    spreads, drifts = [], []
    for seed in range(20):
        losses, times = (each[:, 0] for each in made(seed))
        adjusted = timestep_adjusted(losses, times)
        assert np.isnan(adjusted[:LEARNED]).all()
        rest = (adjusted - TREND)[LEARNED:]
        spreads.append(rest.std())
        drifts.append(rest[-300:].mean() - rest[:300].mean())
        assert np.std(losses - TREND) > 0.2
    assert np.mean(spreads) == pytest.approx(0.05, rel=0.3)
    # Means of 300 such points differ by 0.0045 by chance; of the losses as they are, by 0.02.
    assert np.sqrt(np.mean(np.square(drifts))) < 0.007
    assert abs(np.mean(drifts)) < 0.003


def test_the_samples_of_a_batch_tell_more_than_their_means() -> None:
    losses, times = made(0, samples=4)
    apart = timestep_adjusted(losses, times)[LEARNED:]
    means = timestep_adjusted(losses.mean(1), times.mean(1))[LEARNED:]
    spreads = [np.std(each - TREND[LEARNED:]) for each in (apart, means, losses.mean(1)[LEARNED:])]
    assert spreads[0] == pytest.approx(0.05 / 2, rel=0.3)
    assert 2 * spreads[0] < spreads[1] < 0.8 * spreads[2]


def test_nothing_looks_ahead() -> None:
    losses, times = (each[:, 0] for each in made(0))
    whole = timestep_adjusted(losses, times)
    for end in (LEARNED + 1, 333, 999):
        np.testing.assert_allclose(timestep_adjusted(losses[:end], times[:end]), whole[:end])


def test_a_loss_that_knows_no_timestep_is_hardly_changed() -> None:
    random = np.random.default_rng(0)
    losses, times = random.normal(1, 0.1, 1000), random.uniform(0, 1, 1000)
    change = (timestep_adjusted(losses, times) - losses)[LEARNED:]
    assert np.sqrt(np.mean(change**2)) < 0.03
    constant = timestep_adjusted(np.full(100, 2.5), times[:100])
    np.testing.assert_allclose(constant[LEARNED:], 2.5)
    same = timestep_adjusted(losses, np.full(1000, 7.0))
    np.testing.assert_allclose(same[LEARNED:], losses[LEARNED:])


def test_what_is_not_finite_is_left_out() -> None:
    losses, times = (each[:, 0].astype(float) for each in made(0))
    plain = timestep_adjusted(losses, times)
    more = timestep_adjusted(np.insert(losses, 70, [np.nan, 1]), np.insert(times, 70, [1, np.inf]))
    assert np.isnan(more[70:72]).all()
    np.testing.assert_array_equal(np.delete(more, [70, 71]), plain)


def test_shapes_that_differ_are_told() -> None:
    with pytest.raises(UserError, match=r"timesteps: shape \(3,\) for losses of \(2,\); give both"):
        timestep_adjusted([1, 2], [1, 2, 3])


def written(tmp_path: Path, points: int = 200, **more: Any) -> Path:
    losses, times = (each[:points, 0] for each in made(0))
    table = {"step": STEPS[:points], "loss": losses, "timestep": times} | more
    path = tmp_path / "log.csv"
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def test_a_log_with_timesteps_has_the_adjusted_trace_beside_its_loss(tmp_path: Path) -> None:
    path = written(tmp_path, train_loss_avg=np.ones(200), val_loss=np.ones(200))
    log = read_log(path)
    assert log.tags == ("loss", "timestep", "train_loss_avg", "val_loss", NAME)
    series = log.series(NAME)
    losses, times = log.series("loss").values, log.series("timestep").values
    np.testing.assert_array_equal(series.values, timestep_adjusted(losses, times)[LEARNED:])
    np.testing.assert_array_equal(series.steps, STEPS[LEARNED:200])
    assert series.column == NAME
    assert choose_tags(["loss", "timestep", NAME], None) == ["loss"]
    assert choose_tags(log.tags, "lo*") == ["loss"]
    assert choose_tags(log.tags, "*adjusted*") == [NAME]


def test_points_are_paired_by_their_step_and_within_their_run(tmp_path: Path) -> None:
    losses, times = (each[:, 0] for each in made(0))
    rows = [{"step": int(step), "a - train/loss": losses[step]} for step in STEPS]
    rows += [{"step": int(step), "a - train/timestep": int(times[step])} for step in STEPS[::2]]
    rows += [{"step": int(step), "b - train/loss": 1.0} for step in STEPS]
    rows.sort(key=lambda row: row["step"])
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    log = read_log(path)
    tag = f"a - train/{NAME}"
    assert [name for name in log.tags if name.endswith("adjusted)")] == [tag]
    series = log.series(tag)
    np.testing.assert_array_equal(series.steps, STEPS[::2][LEARNED:])
    expected = timestep_adjusted(losses[::2], times[::2])[LEARNED:]
    np.testing.assert_array_equal(series.values, expected)


def test_a_short_log_says_how_many_points_it_takes(tmp_path: Path) -> None:
    log = read_log(written(tmp_path, points=40))
    assert NAME in log.tags
    with pytest.raises(UserError, match=r"log.csv: no loss .*: 40 points of loss .* first 50"):
        log.series(NAME)


def test_it_is_replayed_by_its_name(tmp_path: Path, call: Any) -> None:
    path = written(tmp_path)
    code, out, _ = call("dvar-replay", path, "--column", NAME, "--window", "20", "--json")
    assert code == 0
    (found,) = json.loads(out)
    assert found["points"] == 200 - LEARNED
