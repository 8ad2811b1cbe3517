"""`noiseprobe doctor` as scripts and people use it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with a NaN in its training loss, and a sound validation."""
    steps = np.arange(1, 41)
    table = pd.DataFrame(
        {
            "step": steps,
            "loss": np.where(steps == 7, np.nan, 0.1 + 1 / steps),
            "val_loss": np.where(steps % 5 == 0, 1 / steps, np.nan),
            "lr": 1e-4,
        }
    )
    table.to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "log.csv").write_text(
        (tmp_path / "log.csv").read_text().replace("\n7,,", "\n7,nan,")
    )
    return tmp_path / "log.csv"


def test_a_fault_is_one_line_with_what_where_and_mend(
    call: Any, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = call("doctor", log)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{log}: CSV, 3 traces; 1 fault, all mended in --out."
    faults = [line for line in lines if line.startswith("fault: ")]
    assert faults == [
        "fault: loss, first at step 7: 1 of 40 values are NaN or empty. Mend: left out in --out."
    ]
    assert lines[-1] == f"Next: noiseprobe doctor {log} --out mended.csv"


def test_json_is_one_document_and_out_has_the_mended_losses(call: Any, log: Path) -> None:
    mended = log.with_name("mended.csv")
    code, out, err = call("doctor", log, "--json", "--out", mended)
    assert (code, err) == (0, "")
    (document,) = json.loads(out)
    assert list(document) == [
        "log", "kind", "tool", "traces", "faults", "limits", "out", "verdict", "next",
    ]  # fmt: skip
    assert document["traces"][0] == {
        "tag": "loss",
        "points": 40,
        "first_step": 1,
        "last_step": 40,
        "written": True,
    }
    assert [each["written"] for each in document["traces"]] == [True, True, False]
    assert [list(fault) for fault in document["faults"]] == [
        ["kind", "tag", "mended", "what", "where", "mend"]
    ]
    table = pd.read_csv(mended)
    assert list(table) == ["step", "loss", "val_loss"]
    assert table["step"].tolist() == [step for step in range(1, 41) if step != 7]
    assert table["val_loss"].count() == 8
    assert call("doctor", mended, "--json")[0] == 0
    (again,) = json.loads(call("doctor", mended, "--tag", "val_loss", "--json")[1])
    assert again["faults"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.csv"], "no such file"),
        (["log.csv", "--tag", "nothing"], "no trace matches"),
        (["log.csv", "--out", "log.csv"], "it is a source"),
        (["log.csv", "other.csv", "--out", "out.csv"], "name one"),
        (["noise.bin"], "neither TensorBoard events"),
    ],
)
def test_wrong_input_ends_in_one_line_and_2(
    call: Any, log: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(log.parent)
    Path("other.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
    Path("noise.bin").write_bytes(b"\0\1\2" * 9)
    code, out, err = call("doctor", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert told in err
