"""What docs/tracker.md shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from noiseprobe.run.directory import Run

PAGE = Path(__file__).parents[2] / "docs" / "tracker.md"
LOOP, OWN, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_ten_lines_track_a_pipeline_and_keep_the_best(
    model_directory: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)

    def train_one_step() -> None:
        with torch.no_grad():
            pipeline.unet.conv_out.weight.mul_(0.9)

    names: dict[str, Any] = {"pipeline": pipeline, "unet": pipeline.unet, "max_steps": 20}
    exec(
        LOOP.replace("photos/held-out", str(photographs)),
        names | {"train_one_step": train_one_step},
    )
    trace = Run("runs/mine").tracked_trace()
    assert trace["step"].unique().tolist() == [0, 10, 20]
    assert UNet2DConditionModel.from_pretrained("runs/mine/best")
    code, told, _ = call("dvar-replay", "runs/mine", "--column", "l_val", "--criterion", "patience")
    assert code == 0
    assert "l_val" in told or "runs/mine" in told
    code, told, _ = call("plot", "runs/mine")
    assert code == 0
    assert all(Path(line).is_file() for line in told.splitlines())


def test_losses_of_ones_own_are_tracked_as_the_page_shows() -> None:
    model = torch.nn.Linear(2, 1)
    names: dict[str, Any] = {
        "per_sample_losses": lambda model, batch: model(batch).square().flatten(1).mean(1),
        "model": model,
        "fixed_batch": torch.ones(3, 2),
        "other_batch": torch.zeros(4, 2),
    }
    exec("import noiseprobe\n" + OWN, names)
    names["tracker"].update(0)
    assert names["tracker"].frame().columns[:3].tolist() == ["step", "l_det", "l_val"]
