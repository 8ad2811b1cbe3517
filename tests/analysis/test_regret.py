"""Regret is what the definition gives by hand; intervals and pairs are those of its numbers."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.regret import Judged, paired, regret, summary
from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.stopping import NonFiniteLossWarning, to_be_high


def series(name: str, values: list[float], every: int = 1, tag: str = "loss") -> Series:
    steps = np.arange(len(values), dtype=np.int64) * every
    return Series(name, steps, np.array(values, dtype=np.float64), tag)


LOSSES = [5.0, 3.0, 2.0, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0]
"""Patience 2 stops at index 4 and keeps index 2."""


def judged(
    judge: list[float], *, every: int = 2, maximize: bool = False, name: str = "run"
) -> Judged:
    return Judged(series(name, LOSSES), series(name, judge, every, "judge"), maximize)


def only(raw: pd.DataFrame) -> dict[str, object]:
    (row,) = raw.to_dict("records")
    return {str(key): value for key, value in row.items()}


PATIENCE = {"patience": {"patience": 2}}


def test_regret_of_a_validation_loss_by_hand() -> None:
    # The judge at steps 0, 2, 4, 6, 8; its best, 2.0, is at step 6; the stop is at step 4.
    row = only(regret([judged([4.0, 3.0, 2.5, 2.0, 2.2])], PATIENCE))
    assert row == {
        "trace": "run",
        "origin": "run",
        "criterion": "patience",
        "params": json.dumps({"patience": 2, "min_delta": 0.0}),
        "fired": True,
        "could_fire": True,
        "stop_step": 4,
        "kept_step": 2,
        "best_step": 6,
        "judge": 2.5,
        "judge_first": 4.0,
        "judge_best": 2.0,
        "regret": 0.25,
        "kept_regret": 0.5,
        "steps_spent": 4 / 6,
    }


def test_a_gain_that_is_too_small_gives_no_regret() -> None:
    traces = [judged([4.0, 3.0, 2.5, 2.0, 2.2]), judged([4.0, 3.9, 3.9, 3.5, 3.9], name="flat")]
    raw = regret(traces, PATIENCE, min_gain=0.5)
    assert raw["regret"].isna().tolist() == [False, True]
    assert raw["steps_spent"].isna().tolist() == [False, True]
    assert summary(raw)[["traces", "left_out"]].to_numpy().tolist() == [[1, 1]]
    assert regret(traces, PATIENCE, min_gain=0.49)["regret"].notna().all()


def test_a_judge_to_be_high_is_the_same_upside_down() -> None:
    low = only(regret([judged([4.0, 3.0, 2.5, 2.0, 2.2])], PATIENCE))
    high = only(regret([judged([-4.0, -3.0, -2.5, -2.0, -2.2], maximize=True)], PATIENCE))
    measures = ["regret", "kept_regret", "steps_spent", "best_step"]
    assert [high[key] for key in measures] == [low[key] for key in measures]


def test_the_judge_counts_as_it_was_known_at_the_stop() -> None:
    # At steps 0, 3, 6: at the stop, step 4, the value of step 3 is the last; at step 2 that of 0.
    row = only(regret([judged([4.0, 3.0, 2.0], every=3)], PATIENCE))
    assert (row["judge"], row["regret"], row["kept_regret"]) == (3.0, 0.5, 1.0)


def test_before_its_first_value_the_judge_is_that_value() -> None:
    late = series("run", [4.0, 2.0], 2)
    late = Series(late.name, late.steps + 5, late.values, "judge")
    row = only(regret([Judged(series("run", LOSSES), late, False)], PATIENCE))
    assert (row["judge"], row["regret"], row["best_step"]) == (4.0, 1.0, 7)
    assert row["steps_spent"] == 4 / 7


def test_a_criterion_that_never_fires_is_charged_with_the_last_step() -> None:
    row = only(regret([judged([4.0, 3.0, 2.5, 2.0, 2.2])], {"patience": {"patience": 50}}))
    assert (row["fired"], row["stop_step"], row["kept_step"]) == (False, 8, 2)
    assert row["regret"] == pytest.approx(0.1)
    assert row["steps_spent"] == 8 / 6


def test_a_stop_worse_than_the_start_has_a_regret_above_one() -> None:
    row = only(regret([judged([4.0, 3.0, 6.0, 7.0, 8.0])], PATIENCE))
    assert row["regret"] == 3.0


def test_values_of_the_judge_that_are_not_finite_are_no_verdict() -> None:
    row = only(regret([judged([math.nan, 4.0, math.nan, 2.0, -math.inf])], PATIENCE))
    assert (row["judge_first"], row["judge"], row["judge_best"]) == (4.0, 4.0, 2.0)


@pytest.mark.parametrize("judge", [[2.0, 3.0, 4.0], [1.0, 1.0], [math.nan], []])
def test_without_an_improvement_there_is_no_regret_and_the_trace_is_left_out(
    judge: list[float],
) -> None:
    raw = regret([judged(judge), judged([4.0, 3.0, 2.5, 2.0, 2.2], name="other")], PATIENCE)
    assert raw["regret"].isna().tolist() == [True, False]
    assert raw["steps_spent"].isna().tolist() == [True, False]
    row = only(summary(raw, resamples=10))
    assert (row["traces"], row["left_out"], row["regret"]) == (1, 1, 0.25)
    alone = only(summary(raw[:1], resamples=10))
    assert (alone["traces"], alone["left_out"]) == (0, 1)
    assert math.isnan(float(str(alone["regret"])))


def test_names_alone_mean_defaults() -> None:
    raw = regret([judged([4.0, 2.0])], ["dvar", "fixed"])
    assert raw["params"].map(json.loads).tolist() == [
        {"window": 0.7, "threshold": 0.15},
        {"steps": 475},
    ]


def test_what_cannot_be_judged_is_refused() -> None:
    one = judged([4.0, 2.0])
    with pytest.raises(UserError, match="run: given twice"):
        regret([one, one], ["dvar"])
    with pytest.raises(UserError, match="no traces"):
        regret([], ["dvar"])
    with pytest.raises(UserError, match="no loss was recorded"):
        regret([Judged(series("run", []), series("run", [1.0]), False)], ["dvar"])
    with pytest.raises(UserError, match="did you mean dvar"):
        regret([one], ["dvra"])


@pytest.mark.parametrize(
    ("tag", "high"),
    [
        ("clip_img", True),
        ("val/CLIP", True),
        ("Similarity", True),
        ("score", True),
        ("accuracy", True),
        ("val_loss", False),
        ("l_det", False),
        ("clip-ft - val_loss", False),
        ("val/score_loss", False),
        ("val_acc", True),
        ("run 3 - val_clip_img", True),
    ],
)
def test_the_name_of_a_judge_says_which_way_is_good(tag: str, high: bool) -> None:
    assert to_be_high(tag) == high


def raw_table(regrets: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "trace": f"run-{place}",
                "criterion": name,
                "fired": value < 0.5,
                "could_fire": True,
                "regret": value,
                "kept_regret": value / 2,
                "steps_spent": 1.0,
            }
            for name, values in regrets.items()
            for place, value in enumerate(values)
        ]
    )


def test_equal_traces_have_an_interval_of_no_width() -> None:
    row = only(summary(raw_table({"dvar": [0.3] * 8}), resamples=200))
    assert row["regret"] == row["regret_low"] == row["regret_high"] == pytest.approx(0.3)
    assert row["kept_regret_high"] == pytest.approx(0.15)
    assert (row["never"], row["never_low"], row["never_high"]) == (0.0, 0.0, 0.0)


def test_the_interval_of_a_mean_is_that_of_the_binomial() -> None:
    # Means of resampled zeros and ones are binomial shares, whose quantiles are known.
    values = [0.0] * 30 + [1.0] * 10
    row = only(summary(raw_table({"dvar": values}), resamples=20_000))
    assert row["regret"] == 0.25
    assert row["never"] == 0.25
    assert row["regret_median"] == 0.0
    # scipy.stats.binom.ppf([0.025, 0.975], 40, 0.25) / 40
    assert row["regret_low"] == pytest.approx(5 / 40)
    assert row["regret_high"] == pytest.approx(16 / 40, abs=1 / 40)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    raw = raw_table({"dvar": np.random.default_rng(0).normal(size=9).tolist()})
    first, again, other = (summary(raw, resamples=500, seed=seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_pairs_see_what_traces_apart_would_hide() -> None:
    level = np.random.default_rng(0).normal(size=30)
    raw = raw_table({"dvar": list(level), "patience": list(level - 0.25)})
    apart = summary(raw, resamples=500)
    row = only(paired(raw, resamples=500))
    assert (row["criterion"], row["against"], row["traces"]) == ("patience", "dvar", 30)
    assert row["regret"] == row["regret_low"] == row["regret_high"] == pytest.approx(-0.25)
    assert (row["better"], row["worse"]) == (1.0, 0.0)
    assert (apart["regret_high"] - apart["regret_low"]).min() > 0.5
    back = only(paired(raw, "patience", resamples=500))
    assert (back["criterion"], back["regret"]) == ("dvar", pytest.approx(0.25))


def test_pairs_take_only_traces_on_which_both_have_a_regret() -> None:
    raw = raw_table({"dvar": [0.1, math.nan, 0.3], "patience": [0.2, 0.4, math.nan]})
    row = only(paired(raw, resamples=10))
    assert (row["traces"], row["regret"]) == (1, pytest.approx(0.1))


def test_a_criterion_to_hold_against_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="--against dvar: choose one of patience"):
        paired(raw_table({"patience": [0.1]}))


def test_losses_that_are_not_numbers_are_told_of() -> None:
    trace = judged([4.0, 3.0, 2.5, 2.0, 2.2])
    trace.trace.values[3] = np.inf
    with pytest.warns(NonFiniteLossWarning, match=f"left out 1 of {len(LOSSES)} values of loss"):
        regret([trace], PATIENCE)
