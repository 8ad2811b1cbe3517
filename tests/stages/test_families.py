"""All stages on each family: class images, training with checks, probe, tables, figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noiseprobe.analysis.timesteps import timestep_losses
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import held_out_stage, run_all
from noiseprobe.training.preparing import prepare
from tests.conftest import Models

METHODS = {
    "sdxl": "textual-inversion",
    "sd3": "dreambooth-lora",
    "flux-dev": "textual-inversion",
    "sana": "dreambooth-lora",
    "pixart-sigma": "dreambooth",
}
"""The families, and what is trained of each: every method on each is probed by another test."""

FLOWS = ("sd3", "flux-dev", "sana")


@pytest.fixture(scope="module", params=METHODS)
def done(
    request: pytest.FixtureRequest,
    small_models: Models,
    photographs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Run, dict[str, Any]]:
    """A run of each family to its end, with everything that can be asked of it."""
    name = str(request.param)
    given = {
        "concept": str(photographs),
        "class_noun": "dog",
        "model": str(small_models(name)),
        "method": METHODS[name],
        "resolution": 64,
        "steps": 4,
        "stop": "none",
        "learning_rate": 0.01,
        "checks": True,
        "clip": "tiny-clip",
        "check_every": 4,
        "samples": 1,
        "sampling_steps": 2,
        "prior": True,
        "num_class_images": 1,
        "hold_out": "1",
        "val_batch": 2,
        **{"val_every": 2, "eval_every": 1, "paired_every": 1},
        "track": "paired",
        "train_batch_size": 2,
        "eval_batch": 2,
        "checkpoint_every": 2,
        "settings": "deterministic,timesteps,noise,original",
        "replicates": 2,
        "probe_batch": 6,
        "device": "cpu",
    }
    out = tmp_path_factory.mktemp("run") / name
    summary = run_all(resolve(given), out)
    return name, Run.open(out), summary


def test_a_run_goes_to_its_end(done: tuple[str, Run, dict[str, Any]]) -> None:
    _, run, summary = done
    assert run.status["stage"] == "done"
    assert summary["steps"] == 4
    assert summary["noise_to_signal"].keys() == {"timesteps", "noise"}
    assert json.loads((run.directory / "summary.json").read_text())["run"] == summary["run"]
    trace = run.train_trace()
    for column in ("loss", "l_det", "l_val", "paired", "clip_img"):
        assert np.isfinite(trace[column].dropna()).all()
        assert trace[column].notna().any(), column
    [drawn] = (run.directory / "class-images").glob("*.png")
    assert Image.open(drawn).size == (64, 64)
    assert len(summary["figures"]) > 3
    assert all(Path(figure).is_file() for figure in summary["figures"])
    assert (run.directory / "result").is_dir()


def test_losses_by_timestep_are_in_bins_of_the_models_times(
    done: tuple[str, Run, dict[str, Any]],
) -> None:
    name, run, _ = done
    probe = run.probe_trace()
    times = probe["timestep"].to_numpy()
    assert ((times >= 0) & (times <= 1000)).all()
    if name not in FLOWS:
        assert (times == times.astype(int)).all()
        assert times.max() < 1000
    assert run.time_axis == ("1000·σ" if name in FLOWS else "timestep")
    table = timestep_losses(probe, num_timesteps=run.num_timesteps)
    first = table[table["step"] == 0]
    assert first["samples"].sum() == 2 * 6
    assert (first["from"].iloc[0], first["to"].iloc[-1]) == (0, 1000)


def test_held_out_photographs_are_probed(
    done: tuple[str, Run, dict[str, Any]],
) -> None:
    _, run, _ = done
    config = run.config
    held_out_stage(run, config, prepare(config, run))
    assert np.isfinite(run.held_out_trace()["loss"]).all()
