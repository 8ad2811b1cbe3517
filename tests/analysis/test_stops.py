"""Stopping does not change what happens before it: one run that goes on answers for every rule."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import start, train_stage
from noiseprobe.stopping import Patience, dvar_stops, outcome

RULES = {
    "steps": 20,
    "window": 4,
    "threshold": 0.6,
    "clip": "tiny-clip",
    "check_every": 3,
    "patience": 2,
    "eps": 0.01,
    "samples": 2,
    "sampling_steps": 2,
    "checkpoint_every": 7,
}
METHODS: dict[str, dict[str, Any]] = {
    "textual-inversion": {"learning_rate": 0.02},
    "dreambooth": {"learning_rate": 1e-4},
    "dreambooth-lora": {"learning_rate": 1e-3},
    "custom-diffusion": {"learning_rate": 1e-3, "num_class_images": 3},
}


def trained(given: dict[str, Any], out: Path) -> tuple[Run, Any]:
    run, ready = start(resolve(given), out)
    train_stage(run, run.config, ready)
    return run, ready.method


@pytest.fixture(scope="module", params=METHODS)
def baseline(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    model_directory: Path,
    photographs: Path,
) -> tuple[dict[str, Any], Run, Any]:
    """What a run that no rule stops was given, and the run."""
    given = RULES | METHODS[request.param]
    given |= {"method": request.param, "model": str(model_directory), "concept": str(photographs)}
    given |= {"class_noun": "dog", "device": "cpu", "eval_batch": 3, "train_batch_size": 2}
    given |= {"eval_every": 1}
    out = tmp_path_factory.mktemp("baseline") / "run"
    run, method = trained(given | {"stop": "none", "checks": True}, out)
    return given, run, method


def replayed(run: Run, rule: str) -> int:
    """The step at which a rule would have stopped the run, from its trace."""
    trace, config = run.train_trace(), run.config
    if rule == "fixed":
        return 7
    if rule == "dvar":
        (stop,) = dvar_stops(trace["l_det"], config.window, [config.threshold])
        assert stop is not None
        return int(trace["step"][stop])
    checks = trace.dropna(subset="clip_img")
    clip = Patience(config.patience, min_delta=config.eps)
    index = outcome(clip, -checks["clip_img"]).stop_index
    assert index is not None
    return int(checks["step"].iloc[index])


@pytest.mark.parametrize("rule", ["fixed", "dvar", "clip"])
def test_a_run_that_a_rule_stops_has_the_weights_of_the_baseline_at_that_step(
    baseline: tuple[dict[str, Any], Run, Any], tmp_path: Path, rule: str
) -> None:
    given, whole, method = baseline
    step = replayed(whole, rule)
    assert 0 < step < given["steps"], "the rule must fire early for this to show anything"
    assert step in whole.checkpoint_steps()
    chosen = {"stop": rule} | ({"steps": step} if rule == "fixed" else {})
    others = {"clip": ("window", "threshold"), "dvar": ("patience", "eps")}.get(rule, ())
    own = {key: value for key, value in given.items() if key not in others}
    stopped, _ = trained(own | chosen, tmp_path / rule)
    assert stopped.status["step"] == step == int(stopped.train_trace()["step"].max())
    assert stopped.status["stopped_by"] == ("steps" if rule == "fixed" else rule)
    theirs = method.read(whole.checkpoint(step))
    ours = method.read(stopped.checkpoint(step))
    assert theirs.keys() == ours.keys()
    assert [name for name in theirs if not torch.equal(theirs[name], ours[name])] == []


def test_what_rules_cost_is_measured(baseline: tuple[dict[str, Any], Run, Any]) -> None:
    trace = baseline[1].train_trace()
    spent = trace["l_det_seconds"] + trace["check_seconds"]
    for column in ("l_det_seconds", "check_seconds"):
        assert trace[column].is_monotonic_increasing
        assert trace[column].iloc[0] == 0
        assert trace[column].iloc[-1] > 0
    assert (spent <= trace["seconds"] + 1e-9).all()
    checked = np.flatnonzero(trace["clip_img"].notna())
    assert checked.tolist() == list(range(0, 21, 3))
