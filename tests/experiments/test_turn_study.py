"""The study of turn: its forms are what they say, one is Turn, its report is of its tables."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments.turn.forms import FORMS, NOT, TURN, Floats, flips, stops
from experiments.turn.measure import judged, measured
from experiments.turn.pools import Pool, batches
from experiments.turn.report import report
from noiseprobe.stopping import Turn, outcome

HERE = Path(__file__).parents[2] / "experiments/turn"


def turning(seed: int, count: int = 30) -> Floats:
    random = np.random.default_rng(seed)
    curve = np.exp(-np.arange(25) / 3) + 0.2 * np.arange(25)
    noise = random.normal(0, 0.2, (count, 25, 8)).cumsum(axis=1)
    return np.asarray(random.normal(size=(count, 1, 8)) + curve[:, np.newaxis] + noise)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_one_of_the_forms_is_turn(confidence: float) -> None:
    losses = turning(0)
    stop, kept = FORMS[TURN](losses, confidence)
    found = [outcome(Turn(confidence), each) for each in losses]
    assert [NOT if each.stop_index is None else each.stop_index for each in found] == stop.tolist()
    assert [each.kept_index for each in found] == kept.tolist()
    assert 0 < (stop != NOT).mean() < 1 or confidence == 0.5


def test_the_plain_form_is_the_paired_test_of_scipy() -> None:
    losses = turning(1)
    stop, kept = stops(losses, 0.95)
    for each, at, best in zip(losses, stop, kept, strict=True):
        tests = [
            scipy.stats.ttest_rel(each[k], each[: k + 1][each[: k + 1].mean(axis=1).argmin()])
            for k in range(1, 25)
        ]
        sure = [bool(test.statistic > 0 and test.pvalue / 2 < 0.05) for test in tests]
        assert at == (sure.index(True) + 1 if any(sure) else NOT)
        assert best == each[: at + 1 if at != NOT else None].mean(axis=1).argmin()


@pytest.mark.parametrize("form", [form for form in FORMS if FORMS[form] is not flips])
def test_all_forms_fire_on_a_rise_of_all_samples_and_on_no_fall(form: str) -> None:
    levels = np.random.default_rng(0).normal(size=(1, 1, 8))
    falls = np.arange(20, 0, -1.0)[:, np.newaxis]
    turns = np.abs(np.arange(20) - 9.0)[:, np.newaxis]
    wobble = 0.001 * np.random.default_rng(1).normal(size=(1, 20, 8))
    assert FORMS[form](levels + falls + wobble, 0.95)[0] == NOT
    stop, kept = FORMS[form](levels + turns + wobble, 0.95)
    assert (9 < stop[0] < 13) if "waits" not in form else (stop[0] == 18)
    assert kept[0] == 9


def test_stratified_batches_have_one_draw_of_each_part_and_others_have_any() -> None:
    parts = batches(64, 16, True, 50) // 4
    assert (parts == np.arange(16)).all()
    drawn = batches(64, 16, False, 50)
    assert all(len(set(each)) == 16 for each in drawn)
    assert np.bincount(drawn.ravel(), minlength=64).min() > 0
    assert (np.diff(drawn) < 0).any()


def test_a_stop_is_judged_by_the_whole_pool() -> None:
    mean = np.array([1.0, 0.4, 0.5, 0.2, 0.3])
    losses = np.repeat(mean[:, np.newaxis], 4, axis=1)
    pool = Pool("lora", "cup", losses, np.arange(5) * 10)
    batch = np.repeat(losses[np.newaxis], 2, axis=0)
    told = judged(pool, batch, np.array([2, NOT]), np.array([1, 3]))
    assert (told["fires"], told["unfounded"], told["early"], told["delay"]) == (0.5, 0, 0.5, 10)
    assert told["regret"] == pytest.approx((0.2 / 0.8) / 2)
    assert told["regret_never"] == 0
    assert judged(pool, batch, np.array([2, 2]), np.array([2, 2]))["unfounded"] == 1
    assert (np.diff(pool.level.mean(axis=1)) <= 0).all()


def test_measures_have_a_row_per_layout_size_and_form() -> None:
    random = np.random.default_rng(0)
    losses = np.exp(-np.arange(6) / 2)[:, np.newaxis] + random.normal(0, 0.1, (6, 64))
    table = measured(Pool("lora", "cup", losses, np.arange(6)))
    assert len(table) == 4 * len(FORMS)
    for column in ("level", "fires", "early"):
        assert table[column].between(0, 1).all()


def test_the_committed_report_is_of_the_committed_tables() -> None:
    assert report(HERE) == (HERE / "RESULTS.md").read_text(encoding="utf-8")
