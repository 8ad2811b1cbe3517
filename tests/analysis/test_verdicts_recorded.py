"""Sentences about recorded losses, on traces whose truth is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.replay import replayed
from noiseprobe.analysis.sources import Source
from noiseprobe.analysis.verdicts_recorded import of_criteria, of_losses, of_regret, of_replays
from noiseprobe.logs import Series


def series(values: Any, tag: str = "val/loss", name: str = "log.csv") -> Series:
    array = np.asarray(values, dtype=np.float64)
    return Series(name, np.arange(len(array)) * 10, array, tag)


V = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.6, 0.7, 0.75, 0.8]


def test_a_held_out_loss_says_where_it_is_best_and_how_much_worse_the_end_is() -> None:
    assert of_losses(series(V)) == [
        "val/loss is lowest at step 50 (0.5); at its end, step 90, it is 60% worse."
    ]
    assert of_losses(series([1 - value for value in V], "clip_img")) == [
        "clip_img is highest at step 50 (0.5); at its end, step 90, it is 60% worse."
    ]
    assert of_losses(series([*V[:6], 0.45, 0.4])) == [
        "val/loss is lowest at step 70 (0.4), its end: it may go on improving."
    ]


def test_an_end_that_noise_would_raise_as_much_is_said_to_be_so() -> None:
    random, steps = np.random.default_rng(0), np.arange(200)
    (said,) = of_losses(series(np.exp(-steps / 40) + 0.01 * random.normal(size=200)))
    assert said.endswith("worse, no more than its noise from value to value would make it.")


def test_a_noisy_training_loss_cannot_tell() -> None:
    random, steps = np.random.default_rng(0), np.arange(400)
    (said,) = of_losses(series(random.normal(size=400) + 9, "train/loss"))
    assert said.startswith(
        "The curve of train/loss tells nothing: from one value to the next there is nothing but"
    )
    (ruled,) = of_losses(series(np.exp(-steps / 99) + 0.4 * random.normal(size=400), "loss"))
    assert ruled.startswith("The curve of loss tells little: ")
    assert "of its variance is noise from one value to the next" in ruled
    steady = of_losses(series(np.exp(-steps / 99), "train/loss"))
    assert steady == [
        "train/loss is lowest at step 3990 (0.0178), its end: it may go on improving."
    ]


def test_a_constant_trace_is_said_not_to_change() -> None:
    (said,) = of_losses(series([0.5] * 30))
    assert said.startswith("val/loss does not change: all its 30 values are 0.5.")


def test_few_or_no_values_are_said_to_be_so() -> None:
    assert of_losses(series([3, 2, 1]))[1] == "3 values are too few to tell noise from trend."
    assert of_losses(series([np.nan])) == ["val/loss holds no number that is finite."]
    (alone,) = of_losses(series([np.nan, 2.0, np.nan]))
    assert alone == "val/loss has one value, 2, and nothing to compare it with."


def test_an_escape_in_a_tag_is_spelt() -> None:
    assert of_losses(series(V, "val\x1b[31m\nloss"))[0].startswith(r"val\x1b[31m\nloss is lowest")


def test_each_criterion_says_what_it_would_have_kept() -> None:
    rows = [
        replayed(series(V), "patience", {"patience": 2}),
        replayed(series(V), "fixed", {"steps": 20}),
        replayed(series(V), "never", {}),
        replayed(series(V), "dvar", {"window": 99, "threshold": 0.1}),
    ]
    assert of_criteria(rows) == [
        "Patience would have stopped at step 70, which saves 22% of the steps, and kept step 50 "
        "(0.5, the best).",
        "Fixed would have stopped at step 20 (0.8, 60% worse than the best), which saves 78% of "
        "the steps.",
        "DVAR cannot fire on so few values.",
    ]


def test_many_criteria_are_ranked_by_what_they_keep() -> None:
    rows = [replayed(series(V), "fixed", {"steps": steps}) for steps in (1, 20, 60, 90)]
    (said,) = of_criteria([row | {"criterion": f"c{row['stop_step']}"} for row in rows])
    assert "Nearest to the best keeps c60" in said
    assert "farthest c10, step 10 (0.9, 80% worse than the best)" in said


def test_many_criteria_that_keep_nothing_finite_are_said_to() -> None:
    row = replayed(series(V), "fixed", {"steps": 20}) | {"loss_at_keep": None}
    assert of_criteria([row] * 4) == [
        "Of 4 criteria 4 fire. None of them keeps a value that is finite."
    ]


def test_the_training_loss_beside_a_held_out_one_is_told_of_only_where_it_is_noisy() -> None:
    random = np.random.default_rng(0)
    row = replayed(series(V), "patience", {"patience": 2})
    noisy = Source(series(V), training=series(random.normal(size=99), "train/loss"))
    assert of_replays([noisy], [row])[-1].startswith("The curve of train/loss tells nothing")
    calm = Source(series(V), training=series(np.arange(99.0), "train/loss"))
    assert not any("train/loss" in said for said in of_replays([calm], [row]))


def test_many_traces_are_summed_up() -> None:
    found = [Source(series(V, name=f"{place}.csv")) for place in range(5)]
    rows = [replayed(each.trace, "patience", {"patience": 2}) for each in found]
    assert of_replays(found, rows) == [
        "Patience fires on 5 of 5 traces and saves 22% of all steps on average."
    ]


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-0.3, -0.1, "Patience is better than dvar (95% each)."),
        (0.1, 0.3, "Patience is worse than dvar (95% each)."),
        (-0.3, 0.1, "No criterion differs from dvar for sure: their intervals include 0."),
    ],
)
def test_regrets_differ_only_where_the_interval_excludes_zero(
    low: float, high: float, told: str
) -> None:
    means = pd.DataFrame({"criterion": ["patience", "dvar"], "regret": [0.3, 0.5]})
    gaps = pd.DataFrame(
        {"criterion": ["patience"], "against": "dvar", "regret_low": low, "regret_high": high}
    )
    said = of_regret(means, gaps, "clip_img", True, 9)
    assert said[0].startswith("By clip_img (high is good), patience stops nearest to the best")
    assert said[1] == told
    assert of_regret(means, gaps, "clip_img", True, 1)[1].startswith("One trace is too few")
    # Five of five on one side of 0 happen by chance 2 times in 32, six of six 2 in 64.
    assert of_regret(means, gaps, "clip_img", True, 5)[1:] == [
        "5 traces are too few to tell criteria apart."
    ]
    assert of_regret(means, gaps, "clip_img", True, 6)[1] == told
    unknown = means.assign(regret=np.nan)
    assert "nothing to judge by" in of_regret(unknown, gaps, "x", False, 9)[0]
