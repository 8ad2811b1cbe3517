"""Parameters are chosen by least mean regret on other traces than the one that is reported."""

import json

import numpy as np
import pandas as pd
import pytest

from noiseprobe.analysis.regret import Judged, regret
from noiseprobe.analysis.tuning import best_parameters, combinations, tune
from noiseprobe.core.errors import UserError
from noiseprobe.logs import Series
from noiseprobe.stopping import CRITERIA, ON_MEANS


def steps_of(*steps: int) -> dict[str, dict[str, tuple[float, ...]]]:
    return {"fixed": {"steps": steps}}


GRID = steps_of(5, 10, 20)


def with_best_at(best: int, name: str, points: int = 31) -> Judged:
    """Losses, and a judge that is the lower the nearer the step is to `best`."""
    steps = np.arange(points, dtype=np.int64)
    random = np.random.default_rng(best)
    losses = np.exp(-steps / 5) + 0.01 * random.normal(size=points)
    judge = np.abs(steps - best).astype(np.float64)
    return Judged(Series(name, steps, losses, "loss"), Series(name, steps, judge, "judge"), False)


def chosen_steps(raw: pd.DataFrame) -> dict[str, int]:
    return {row["trace"]: json.loads(row["params"])["steps"] for row in raw.to_dict("records")}


def test_the_least_mean_regret_over_the_others_is_chosen() -> None:
    # `steps` 5 stops at step 4, 10 at 9, 20 at 19, each with a regret of |stop − best| / best.
    # On all but the first, 10 has 0 + 0 + 10/19 and 5 has more; on the others of each other one, 5
    # has 5/9 + 15/19 or 5/9 + 5/9, and 10 has 5/4 or more.
    names = {"a": 4, "b": 9, "c": 9, "d": 19}
    raw = tune([with_best_at(best, name) for name, best in names.items()], ["fixed"], grids=GRID)
    assert chosen_steps(raw) == {"a": 10, "b": 5, "c": 5, "d": 5}
    lone = tune([with_best_at(4, "a"), with_best_at(19, "b")], ["fixed"], grids=GRID)
    assert chosen_steps(lone) == {"a": 20, "b": 5}


def test_what_is_reported_is_the_regret_with_the_chosen_parameters() -> None:
    traces = [with_best_at(best, f"best-{best}") for best in (4, 9, 12, 19)]
    names = ["fixed", "patience", "uprising"]
    raw = tune(traces, names)
    for row in raw.to_dict("records"):
        (judged,) = [each for each in traces if each.name == row["trace"]]
        again = regret([judged], {row["criterion"]: json.loads(row["params"])})
        pd.testing.assert_frame_equal(again, pd.DataFrame([row]), check_dtype=False)
    assert list(zip(raw["trace"], raw["criterion"], strict=True)) == [
        (judged.name, name) for judged in traces for name in names
    ]


def test_the_reported_trace_has_no_say_in_its_own_parameters() -> None:
    random = np.random.default_rng(0)
    names = list(ON_MEANS)
    traces = [with_best_at(best, f"run-{best}") for best in (6, 9, 13, 20)]
    before = tune(traces, names)
    moved = set()
    for place, judged in enumerate(traces):
        steps = judged.trace.steps
        for best in (3, 25):
            other = Judged(
                Series(judged.name, steps, random.normal(size=len(steps)), "loss"),
                Series(judged.name, steps, np.abs(steps - best) * 1.0, "judge"),
                False,
            )
            after = tune([*traces[:place], other, *traces[place + 1 :]], names)
            own = before["trace"] == judged.name
            assert after["params"][own].tolist() == before["params"][own].tolist()
            differs = after["params"] != before["params"]
            moved |= set(before["criterion"][differs])
    # What is chosen for the others does change: without that, this test could not fail.
    assert len(moved) >= 4


def test_a_share_chooses_on_some_and_reports_the_rest() -> None:
    traces = [with_best_at(4 + place, f"run-{place}") for place in range(10)]
    raw = tune(traces, ["fixed", "patience"], 0.4, seed=3)
    reported = list(dict.fromkeys(raw["trace"]))
    assert len(reported) == 6
    assert raw.groupby("criterion")["params"].nunique().tolist() == [1, 1]
    assert tune(traces, ["fixed", "patience"], "0.4", seed=3).equals(raw)
    others = [judged for judged in traces if judged.name not in reported]
    means = {
        steps: regret(others, {"fixed": {"steps": steps}})["regret"].mean()
        for steps in CRITERIA["fixed"].grid["steps"]
    }
    assert chosen_steps(raw[raw["criterion"] == "fixed"])[reported[0]] == min(
        means, key=lambda steps: means[steps]
    )
    drawn = {
        tuple(dict.fromkeys(tune(traces, ["fixed"], 0.4, seed=seed)["trace"])) for seed in range(4)
    }
    assert len(drawn) > 1


def test_among_equals_fewer_steps_count_then_the_order() -> None:
    flat = [with_best_at(9, f"run-{place}") for place in range(3)]
    # Neither ever fires on 31 losses, so both are charged with the last step.
    assert set(
        chosen_steps(tune(flat, ["fixed"], grids={"fixed": {"steps": (90, 50)}})).values()
    ) == {90}
    # Regret |4 − 9| / 9 = |14 − 9| / 9, in fewer steps.
    assert set(
        chosen_steps(tune(flat, ["fixed"], grids={"fixed": {"steps": (15, 5)}})).values()
    ) == {5}


def test_traces_without_a_regret_have_no_say() -> None:
    never = with_best_at(0, "never")
    traces = [with_best_at(4, "a"), with_best_at(4, "b"), never]
    raw = tune(traces, ["fixed"], grids=GRID)
    assert chosen_steps(raw) == {"a": 5, "b": 5, "never": 5}
    assert raw["regret"].isna().tolist() == [False, False, True]


def test_a_grid_spans_all_combinations_with_defaults_for_the_rest() -> None:
    assert combinations("dvar", {"window": (5, 10), "threshold": (0.1, 0.2)}) == [
        {"window": 5, "threshold": 0.1},
        {"window": 5, "threshold": 0.2},
        {"window": 10, "threshold": 0.1},
        {"window": 10, "threshold": 0.2},
    ]
    assert combinations("dvar", {"window": (5,)}) == [{"window": 5, "threshold": 0.15}]


@pytest.mark.parametrize("how", ["leave-one", "0", "1", "1.5", "nan", "0.01", "0.99"])
def test_what_is_no_way_to_split_is_refused(how: str) -> None:
    traces = [with_best_at(4, "a"), with_best_at(9, "b")]
    with pytest.raises(UserError, match=f"--tune {how}: "):
        tune(traces, ["fixed"], how)


def test_one_trace_leaves_nothing_to_choose_on() -> None:
    with pytest.raises(UserError, match="two sources or more"):
        tune([with_best_at(4, "a")], ["fixed"])


def test_the_best_parameters_on_some_traces_are_those_chosen_for_another() -> None:
    traces = [with_best_at(best, f"best-{best}") for best in (4, 9, 12, 19)]
    chosen = best_parameters(traces[1:], ["fixed", "uprising"], grids=GRID)
    raw = tune(traces, ["fixed", "uprising"], grids=GRID)
    of_first = raw[raw["trace"] == "best-4"]
    assert chosen == dict(
        zip(of_first["criterion"], map(json.loads, of_first["params"]), strict=True)
    )


def test_what_cannot_be_chosen_is_refused_and_not_made_up() -> None:
    steps = np.arange(31, dtype=np.int64)
    flat = Judged(
        Series("flat", steps, np.exp(-steps / 5), "loss"),
        Series("flat", steps, np.ones(31), "judge"),
        False,
    )
    with pytest.raises(UserError, match="best-9 alone has a regret"):
        tune([with_best_at(9, "best-9"), flat], ["fixed"], grids=GRID)
    with pytest.raises(UserError, match="--min-gain nan"):
        tune([with_best_at(9, "best-9"), flat], ["fixed"], grids=GRID, min_gain=float("nan"))
