"""What is computed of held-out losses: crossed curves, changes of samples, the gap."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from noiseprobe.analysis.crossing import crossed, recommended
from noiseprobe.analysis.gap import gap_by_timestep, gaps
from noiseprobe.analysis.tracked import changes
from noiseprobe.core.errors import UserError


def trace(steps: list[int], losses: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"step": steps, "l_val": losses})


def test_crossed_curves_are_averaged_against_their_own_start() -> None:
    table = crossed([trace([0, 1, 2], [1.0, 0.8, 0.9]), trace([0, 1, 2], [5.0, 4.9, 4.6])])
    assert table["mean"].tolist() == pytest.approx([0.0, -0.15, -0.25])
    expected = stats.t.interval(0.95, 1, -0.25, stats.sem([-0.1, -0.4]))
    assert table[["low", "high"]].iloc[2].tolist() == pytest.approx(expected)
    assert recommended(table) == 2
    assert table["folds"].unique().tolist() == [2]


def test_a_start_is_never_recommended() -> None:
    assert recommended(crossed([trace([0, 5, 10], [1.0, 1.2, 1.1])])) == 10


def test_only_steps_that_all_have_are_crossed() -> None:
    table = crossed(
        [trace([0, 1, 2, 3], [1.0, np.nan, 0.5, 0.4]), trace([0, 2, 3], [1.0, 0.6, np.inf])]
    )
    assert table["step"].tolist() == [0, 2]


def test_trainings_without_a_common_start_are_refused() -> None:
    with pytest.raises(UserError, match="no common curve; finish them"):
        crossed([trace([0, 1], [np.nan, 1.0])])
    with pytest.raises(UserError, match="no common curve"):
        crossed([])


def test_changes_are_of_the_same_samples_since_the_first() -> None:
    random = np.random.default_rng(0)
    losses = random.normal(size=(3, 16)) + 10
    rows = [
        {"step": 4 * at, "name": "l_val", "sample": sample, "loss": losses[at, sample]}
        for at in range(3)
        for sample in range(16)
    ]
    table = changes(pd.DataFrame(rows), "l_val")
    assert table["step"].tolist() == [0, 4, 8]
    found = stats.ttest_rel(losses[2], losses[0])
    assert table["change"].iloc[2] == pytest.approx((losses[2] - losses[0]).mean())
    low, high = found.confidence_interval(0.95)
    assert table[["low", "high"]].iloc[2].tolist() == pytest.approx([low, high])
    assert changes(pd.DataFrame(rows), "l_det").empty


def probed(changes_by_step: dict[int, np.ndarray], base: np.ndarray) -> pd.DataFrame:
    rows = []
    for step, change in changes_by_step.items():
        for sample, loss in enumerate(base + change):
            rows.append(("original", step, 1, sample, 0, 0, sample * 1000 // len(base), loss))
    names = ["setting", "step", "replicate", "sample", "image", "caption", "timestep", "loss"]
    return pd.DataFrame(rows, columns=names)


def test_the_gap_is_the_difference_of_paired_changes() -> None:
    random = np.random.default_rng(1)
    base, other = random.normal(size=40) * 5, random.normal(size=30) * 5
    ours, theirs = random.normal(-0.5, 0.1, 40), random.normal(-0.1, 0.2, 30)
    table = gaps(
        probed({0: np.zeros(40), 9: ours}, base), probed({0: np.zeros(30), 9: theirs}, other)
    )
    last = table.iloc[-1]
    expected = stats.ttest_ind(theirs, ours, equal_var=False).confidence_interval(0.95)
    assert last["gap"] == pytest.approx(theirs.mean() - ours.mean())
    assert [last["gap_low"], last["gap_high"]] == pytest.approx(list(expected))
    assert last["trained"] == pytest.approx(ours.mean())
    assert last["held"] == pytest.approx(theirs.mean())


def test_the_gap_by_timestep_adds_up_to_the_gap() -> None:
    random = np.random.default_rng(2)
    base, ours, theirs = (random.normal(size=40) for _ in range(3))
    traces = probed({0: np.zeros(40), 9: ours}, base), probed({0: np.zeros(40), 9: theirs}, base)
    bins = gap_by_timestep(*traces)
    assert bins["gap"].mean() == pytest.approx(gaps(*traces)["gap"].iloc[-1])
    assert bins[["from", "to"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 100], [900, 1000]]


def test_without_two_probed_checkpoints_there_is_no_gap() -> None:
    one = probed({0: np.zeros(4)}, np.ones(4))
    with pytest.raises(UserError, match="at two checkpoints"):
        gaps(one, one)
