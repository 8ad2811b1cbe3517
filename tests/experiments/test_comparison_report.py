"""The comparison's report says what its runs say, whichever way that is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.comparison.confirming import (
    Round,
    confirmed,
    first_round,
    second_round,
    taken,
    write_confirmed,
)
from experiments.comparison.report import QUIET, by_factor, claims, report, write_report
from experiments.comparison.runs import (
    WIDELY,
    comparison_sweep,
    confirming_sweep,
    others,
    tuning_sweep,
)
from experiments.comparison.tuning import write_tuning
from experiments.curves import Curves
from experiments.tiny_sd.concepts import tuned
from noiseprobe.analysis.comparison import table
from noiseprobe.draws.factors import FACTORS, NAMED_SETTINGS, Layout
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.traces import METRICS_COLUMNS, PROBE_COLUMNS, TRAIN_COLUMNS, write_part
from noiseprobe.stages.sweep import Sweep

STEPS = 120


def made(out: Path, concept: str, plateau: int) -> Run:
    """A run whose L_det falls and whose similarity rises up to a step; captions are quiet."""
    config = resolve({"concept": concept, "window": 20, "threshold": 0.15, "steps": STEPS})
    run = Run.create(out / concept, config, "cpu")
    steps = np.arange(STEPS + 1)
    reached = np.minimum(steps / plateau, 1)
    random = np.random.default_rng(plateau)
    train = pd.DataFrame(
        {"step": steps, "l_det": 1 - reached / 2 + 1e-4 * random.random(len(steps))}
    )
    train = train.reindex(columns=[*TRAIN_COLUMNS])
    train["loss"] = random.random(len(steps))
    train["grad_norm"] = random.random(len(steps))
    train["seconds"], train["l_det_seconds"], train["check_seconds"] = steps * 1.0, 0.0, 0.0
    train["clip_img"] = np.where(steps % 15 == 0, 0.3 + reached / 3, np.nan)
    write_part(run.train_directory, TRAIN_COLUMNS, train)
    rows = []
    for step in range(0, STEPS + 1, 30):
        run.checkpoint(step).mkdir(parents=True)
        level = 1 - min(step / plateau, 1) / 2
        for setting in NAMED_SETTINGS:
            spread = 0.01 if setting.name in ("captions", "vae_noise") else 2.0
            for replicate in range(1, 4) if setting.redrawn else [0]:
                shift = spread * replicate if setting.redrawn else 0.0
                rows += [
                    (step, setting.name, replicate, sample, 0, 0, 400 * sample, level + shift)
                    for sample in range(3)
                ]
        metrics = {"train_clip_img": 0.5, "val_clip_img": 0.4 + min(step / plateau, 1) / 10}
        values = [
            {"step": step, "metric": name, "value": value}
            for name, value in (metrics | {"val_clip_txt": 0.2}).items()
        ]
        write_part(run.metrics_directory, METRICS_COLUMNS, values)
    write_part(run.probe_directory, PROBE_COLUMNS, pd.DataFrame(rows, columns=[*PROBE_COLUMNS]))
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    names = [*others()[:2], tuned()[0]]
    (tmp_path / "photographs").mkdir()
    return [made(tmp_path / "runs", name, 20 + 10 * i) for i, name in enumerate(names)]


def test_the_report_is_over_the_concepts_that_nothing_was_chosen_on(
    runs: list[Run], tmp_path: Path
) -> None:
    write_report(runs, tmp_path / "results")
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "(textual-inversion: 2)" in text
    assert "| textual-inversion | DVAR | 2 |" in text
    raw = pd.read_csv(tmp_path / "results" / "runs.csv")
    assert len(raw) == 2 * 4
    assert tuned()[0] not in set(raw["concept"])
    for name in ("stops.png", "correlation.svg"):
        assert (tmp_path / "results" / "figures" / name).stat().st_size > 1000


def verdicts(lines: list[str], start: str) -> list[str]:
    found = [line for line in lines if line.startswith(f"- **{start}")]
    return [line.rsplit(": ", 1)[1] for line in found]


def test_a_verdict_follows_the_numbers(runs: list[Run], tmp_path: Path) -> None:
    write_report(runs, tmp_path)
    raw = pd.read_csv(tmp_path / "runs.csv")
    told = pd.read_csv(tmp_path / "correlations.csv")
    noise = by_factor(
        pd.DataFrame(
            [
                {"method": "textual-inversion", "concept": concept, "setting": factor}
                | {"noise_to_signal": (0.1 if factor in QUIET else 10) * (1 + place / 10)}
                for place, concept in enumerate(raw["concept"].unique())
                for factor in FACTORS
            ]
        )
    )
    summary = table(raw)
    lines = claims(raw, summary, noise, told)
    assert verdicts(lines, "captions") == verdicts(lines, "timesteps") == ["holds."]
    assert verdicts(lines, "DVAR") == ["holds."]
    assert verdicts(lines, "L_det tells") == ["holds."]
    turned = noise.assign(**{factor: 1 / noise[factor] for factor in FACTORS})
    worse = summary.assign(val_clip_img=summary["step"] / 1000, step=100.0)
    told = told.assign(rho=-told["rho"])
    lines = claims(raw, worse, turned, told)
    assert verdicts(lines, "captions") == verdicts(lines, "timesteps") == ["does not hold."]
    assert verdicts(lines, "DVAR") == ["does not hold."]
    assert verdicts(lines, "L_det tells") == ["does not hold."]
    unknown = turned.assign(timesteps=[np.nan, *turned["timesteps"][1:]])
    assert verdicts(claims(raw, worse, unknown, told), "timesteps") == ["does not hold."]
    assert "noise_to_signal/METHODS.md" in report(raw, worse, turned, told)


def test_the_sweeps_hold_the_runs_that_the_comparison_is_of(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    sweep = comparison_sweep(tmp_path, 2)
    methods = [config.method for config in sweep.runs.values()]
    assert {method: methods.count(method) for method in methods} == dict.fromkeys(WIDELY, 36) | {
        "dreambooth": 12
    }
    assert {Path(config.concept).name for config in sweep.runs.values()} == set(others())
    assert {config.eval_every > 1 for config in sweep.runs.values()} == {True}, "as by default"
    assert {each.eval_every for each in tuning_sweep(tmp_path, 2, "random").runs.values()} == {1}
    for_choosing = {
        Path(config.concept).name for config in tuning_sweep(tmp_path, 2, "random").runs.values()
    }
    assert for_choosing == set(tuned())
    assert not for_choosing & set(others())
    assert len(others()) == 36
    for_confirming = confirming_sweep(tmp_path, 2, "stratified").runs.values()
    assert {config.fixed_batch for config in for_confirming} == {"stratified"}
    assert not for_choosing & {Path(config.concept).name for config in for_confirming}


@pytest.mark.parametrize(
    ("layout", "file"), [("random", "TUNING.md"), ("stratified", "TUNING-stratified.md")]
)
def test_the_tuning_says_what_it_picks(
    runs: list[Run], tmp_path: Path, layout: Layout, file: str
) -> None:
    write_tuning(Sweep({run.directory: run.config for run in runs}), layout, tmp_path)
    text = (tmp_path / file).read_text()
    assert "## textual-inversion" in text
    assert "3 concepts, 120 steps" in text
    assert "Picked: window " in text


def risen(plateaus: list[int]) -> Curves:
    """L_det and similarity that change in a straight line up to a step, and no more."""
    steps = np.arange(STEPS + 1)
    reached = pd.DataFrame([np.minimum(steps / plateau, 1) for plateau in plateaus])
    return Curves(1 - reached / 2, 0.3 + reached.loc[:, ::15] / 3)


def test_what_a_stop_keeps_is_its_share_of_the_whole_gain() -> None:
    curves = risen([40, 60, 80])
    late = confirmed(curves, 20, 0.001)
    assert late.fires == late.concepts == 3
    assert late.kept == pytest.approx(1)
    assert late.qualifies
    early = confirmed(curves, 20, 0.9)
    gains = [curves.stops(20, 0.9)[row] / plateau for row, plateau in enumerate([40, 60, 80])]
    assert early.kept == pytest.approx(np.mean(np.minimum(gains, 1)), abs=0.02)
    assert early.low < early.kept < early.high
    assert early.median < late.median
    never = confirmed(risen([1000, 1000]), 60, 0.001)
    assert (never.fires, never.median, never.kept) == (0, STEPS, 1)
    assert not never.qualifies


def test_the_soonest_that_keeps_enough_is_taken() -> None:
    curves = risen([40, 60, 80])
    late, later, early = (confirmed(curves, *cell) for cell in ((20, 0.01), (50, 0.01), (20, 0.9)))
    assert taken({"later": later, "late": late, "early": early}) == "late"
    worse = confirmed(curves, 10, 0.95)
    assert worse.kept < early.kept < 0.9
    assert taken({"worse": worse, "early": early}) == "early"


def test_confirming_sets_both_candidates_beside_each_other(runs: list[Run], tmp_path: Path) -> None:
    seen, other = Sweep({run.directory: run.config for run in runs[2:]}), runs[:2]
    sweep = Sweep({run.directory: run.config for run in other})
    first = first_round(seen, sweep, "stratified")
    assert first.unsettled == []
    write_confirmed([first], "stratified", tmp_path)
    lines = (tmp_path / "CONFIRMED-stratified.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| textual-inversion |")]
    assert "| comparison | 120 | 0.4 | 0 of 2 | 120 |" in rows[0]
    assert "| stratified pick | 20 | " in rows[1]
    assert [row.endswith("| yes |") for row in rows] == [False, True]


def test_what_keeps_too_little_is_picked_anew_on_all_seen(runs: list[Run], tmp_path: Path) -> None:
    sweeps = [Sweep({run.directory: run.config}) for run in runs]
    never = {"textual-inversion": {"comparison": (120, 0.001)}}
    first = Round.of(never, sweeps[0])
    assert first.unsettled == ["textual-inversion"]
    second = second_round(first, sweeps[:2], sweeps[2])
    (cells,) = second.candidates.values()
    assert cells["taken above"] == (120, 0.001)
    rows = second.rows["textual-inversion"]
    assert (rows["taken above"].fires, rows["picked anew"].fires) == (0, 1)
    write_confirmed([first, second], "stratified", tmp_path)
    text = (tmp_path / "CONFIRMED-stratified.md").read_text()
    assert text.count("| yes |") == 2
    assert "## Picked anew" in text
