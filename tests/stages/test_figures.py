"""What figures are told of a run: what ended it, and the pictures that were measured there."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from noiseprobe.pictures.strips import save_strip
from noiseprobe.run.directory import Run
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import TRAIN_COLUMNS, write_part
from noiseprobe.stages.drawing import drawn_by_criterion, ended_by, photographs_of


@pytest.mark.parametrize(
    ("stopped_by", "last", "ended", "titles"),
    [
        ("dvar", 4, ("DVAR", 4), ["DVAR\nstep 4"]),
        ("patience", 3, ("patience", 3), ["patience\nstep 3"]),
        ("steps", 6, None, ["DVAR\nstep 4", "all 6 steps\nstep 6"]),
        (None, 3, None, ["all 3 steps\nstep 3"]),
    ],
)
def test_rows_of_pictures_are_named_by_what_ended_them(
    run: Run, stopped_by: str | None, last: int, ended: tuple[str, int] | None, titles: list[str]
) -> None:
    steps = np.arange(last + 1)
    # Two values are a window: the first two that are alike, after some that are not, stop DVAR.
    l_det = np.array([8.0, 6.0, 4.0, 2.0, 2.0, 2.0, 2.0])[: last + 1]
    train = pd.DataFrame({"step": steps, "l_det": l_det, "seconds": steps * 1.0})
    write_part(run.train_directory, TRAIN_COLUMNS, train)
    run.write_status("trained", last, stopped_by)
    picture = Image.new("RGB", (8, 8))
    for step in steps:
        for kind in ("training", "validation"):
            save_strip([picture], ["a <v>"], run.samples(int(step), kind))
    assert ended_by(run) == ended
    assert [drawn.title for drawn in drawn_by_criterion(run)] == titles


def test_a_concept_whose_folder_is_gone_has_no_photographs(config: RunConfig) -> None:
    assert len(photographs_of(config)) > 0
    gone = config.model_copy(update={"concept": "/nowhere/of/this/name"})
    assert photographs_of(gone) == []


@pytest.fixture
def run(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    small = config.model_copy(update={"window": 2, "threshold": 0.01, "steps": 6})
    return Run.create(tmp_path_factory.mktemp("runs") / "run", small, "cpu")
