"""The study of other trainers' validation: what it records, measures and decides."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.recipes import measures, record, report
from experiments.recipes.__main__ import write_results
from experiments.recipes.record import EXPECTED, Design
from noiseprobe.draws.factors import TRAINERS
from noiseprobe.run.defaults import METHODS
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve

STEPS = np.arange(0, 301, 25)
FALL = np.exp(-STEPS / 80)


def test_a_runs_own_seed_gives_its_l_det_and_the_report_is_made_of_the_files(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(
        given
        | {"seed": record.TRAINING_SEED, "steps": 2, "fixed_batch": "ai-toolkit"}
        | {"eval_batch": None, "learning_rate": 0.1}
    )
    monkeypatch.setattr(record, "FIRST_SEED", config.seed)
    file = record.file_of(tmp_path / "out", config.method, "thing")
    design = Design(steps=2, every=2, expected=16, draws=2)
    record.record(tmp_path / "run", config, design, file)
    found = pd.read_parquet(file)
    l_det = Run.open(tmp_path / "run").train_trace().set_index("step")["l_det"]
    own = found[(found["layout"] == "ai-toolkit") & (found["draw"] == 0)]
    assert own["step"].tolist() == [0, 2]
    np.testing.assert_allclose(own["loss"], l_det.loc[own["step"]], rtol=1e-5)
    assert len(found) == 2 * (1 + 2 * (len(record.OURS) + len(TRAINERS)))
    passes = found.groupby("layout")["passes"].first()
    assert passes[["kohya", "simpletuner", "mlperf", EXPECTED]].tolist() == [16, 112, 8, 16]
    assert found[found["layout"] == EXPECTED]["se"].gt(0).tolist() == [False, True]

    write_results(tmp_path / "out", tmp_path / "results")
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "from 1 of 24 planned runs" in text
    assert "Nothing is decided from fewer than 4 concepts" in text
    for trainer in TRAINERS:
        assert f"| {trainer} |" in text
    assert (tmp_path / "results" / "figures" / "recipes.png").is_file()


def of_curves(curves: np.ndarray, passes: int = 4) -> dict[str, float]:
    return measures.measures(np.atleast_2d(curves), FALL, STEPS, passes, FALL[0] - FALL[-1])


def test_a_curve_that_is_off_by_a_constant_alone_is_true() -> None:
    found = of_curves(np.stack([FALL + 0.3, FALL - 0.2]))
    for name in ("error", "bias", "noise", "scaled", "pick"):
        assert found[name] == pytest.approx(0, abs=1e-12)
    assert found["rank"] == pytest.approx(1)
    # Evaluated at every step as 4 passes allow, nothing is stale; at every 4th, something is.
    assert found["budget 4"] == pytest.approx(0, abs=1e-12)
    assert found["budget 1"] > 1e-5


def test_what_all_seeds_share_is_bias_and_what_they_differ_in_is_noise() -> None:
    gain = FALL[0] - FALL[-1]
    off = 0.1 * gain * (STEPS > 0)
    biased = of_curves(np.stack([FALL + off] * 4))
    assert biased["error"] == pytest.approx(biased["bias"]) == pytest.approx(0.01)
    noisy = of_curves(np.stack([FALL + off, FALL - off]))
    assert noisy["error"] == pytest.approx(0.01)
    assert noisy["noise"] == pytest.approx(0.02)  # of two values ±0.1, divided by n - 1
    random = np.random.default_rng(0)
    mixed = of_curves(FALL + off + 0.2 * random.normal(size=(4, len(STEPS))))
    assert mixed["error"] == pytest.approx(mixed["bias"] + mixed["noise"])


def test_the_expected_bias_of_noise_alone_is_none() -> None:
    random = np.random.default_rng(0)
    curves = FALL + 0.1 * random.normal(size=(200, 4, len(STEPS))) * (STEPS > 0)
    found = pd.DataFrame([of_curves(each) for each in curves])
    assert abs(found["bias"].mean()) < 3 * found["bias"].std() / math.sqrt(200)


def test_a_curve_in_other_units_has_the_right_shape() -> None:
    found = of_curves(np.stack([3 * FALL] * 2))
    assert found["scaled"] == pytest.approx(0, abs=1e-12)
    expected = 4 * ((FALL - 1) ** 2)[1:].mean() / (FALL[0] - FALL[-1]) ** 2
    assert found["error"] == pytest.approx(expected)
    against = of_curves(np.stack([-FALL] * 2))  # no factor helps: it stays at 0
    assert against["scaled"] == pytest.approx(expected / 4)
    assert against["rank"] == pytest.approx(-1)
    assert against["pick"] == pytest.approx(1)


def test_a_curve_that_is_never_evaluated_again_misses_the_whole_change() -> None:
    found = of_curves(np.stack([FALL] * 2), passes=1000)
    at = np.interp(np.arange(1, 301), STEPS, FALL) - 1
    assert found["budget 1"] == pytest.approx((at**2).mean() / (FALL[0] - FALL[-1]) ** 2)


def made(noise: dict[str, float], names: list[str]) -> pd.DataFrame:
    """Runs whose layouts are off by as much noise as is said: in each, by multiples of the same."""
    rows = []
    for number, name in enumerate(names):
        for method in METHODS:
            own = (name, method)
            rows += [
                (*own, step, EXPECTED, 0, 8, value, 0.001)
                for step, value in zip(STEPS, FALL, strict=True)
            ]
            for layout, scale in noise.items():
                random = np.random.default_rng([number, METHODS.index(method)])
                for draw in range(4):
                    values = FALL + random.normal(0, scale, len(STEPS)) * (STEPS > 0)
                    rows += [
                        (*own, step, layout, draw, 1, value, np.nan)
                        for step, value in zip(STEPS, values, strict=True)
                    ]
    columns = ["concept", "method", "step", "layout", "draw", "passes", "loss", "se"]
    return pd.DataFrame(rows, columns=columns)


def test_a_layout_is_better_or_worse_where_the_interval_says_so() -> None:
    noise = {report.REFERENCE: 0.1, "kohya": 0.01, "onetrainer": 0.5, "mlperf": 0.1}
    table = measures.measured(made(noise, record.concepts()))
    text = report.report(table)
    assert f"Surely better than `{report.REFERENCE}` at equal compute: kohya" in text
    assert f"Surely worse than `{report.REFERENCE}` at equal compute: onetrainer" in text
    assert "Not surely either: mlperf." in text
    errors = report.summary(table, "error")
    for layout, scale in noise.items():
        low, high = errors.loc[[layout], ["low", "high"]].to_numpy()[0]
        expected = scale / (FALL[0] - FALL[-1])
        assert low * 0.8 < expected < high * 1.2
    few = measures.measured(made(noise, record.concepts()[:3]))
    assert "Nothing is decided" in report.report(few)


def test_no_two_runs_share_a_seed_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Objective:
        def draws(self, seed: int, stream: str, captions: int) -> int:
            seen.append(seed)
            return seed

    class Ready:
        objective = Objective()
        method = type("Method", (), {"captions": ("a",)})

    batch = type("Fixed", (), {"batch": None})
    monkeypatch.setattr(record, "fixed_batch", lambda *_: batch)
    used = []
    for number, _ in enumerate(record.concepts()):
        for method in METHODS:
            config = resolve({"method": method, "seed": record.TRAINING_SEED + number})
            seen.clear()
            record.evaluated(Ready(), config, Design())  # type: ignore[arg-type]
            used.append(set(seen))
    assert all(len(each) == 5 for each in used)
    assert len(set.union(*used)) == 5 * len(used)
