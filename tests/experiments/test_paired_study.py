"""The study of paired losses: it records the driver's own training, and measures what is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.paired import curves, record, report, stops
from experiments.paired.curves import Recorded
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start, train_stage
from noiseprobe.stopping import PairedLoss


def test_what_is_recorded_is_the_drivers_own_training(
    given: dict[str, Any], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"train_batch_size": 4, "eval_batch": 4, "fixed_batch": "stratified"}
    config = resolve(given | changes | {"track": ["paired"], "learning_rate": 0.05})
    small = {"STEPS": (0, 3, 6), "LAST": 6, "LAG": 4, "LAGS": (6,), "OVER": 2, "EXPECTED": 8}
    for name, value in (small | {"SIZES": (4,), "BATCHES": 1}).items():
        monkeypatch.setattr(record, name, value)
    monkeypatch.setattr(record, "settings_of", lambda method, folder: config)
    out = tmp_path / "textual-inversion" / "thing.parquet"
    out.parent.mkdir()
    record.record("textual-inversion", photographs, out)
    found = Recorded.read(out)

    run, ready = start(config, tmp_path / "run")
    train_stage(run, config, ready)
    trace = run.train_trace().set_index("step")
    np.testing.assert_allclose(found.losses["train"].mean(1), trace.loc[1:, "loss"], rtol=1e-5)
    np.testing.assert_allclose(found.paired.mean(1), trace.loc[1:, "paired"], atol=1e-6)
    np.testing.assert_allclose(found.losses["l_det"].mean(1), trace["l_det"], rtol=1e-5)
    assert found.steps["expected"].tolist() == [0, 3, 6]
    # Of the batch that meets the weights after 5 steps, also under those of 2 steps.
    assert found.steps["lagging"].tolist() == [5]
    assert not np.allclose(found.losses["lagging"], found.losses["start"][5])
    assert found.steps["antithetic"].tolist() == [0, 3]
    assert (found.times["antithetic"][:, 0] == found.times["antithetic"][:, 1]).all()
    np.testing.assert_allclose(
        found.losses["antithetic"][0], found.losses["antithetic start"][0], rtol=1e-5
    )


def made(noise: float = 0.0, seed: int = 0, rate: float = 60.0) -> Recorded:
    """A run whose loss falls by 0.1 (1 - e^(-step / rate)), whatever is drawn, but for noise."""
    random = np.random.default_rng(seed)

    def fallen(steps: Any) -> np.ndarray:
        gains = 0.1 * (1 - np.exp(-np.asarray(record.STEPS) / rate))
        return np.asarray(np.interp(steps, record.STEPS, gains))[:, None]

    every, known = np.arange(record.LAST), np.array(record.STEPS)
    thirds = every[::3]
    lags = np.array([step for step in every if record.lagging(int(step)) is not None])
    before = np.array([record.lagging(int(step)) for step in lags])
    times = random.integers(0, 1000, (record.LAST, 4))
    by_time = np.exp(-np.arange(1000) / 200)
    own = 0.5 + by_time[times] - by_time.mean()
    losses = {
        "train": own - fallen(every) + noise * random.normal(size=times.shape),
        "start": own,
        "l_det": 0.5 - fallen(np.arange(record.LAST + 1)) * np.ones(4),
        "lagging": own[lags] - fallen(before),
        "antithetic": 0.5 - fallen(thirds) * np.ones(4),
        "antithetic start": np.full((len(thirds), 4), 0.5),
        "expected": 0.5 - fallen(known) * np.ones(record.EXPECTED),
    }
    steps = {"train": every, "start": every, "lagging": lags, "antithetic": thirds}
    steps |= {"expected": known}
    for number in range(record.BATCHES):
        for size in record.SIZES:
            for layout in ("random", "stratified", "antithetic"):
                losses[f"{layout} {size} {number}"] = 0.7 - fallen(known) * np.ones(size)
    drawn = {"train": times, "expected": np.tile(np.arange(record.EXPECTED), (len(known), 1))}
    return Recorded(losses, steps, drawn)


def test_without_noise_only_what_looks_back_is_wrong() -> None:
    run = made()
    assert run.whole == pytest.approx(0.1 * (1 - np.exp(-5)))
    assert run.floor == pytest.approx(0, abs=1e-12)
    found = {str(row["curve"]): row for row in curves.errors(run)}
    for size in record.SIZES:
        for layout in ("random", "stratified", "antithetic", "weighted"):
            assert found[f"L_det {size} {layout}"]["error"] == pytest.approx(0, abs=1e-9)
    # The last batch has met the weights of one step before: at most a 60th of what is left.
    assert 0 < float(found["paired"]["error"]) < 1 / 60
    # A running mean of half-life 20 looks back 29 steps on average.
    assert float(found["paired"]["error"]) < float(found["paired EMA"]["error"]) < 29 / 60
    assert found["post-stratified"]["error"] == pytest.approx(found["paired EMA"]["error"], rel=0.2)
    assert found["lag alone"]["error"] == pytest.approx(found["paired EMA"]["error"])
    assert found["antithetic"]["error"] == pytest.approx(found["plain thirds"]["error"])
    assert float(found["timestep-adjusted"]["error"]) < float(found["raw EMA"]["error"])
    prices = {name: row["price"] for name, row in found.items()}
    assert (prices["raw"], prices["paired EMA"], prices["every 4th"]) == (0, 4, 1)


def test_the_running_mean_is_that_of_the_package() -> None:
    run = made(noise=0.1)
    paired = PairedLoss(curves.HALF_LIFE)
    for step, (now, first) in enumerate(
        zip(run.losses["train"], run.losses["start"], strict=True), start=1
    ):
        paired.update(now, first)
        assert curves.running(run.paired, run.steps["train"], step) == pytest.approx(paired.mean)


def test_post_stratification_takes_off_what_the_timestep_explains() -> None:
    random = np.random.default_rng(0)
    steps = np.arange(300)
    times = random.integers(0, 1000, (300, 4))
    values = (times // 100).astype(float)
    ends = range(100, 301, 10)
    apart = [curves.stratified(values, times, steps, end) for end in ends]
    np.testing.assert_allclose(apart, 4.5)
    assert np.std([curves.running(values, steps, end) for end in ends]) > 0.1


def test_the_interval_holds_what_it_estimates_as_often_as_it_says() -> None:
    found = pd.DataFrame([curves.coverage(made(noise=0.1, seed=seed)) for seed in range(20)])
    assert found["held"].mean() == pytest.approx(0.94, abs=0.03)
    shaky = curves.coverage(made(noise=0.1))
    assert shaky["se"] == pytest.approx(0.1 / np.sqrt(4 * 57.7) / made().whole, rel=0.2)


def test_a_stop_is_charged_with_the_gain_that_it_forgoes() -> None:
    run = made()
    found = stops.stop(run, "gain-interval", {"window": 20, "share": 0.1, "confidence": 0.5})
    assert found["fires"]
    left = 1 - run.gain_at(int(found["step"])) / run.whole
    assert found["forgone"] == pytest.approx(float(left))
    never = stops.stop(run, "dvar", {"window": 290, "threshold": 1e-9})
    assert never == {"step": 300, "forgone": pytest.approx(0), "fires": False}


def test_stretches_are_held_against_their_first_weights() -> None:
    run = made()
    told = -stops.stretches(run).mean(axis=1)
    assert len(told) == 6
    starts = [run.gain_at(end - record.LAG) for end in range(record.LAG, 301, record.LAG)]
    halves = [
        run.gain_at(np.arange(end - record.OVER, end)).mean() for end in range(record.LAG, 301, 50)
    ]
    np.testing.assert_allclose(told, np.array(halves) - np.array(starts), atol=0.05 * run.whole)


def test_the_earliest_of_those_that_forgo_little_is_chosen() -> None:
    runs = [made(rate=30), made(rate=60)]
    for name in stops.NAMES:
        params = stops.chosen(runs, name)
        own = [stops.stop(run, name, params) for run in runs]
        forgone, step = (np.mean([each[of] for each in own]) for of in ("forgone", "step"))
        assert forgone <= stops.ALLOWED
        for other in stops.grid(name):
            rival = [stops.stop(run, name, other) for run in runs]
            if np.mean([each["forgone"] for each in rival]) <= stops.ALLOWED:
                assert np.mean([each["step"] for each in rival]) >= step


def test_concepts_for_testing_are_none_that_anything_is_chosen_on() -> None:
    assert not set(record.choosing()) & set(record.testing())
    planned = record.planned()
    assert len(planned) == len(set(planned)) == 48
    assert len({name for _, name in planned[:8]}) == 2


def test_a_verdict_needs_both_or_one_without_the_other() -> None:
    rows = [
        {
            "method": method,
            "concept": concept,
            "criterion": name,
            "step": 100.0 - 20 * (name == "gain-interval") + place,
            "forgone": 0.05,
        }
        for method in report.METHODS
        for place, concept in enumerate(record.testing())
        for name in stops.NAMES
    ]
    said = report.verdict(pd.DataFrame(rows), "gain-interval")
    assert "gain-interval is better than dvar" in said
    assert "neither" in report.verdict(pd.DataFrame(rows), "recent-gain")
    worse = pd.DataFrame(rows)
    worse.loc[worse["criterion"] == "gain-interval", "forgone"] += 0.1
    assert "neither" in report.verdict(worse, "gain-interval")
