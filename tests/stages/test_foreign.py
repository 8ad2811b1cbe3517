"""Checkpoints that other trainers left: the same losses as our own run of the same weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import finish, start

CAPTION = "a photo of a sks dog"
STEPS = (2, 4, 6)


@pytest.fixture(scope="module")
def usual(model_directory: Path, photographs: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    return {
        "concept": str(photographs),
        "class_noun": "dog",
        "model": str(model_directory),
        "steps": 6,
        "stop": "none",
        "window": 3,
        "threshold": 0.1,
        "train_batch_size": 2,
        "eval_batch": 3,
        "checkpoint_every": 2,
        "settings": "deterministic,timesteps,captions",
        "replicates": 2,
        "probe_batch": 3,
        "micro_batch": 5,
        "device": "cpu",
        "learning_rate": 0.02,
    }


@pytest.fixture(scope="module")
def ours(usual: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Our own run of a method, trained and probed, once for all tests."""
    made: dict[str, Run] = {}

    def run_of(method: str, **more: Any) -> Run:
        if method not in made:
            config = resolve(usual | {"method": method} | more)
            run, ready = start(config, tmp_path_factory.mktemp("ours") / method)
            finish(run, config, ready)
            made[method] = run
        return made[method]

    return run_of


@pytest.fixture
def flags(usual: dict[str, Any]) -> list[str]:
    names = ("concept", "model", "eval_batch", "settings", "replicates", "probe_batch")
    pairs = [("--" + name.replace("_", "-"), str(usual[name])) for name in names]
    return [word for pair in pairs for word in pair] + ["--device", "cpu", "--micro-batch", "5"]


@pytest.fixture
def lora(ours: Callable[..., Run]) -> Run:
    return ours("dreambooth-lora", train_word=False, train_text_encoder=True, lora_alpha=2.0)


def as_stock(run: Run, out: Path) -> Path:
    """The folder that diffusers' LoRA script leaves, of the checkpoints of our own run."""
    for step in STEPS:
        shutil.copytree(run.checkpoint(step), out / f"checkpoint-{step}")
        torch.save({"state": {}, "param_groups": []}, out / f"checkpoint-{step}" / "optimizer.bin")
    shutil.copy(run.checkpoint(6) / "pytorch_lora_weights.safetensors", out)
    return out


def same_losses(theirs: Run, run: Run, steps: tuple[int, ...] = (0, *STEPS)) -> None:
    """Both traces of another trainer's checkpoints are those of our run, in 1e-6."""
    keys = ["step", "setting", "replicate", "sample"]
    for trace in ("probe_trace", "train_trace"):
        one, other = (getattr(each, trace)() for each in (theirs, run))
        index = keys if trace == "probe_trace" else ["step"]
        loss = "loss" if trace == "probe_trace" else "l_det"
        one, other = (each[each["step"].isin(steps)].set_index(index)[loss] for each in (one, other))
        assert set(one.index) == set(other.index)
        np.testing.assert_allclose(one, other.loc[one.index], rtol=1e-6)
        assert one.groupby("step").mean().nunique() == len(steps)  # the weights differ


def test_the_folder_of_the_stock_lora_script(
    call: Any, lora: Run, flags: list[str], tmp_path: Path
) -> None:
    out = as_stock(lora, tmp_path / "out")
    words = ["--checkpoints", f"{out}/checkpoint-*", "--caption", CAPTION]
    code, printed, err = call("probe", *flags, *words, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    run = Run.open(tmp_path / "run")
    assert run.checkpoint_steps() == [0, *STEPS]
    same_losses(run, lora)
    assert json.loads(printed)["take"] is None
