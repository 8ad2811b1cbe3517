"""The study of layouts: its evaluation agrees with the driver, its measures with their input."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.fixed_batch import evaluate, report
from noiseprobe.draws.factors import LAYOUTS, Layout
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.sweep import train_one


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_of_the_runs_own_seed_gives_its_l_det(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    monkeypatch.setattr(evaluate, "SIZES", (4, 8))
    monkeypatch.setattr(evaluate, "BATCHES", 2)
    monkeypatch.setattr(evaluate, "EXPECTED", 16)
    monkeypatch.setattr(evaluate, "FIRST_SEED", 0)
    config = resolve(given | {"seed": 1, "eval_batch": 4, "fixed_batch": layout})
    train_one(tmp_path / "run", config, 0)
    evaluate.evaluate_run(tmp_path / "run", config, 2, tmp_path / "found.parquet")
    found = pd.read_parquet(tmp_path / "found.parquet")
    recorded = Run.open(tmp_path / "run").train_trace().set_index("step")["l_det"]
    chosen = found[(found["layout"] == layout) & (found["size"] == 4) & (found["batch"] == 1)]
    assert chosen["step"].tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(chosen["l_det"], recorded.loc[chosen["step"]], rtol=1e-5)
    assert len(found) == 4 * (1 + 2 * 2 * len(LAYOUTS))


def curves(noise: dict[str, float], seed: int = 0) -> pd.DataFrame:
    """A falling expected loss, and batches that are off by as much noise as their layout has."""
    random = np.random.default_rng(seed)
    steps = np.arange(0, 301, 20)
    target = 0.1 * np.exp(-steps / 60)
    rows = [(step, "expected", 4096, 0, value) for step, value in zip(steps, target, strict=True)]
    for layout, scale in noise.items():
        for batch in range(6):
            values = 0.05 + target + random.normal(0, scale, len(steps))
            for size in (4, 8):
                rows += [(s, layout, size, batch, v) for s, v in zip(steps, values, strict=True)]
    return pd.DataFrame(rows, columns=["step", "layout", "size", "batch", "l_det"])


def of_one(noise: dict[str, float], seed: int = 0) -> pd.DataFrame:
    return report.by_batch(curves(noise, seed))


def test_a_curve_that_is_off_by_a_constant_alone_is_true() -> None:
    row = report.measures(of_one({"random": 0.0})).iloc[0]
    assert row["correlation"] == pytest.approx(1)
    assert row["error"] == pytest.approx(0, abs=1e-12)
    assert row["spread"] == 0
    assert row["offset"] == pytest.approx(0.05 / (0.1 * np.exp(-np.arange(0, 301, 20) / 60)).mean())


def test_the_layout_with_surely_less_spread_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SIZES", (4, 8))
    levels = {"random": 0.03, "stratified": 0.001, "antithetic": 0.03, "weighted": 0.01}
    for noise, best in ((levels, "stratified"), (dict.fromkeys(levels, 0.0), None)):
        tables = [of_one(noise, seed) for seed in range(12)]
        parts = [report.measures(table).reset_index() for table in tables]
        raw = pd.concat([part.assign(concept=str(seed)) for seed, part in enumerate(parts)])
        drawn = report.resampled(tables, 200)
        found = {name: raw.groupby(["layout", "size"])[name].mean() for name in drawn}
        for name, table in drawn.items():
            assert table.shape == (200, 8)
            low, high = table.quantile(0.001).dropna(), table.quantile(0.999).dropna()
            middle = found[name].dropna()
            assert ((low - 1e-9 <= middle) & (middle <= high + 1e-9)).all()
        assert report.winner(raw, drawn) == best
        text = report.report(raw, drawn)
        assert (f"Winner: `{best}`" if best else "`random` stays") in text


def test_one_set_of_batches_that_all_concepts_share_is_one_draw() -> None:
    # The same curves for all: more concepts tell no more of where other batches would have been.
    levels = {"random": 0.01, "stratified": 0.01, "antithetic": 0.01, "weighted": 0.01}
    alike = [of_one(levels, 0) for _ in range(12)]
    widths = [
        np.ptp(report.resampled(tables, 400)["spread"]["random", 4])
        for tables in (alike, alike[:1])
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.25)
    assert widths[0] > 0
