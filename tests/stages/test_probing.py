"""The probe: what it redraws, and everything that must not change what it finds."""

import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from noiseprobe.analysis import noise_to_signal
from noiseprobe.core.errors import Interrupted, UserError
from noiseprobe.core.progress import Silent
from noiseprobe.draws.draws import Batch
from noiseprobe.draws.factors import FACTORS, NAMED_SETTINGS, parse_settings
from noiseprobe.draws.sobol import SOBOL_ROWS, sobol_design
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import parts
from noiseprobe.run.verifying import findings
from noiseprobe.stages.pipeline import (
    design_stage,
    finish,
    prepare,
    probe_stage,
    reopen,
    start,
    train_stage,
)
from noiseprobe.stages.probing import evaluate, plan_rows, probe
from noiseprobe.stages.sharing import FOLDER, Sharing
from noiseprobe.stages.workers import in_processes
from noiseprobe.stopping import NonFiniteLossWarning
from noiseprobe.training.methods.textual_inversion import TextualInversion
from noiseprobe.training.objective import Objective
from tests.training.test_driver import InterruptAt, embedding
from tests.training.wrong import again, noise_of, plant

DRAWN = {"images": "image", "captions": "caption", "timesteps": "timestep"}


@pytest.fixture
def run(config: RunConfig, tmp_path: Path) -> Run:
    run, ready = start(config, tmp_path / "run")
    train_stage(run, config, ready)
    return run


def probed(run: Run, config: RunConfig, **more: Any) -> pd.DataFrame:
    ready = prepare(config)
    probe(run, ready.objective, ready.method, config, **more)
    return run.probe_trace()


def test_processes_that_share_the_checkpoints_find_what_one_does(
    run: Run, config: RunConfig, tmp_path: Path
) -> None:
    shutil.copytree(run.directory, tmp_path / "shared")
    shared = Run(tmp_path / "shared")
    alone = probed(run, config)
    (shared.directory / FOLDER).mkdir()  # as a killed one leaves it
    sharing, ready = Sharing(in_processes, 2, torch.get_num_threads()), prepare(config, shared)
    probe_stage(shared, config, ready, sharing=sharing)
    pd.testing.assert_frame_equal(shared.probe_trace(), alone)
    assert not (shared.directory / FOLDER).exists()
    assert [each for each in findings(shared) if each.wrong] == []
    (bad := shared.checkpoint(2) / "learned_embeds.safetensors").write_bytes(b"")
    more = config.model_copy(update={"replicates": 3})
    with pytest.raises(UserError, match=re.escape(bad.name)):
        probe_stage(shared, more, ready, sharing=sharing)
    trace = shared.probe_trace()
    added = trace[trace["replicate"] == 3]
    assert added["step"].unique().tolist() == [0, 4, 6]  # what the others found is kept


def test_every_row_of_the_design_is_there(run: Run, config: RunConfig) -> None:
    trace = probed(run, config)
    per_checkpoint = 3 + 6 * 2 * 3
    assert len(trace) == 4 * per_checkpoint
    assert trace["step"].unique().tolist() == [0, 2, 4, 6]
    assert trace["setting"].unique().tolist() == [setting.name for setting in NAMED_SETTINGS]
    fixed = trace["setting"] == "deterministic"
    assert set(trace["replicate"][fixed]) == {0}
    assert set(trace["replicate"][~fixed]) == {1, 2}
    assert np.isfinite(trace["loss"]).all()


def test_each_checkpoint_has_a_redraw_of_its_own_however_many_others_there_are(
    run: Run, config: RunConfig
) -> None:
    probed(run, config)
    seen = run.seen_trace()
    others = [setting.name for setting in NAMED_SETTINGS[1:]]
    assert sorted(seen["setting"].unique()) == sorted(others)
    assert (seen.groupby(["step", "setting"]).size() == 3).all()
    assert (seen["replicate"] - seen["step"]).nunique() == 1
    drawn = seen[seen["setting"] == "timesteps"].groupby("step")["timestep"].agg(tuple)
    assert drawn.nunique() == 4
    grown = probed(run, config.model_copy(update={"replicates": 3}))
    assert grown["replicate"].max() == 3
    pd.testing.assert_frame_equal(run.seen_trace(), seen)


def test_only_the_named_factor_changes_at_any_step_or_replicate(
    run: Run, config: RunConfig
) -> None:
    trace = probed(run, config)
    drawn = list(DRAWN.values())
    one_step = trace[trace["step"] == 0]
    for step in (2, 4, 6):
        other = trace[trace["step"] == step]
        assert one_step[drawn].to_numpy().tolist() == other[drawn].to_numpy().tolist()
    fixed = one_step[one_step["setting"] == "deterministic"].set_index("sample")[drawn]
    for setting in NAMED_SETTINGS[1:]:
        rows = one_step[one_step["setting"] == setting.name].set_index("sample")
        for factor, column in DRAWN.items():
            same = (rows[column] == fixed[column].loc[rows.index]).all()
            assert (factor in setting.redrawn) != same, (setting.name, factor)


def test_a_factor_moves_the_loss_only_where_it_is_redrawn(run: Run, config: RunConfig) -> None:
    trace = probed(run, config)
    means = trace.groupby(["step", "setting", "replicate"])["loss"].mean().unstack("setting")
    for factor in FACTORS:
        spread = means[factor].dropna().groupby("step").nunique()
        assert (spread == 2).all(), factor


def test_the_deterministic_setting_is_l_det_of_a_random_batch(
    given: dict[str, Any], tmp_path: Path
) -> None:
    config = resolve(given | {"eval_batch": 3, "probe_batch": 3, "fixed_batch": "random"})
    run, ready = start(config, tmp_path / "run")
    train_stage(run, config, ready)
    trace = probed(run, config)
    fixed = trace[trace["setting"] == "deterministic"].groupby("step")["loss"].mean()
    l_det = run.train_trace().set_index("step")["l_det"].loc[fixed.index]
    np.testing.assert_allclose(fixed, l_det, rtol=1e-5)


@pytest.mark.parametrize("micro_batch", [1, 4, 1000])
def test_how_rows_are_cut_changes_losses_by_rounding_alone(
    objective: Objective, method: TextualInversion, micro_batch: int
) -> None:
    draws = objective.draws(0, "probe", len(method.captions))
    rows = plan_rows(parse_settings(["deterministic", "noise", "original"]), 2, 3)
    one, other = (evaluate(objective, method, draws, rows, size) for size in (5, micro_batch))
    pd.testing.assert_frame_equal(one.drop(columns="loss"), other.drop(columns="loss"))
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=2e-5)


@pytest.mark.parametrize("captions", [["a photo of {}"], None], ids=["one", "several"])
def test_rows_whose_draws_coincide_are_evaluated_once(
    objective: Objective, method: TextualInversion, captions: list[str] | None
) -> None:
    if captions:
        method.captions = [captions[0].format("<v>")]
    draws = objective.draws(0, "probe", len(method.captions))
    rows = plan_rows(NAMED_SETTINGS, 8, 3)
    needed, every = rows.needed(draws), rows.batch(draws, slice(None))
    assert len(needed.samples) < len(rows) - (8 * 3 if captions else 0), "photographs come again"
    drawn = needed.batch(draws, slice(None))
    for each in fields(drawn):
        again = getattr(drawn, each.name)[needed.which]
        np.testing.assert_array_equal(again, getattr(every, each.name))
    distinct = {
        tuple(np.asarray(getattr(drawn, each.name)[row]).tobytes() for each in fields(drawn))
        for row in range(len(drawn))
    }
    assert len(distinct) == len(drawn)
    seen = list[int]()
    losses = objective.losses

    def counted(batch: Batch, *more: Any) -> torch.Tensor:
        seen.append(len(batch))
        return losses(batch, *more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(objective, "losses", counted)
        found = evaluate(objective, method, draws, rows, 64)
    assert sum(seen) == len(needed.samples)
    captioned = objective.captions(every, method.captions)
    with torch.no_grad():
        expected = losses(every, captioned)
    np.testing.assert_allclose(found["loss"], expected.numpy(), rtol=2e-5)


def test_checkpoints_can_be_probed_in_any_order(
    run: Run, config: RunConfig, tmp_path: Path
) -> None:
    forwards = probed(run, config)
    for part in parts(run.probe_directory):
        part.unlink()
    pd.testing.assert_frame_equal(probed(run, config, steps=[6, 0, 4, 2]), forwards)


def test_an_interrupted_probe_goes_on_with_what_is_missing(run: Run, config: RunConfig) -> None:
    with pytest.raises(Interrupted, match="1 of 4"):
        probed(run, config, reporter=InterruptAt(1))
    first = parts(run.probe_directory)
    kept = first[0].stat().st_mtime_ns
    resumed = probed(run, config)
    assert first[0].stat().st_mtime_ns == kept
    for part in parts(run.probe_directory):
        part.unlink()
    pd.testing.assert_frame_equal(probed(run, config), resumed)


def test_batches_that_grew_at_some_checkpoints_only_are_read_at_the_size_that_all_have(
    run: Run, config: RunConfig
) -> None:
    before, seen = probed(run, config), run.seen_trace()
    larger = config.model_copy(update={"probe_batch": 5})
    with pytest.raises(Interrupted, match="1 of 4"):
        probed(run, larger, reporter=InterruptAt(1))
    pd.testing.assert_frame_equal(run.probe_trace(), before)
    pd.testing.assert_frame_equal(run.seen_trace(), seen)
    assert set(probed(run, larger)["sample"]) == set(range(5))


def test_two_runs_with_one_seed_have_byte_identical_probe_traces(
    run: Run, config: RunConfig, tmp_path: Path
) -> None:
    probed(run, config)
    twin, ready = start(config, tmp_path / "twin")
    train_stage(twin, config, ready)
    probed(twin, config)
    ours, theirs = parts(run.probe_directory), parts(twin.probe_directory)
    assert [part.read_bytes() for part in ours] == [part.read_bytes() for part in theirs]


def test_probing_between_two_halves_of_training_changes_no_weight(
    given: dict[str, Any], run: Run, tmp_path: Path
) -> None:
    short = resolve(given | {"steps": 2})
    half, ready = start(short, tmp_path / "half")
    train_stage(half, short, ready)
    probe_stage(half, short, ready)
    half, config = reopen(half.directory, {"steps": 6})
    train_stage(half, config, ready)
    assert embedding(half, 6) == embedding(run, 6)


def test_probing_leaves_the_random_state_of_torch_alone(run: Run, config: RunConfig) -> None:
    ready = prepare(config)
    before = torch.get_rng_state()
    probe(run, ready.objective, ready.method, config)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_probe_settings_add_to_what_was_measured(
    run: Run, config: RunConfig, tmp_path: Path
) -> None:
    few = config.model_copy(update={"settings": ("noise", "deterministic"), "replicates": 1})
    first = probed(run, few)
    ready = prepare(config)
    for given in (
        {"replicates": 2},  # of the same settings
        {"settings": "timesteps", "probe_batch": 4},  # all grow to 4 samples
        {"settings": "deterministic"},  # which is there
    ):
        again, asked = reopen(run.directory, {"settings": few.settings, "replicates": 1} | given)
        probe_stage(again, asked, ready)
    trace = run.probe_trace()
    redraws = trace.groupby("setting")["replicate"].unique().map(sorted).to_dict()
    assert redraws == {"deterministic": [0], "noise": [1, 2], "timesteps": [1]}
    assert (trace.groupby(["step", "setting", "replicate"])["sample"].nunique() == 4).all()
    assert {"deterministic", "noise", "timesteps"} <= set(run.config.settings)
    assert (run.config.replicates, run.config.probe_batch) == (2, 4)
    key = ["step", "setting", "replicate", "sample"]
    pd.testing.assert_series_equal(
        trace.set_index(key)["loss"].loc[first.set_index(key).index],
        first.set_index(key)["loss"],
        check_exact=True,
    )
    # The losses are those of one probe for all of it.
    twin = Run.create(tmp_path / "twin", config, "cpu")
    train_stage(twin, config, prepare(config))
    at_once = {"settings": ("noise", "deterministic", "timesteps"), "probe_batch": 4}
    probe_stage(twin, config.model_copy(update=at_once), prepare(config))
    whole = twin.probe_trace().set_index(key)["loss"]
    ours = trace.set_index(key)["loss"]
    np.testing.assert_allclose(ours, whole.loc[ours.index], rtol=2e-5)


def test_a_probe_that_cannot_begin_leaves_all_as_it_was(
    call: Any, run: Run, config: RunConfig
) -> None:
    probed(run, config)
    files = [run.directory / "config.toml", *parts(run.probe_directory)]
    before = [file.read_bytes() for file in files]
    code, _, err = call("probe", run.directory, "--replicates", 4, "--device", "nowhere")
    assert (code, err.count("\n")) == (2, 1), err
    assert [file.read_bytes() for file in files] == before
    assert len(parts(run.probe_directory)) == 4


def test_figures_are_those_of_the_data_that_is_there(
    call: Any, run: Run, config: RunConfig
) -> None:
    assert call("probe", run.directory)[0] == 0
    assert call("analyze", run.directory)[0] == 0
    figures = {path.name: path.read_bytes() for path in run.figures_directory.glob("*.svg")}
    assert {"8-needed-batch.svg", "9-loss-by-timestep.svg"} <= figures.keys()
    stale = run.figures_directory / "6-samples.png"
    stale.write_bytes(b"of pictures that are there no more")
    assert call("probe", run.directory, "--replicates", 3)[0] == 0
    changed = {
        path.name
        for path in run.figures_directory.glob("*.svg")
        if path.read_bytes() != figures.get(path.name)
    }
    assert {"2-settings.svg", "4-noise-to-signal.svg", "8-needed-batch.svg"} <= changed
    assert not stale.exists()
    assert Run.open(run.directory).status["probe_seconds"] > 0


def test_the_time_of_an_interrupted_probe_counts(run: Run, config: RunConfig) -> None:
    with pytest.raises(Interrupted):
        probe_stage(run, config, prepare(config), InterruptAt(1))
    assert run.status["probe_seconds"] > 0


def test_where_memory_is_short_fewer_samples_go_at_once_which_is_said_once(
    objective: Objective, method: TextualInversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = objective.draws(0, "probe", len(method.captions))
    rows = plan_rows(parse_settings(["noise"]), 3, 8)
    expected = evaluate(objective, method, draws, rows, 2)
    losses, told, sizes = objective.losses, list[str](), list[int]()

    def small(batch: Batch, *told: Any) -> torch.Tensor:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(batch))
        return losses(batch, *told)

    class Listening(Silent):
        def note(self, message: str) -> None:
            told.append(message)

    monkeypatch.setattr(objective, "losses", small)
    found = evaluate(objective, method, draws, rows, 16, Listening())
    assert max(sizes) == 2
    assert len(told) == 1
    assert "8 samples at once, not 16" in told[0]
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=2e-5)


def test_an_error_in_the_draws_reaches_the_caller(
    objective: Objective, method: TextualInversion
) -> None:
    draws = objective.draws(0, "probe", len(method.captions))
    rows = plan_rows(parse_settings(["noise"]), 1, 4)
    broken = type(rows)(rows.settings, rows.replicates, rows.samples - 3)
    with pytest.raises(ValueError, match=r"negative|must be"):
        evaluate(objective, method, draws, broken, 2)


def test_the_whole_pipeline_summarises_what_it_did(config: RunConfig, tmp_path: Path) -> None:
    run, ready = start(config, tmp_path / "run")
    summary = finish(run, config, ready)
    assert set(summary["noise_to_signal"]) == set(FACTORS)
    # A batch of so few samples may not tell; then there is no number, and a bound alone.
    intervals = summary["noise_to_signal_interval"]
    assert set(intervals) == set(FACTORS)
    for factor, value in summary["noise_to_signal"].items():
        assert value is None or value > 0
        assert value is None or intervals[factor][0] < value < intervals[factor][1]
    assert all(Path(figure).stat().st_size > 1000 for figure in summary["figures"])
    assert summary == run.summary()
    assert run.status["stage"] == "done"


def small_design(run: Run) -> tuple[Run, RunConfig]:
    return reopen(run.directory, {"design_replicates": 2, "design_batch": 3})


def test_every_row_of_a_sobol_design_is_there_with_finite_losses(run: Run) -> None:
    run, config = small_design(run)
    design_stage(run, config, prepare(config))
    trace = run.sobol_trace()
    assert len(trace) == 4 * len(SOBOL_ROWS) * 2 * 3
    assert set(trace["setting"]) == set(SOBOL_ROWS)
    assert set(trace["replicate"]) == {1, 2}
    assert np.isfinite(trace["loss"]).all()
    assert run.probe_trace().empty


def test_a_design_has_the_losses_of_its_rows_evaluated_one_by_one(
    objective: Objective, method: TextualInversion
) -> None:
    draws = objective.draws(0, "probe", len(method.captions))
    found = evaluate(objective, method, draws, sobol_design(draws, 2, 3), 5)
    found = found.set_index(["setting", "replicate", "sample"]).sort_index()
    original = evaluate(objective, method, draws, plan_rows(parse_settings(["original"]), 4, 3), 5)
    original = original.set_index(["replicate", "sample"])
    for pair in (1, 2):
        for row, replicate in (("A", 2 * pair - 1), ("B", 2 * pair)):
            ours = found.query(f"setting == '{row}' and replicate == {pair}")
            theirs = original.query(f"replicate == {replicate}")
            np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=2e-5)
            assert ours["timestep"].tolist() == theirs["timestep"].tolist()
    timestep, caption = found["timestep"].unstack("setting"), found["caption"].unstack("setting")
    assert (timestep["AB_timesteps"] == timestep["B"]).all()
    assert (timestep["BA_timesteps"] == timestep["A"]).all()
    assert (caption["AB_timesteps"] == caption["A"]).all()


def test_the_model_sees_each_draw_of_a_design_once(
    objective: Objective, method: TextualInversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = objective.draws(0, "probe", 1)
    monkeypatch.setattr(type(method), "captions", property(lambda _: ["a photo"]), raising=False)
    seen: list[int] = []
    losses = objective.losses

    def counted(batch: Batch, *told: Any) -> torch.Tensor:
        seen.append(len(batch.noise))
        return losses(batch, *told)

    monkeypatch.setattr(objective, "losses", counted)
    design = sobol_design(draws, 3, 4)
    trace = evaluate(objective, method, draws, design, 8)
    # With one caption, AB_captions is A and BA_captions is B.
    assert sum(seen) == len(design.evaluated) <= len(trace) - 2 * 3 * 4
    wide = trace.pivot(index=["replicate", "sample"], columns="setting", values="loss")
    assert (wide["AB_captions"] == wide["A"]).all()
    assert (wide["BA_captions"] == wide["B"]).all()


def test_an_interrupted_design_goes_on_and_grows(run: Run) -> None:
    run, config = small_design(run)
    with pytest.raises(Interrupted, match=r"1 of 4 .* --design sobol"):
        design_stage(run, config, prepare(config), InterruptAt(1))
    (first,) = parts(run.sobol_directory)
    kept = first.stat().st_mtime_ns
    run, config = reopen(run.directory, {})
    design_stage(run, config, prepare(config))
    assert first.stat().st_mtime_ns == kept
    assert len(parts(run.sobol_directory)) == 4
    before = run.sobol_trace().set_index(["step", "setting", "replicate", "sample"])["loss"]
    run, config = reopen(run.directory, {"design_replicates": 3, "design_batch": 4})
    design_stage(run, config, prepare(config))
    after = run.sobol_trace().set_index(["step", "setting", "replicate", "sample"])["loss"]
    assert len(after) == 4 * len(SOBOL_ROWS) * 3 * 4
    assert (after.loc[before.index] == before).all()


def test_a_loss_of_the_probe_that_is_not_finite_is_named_reproduced_or_left_out(
    run: Run, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sample 1 has this noise wherever noise is not redrawn, sample 2 in one redraw alone.
    plant(monkeypatch, noise_of(config, (0, 1), (1, 2), stream="probe"))
    with pytest.raises(UserError) as error:
        probed(run, config)
    told = str(error.value)
    assert "checkpoint 0 are not finite, the first in setting deterministic, replicate 0" in told
    assert "sample 1 (photograph '0" in told
    assert "loss=nan" in again(told)
    assert "\n" not in told
    assert not parts(run.probe_directory)
    ready, skipping = prepare(config), config.model_copy(update={"on_nan": "skip"})
    probe(run, ready.objective, ready.method, skipping)
    with pytest.warns(NonFiniteLossWarning, match="1 of 3 samples are left out"):
        trace = run.probe_trace()
    assert sorted(trace["sample"].unique()) == [0, 2]
    wrong = trace[trace["loss"].isna()]
    assert set(wrong["setting"]) == {"noise", "original"}
    assert set(zip(wrong["replicate"], wrong["sample"], strict=True)) == {(1, 2)}
    # Of two samples the spread over redraws is known where two redraws are left, and no less.
    found = noise_to_signal(trace)["noise"]
    assert found.isna().to_dict() == {
        setting.name: setting.name in ("noise", "original") for setting in NAMED_SETTINGS[1:]
    }
