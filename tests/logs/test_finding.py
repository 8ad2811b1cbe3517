"""Which files, folders and patterns are sources, and which trace of a log is the loss."""

import builtins
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from accelerate import PartialState
from accelerate.tracking import TensorBoardTracker
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from noiseprobe.core.errors import UserError
from noiseprobe.logs import choose_tags, find_sources, read_log, read_series
from noiseprobe.run.traces import TRAIN_COLUMNS, write_part

CSV = "step,loss\n1,0.5\n2,0.25\n"


def write(path: Path, text: str = CSV) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_run(folder: Path) -> Path:
    frame = pd.DataFrame({"step": [0, 1], "l_det": [0.5, 0.25]}, columns=[*TRAIN_COLUMNS])
    write_part(folder / "traces" / "train", TRAIN_COLUMNS, frame)
    return folder


def write_events(folder: Path) -> Path:
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("loss", 1.0, 0)
    return folder


def write_state(folder: Path, last: int) -> Path:
    history = [{"loss": 1 / step, "step": step} for step in range(1, last + 1)]
    return write(folder / "trainer_state.json", json.dumps({"log_history": history}, indent=2))


def names(found: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a folder of experiments may hold: five logs, and files that are none."""
    root = tmp_path / "experiments"
    write_run(root / "a-run")
    write(root / "a-run" / "notes.csv")
    write_events(root / "logs" / "text2image")
    write(root / "logs" / "text2image" / "hparams.yml", "lr: 0.1\nsteps: 500\n")
    write(root / "logs" / "metrics")
    write_state(root / "trainer", 5)
    pd.DataFrame({"step": [1, 2], "loss": [0.5, 0.25]}).to_parquet(root / "trace")
    Image.new("RGB", (8, 8)).save(root / "sample.png")
    (root / "model.safetensors").write_bytes(
        b"\x10\0\0\0\0\0\0\0" + b'{"a": [0, 1]}   ' + b"\0" * 9
    )
    write(root / "README.md", "# Results\n\nGood, on the whole, but\nslow, in parts.\n")
    write(root / "config.json", '{"block_out_channels": [32, 64], "steps_offset": [1, 1]}')
    write(root / "vocab.json", '{"a": 0, "b": 1}')
    write(root / "captions.txt", "a dog\na cat\n")
    write(root / "metadata.csv", "file_name,width\na.png,512\nb.png,512\n")
    write(root / ".hidden" / "log.csv")
    write(root / "empty.csv", "")
    return root


def test_a_folder_stands_for_the_logs_in_it(folder: Path) -> None:
    found = find_sources([folder])
    assert names(found, folder) == [
        "trace",
        "a-run",
        "logs/metrics",
        "logs/text2image",
        "trainer/trainer_state.json",
    ]
    assert [read_log(source).kind for source in found] == [
        "Parquet",
        "run directory",
        "CSV",
        "TensorBoard events",
        "trainer state",
    ]


def test_files_folders_and_patterns_mix_and_each_source_comes_once(folder: Path) -> None:
    given: list[str | Path] = [
        str(folder / "logs" / "metrics"),
        folder / "logs",
        str(folder / "*r*"),
        str(folder / "**" / "metrics"),
        os.path.relpath(folder / "trace"),
    ]
    found = [path.resolve() for path in find_sources(given)]
    assert names(found, folder.resolve()) == [
        "logs/metrics",
        "logs/text2image",
        "a-run",
        "trace",
        "trainer/trainer_state.json",
    ]


@pytest.mark.parametrize("pattern", ["**", "**/*", "*"])
def test_a_pattern_finds_runs_whole(folder: Path, pattern: str) -> None:
    found = find_sources([str(folder / pattern)])
    assert set(found) == set(find_sources([folder]))


def test_a_file_may_be_named_like_a_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "log[1].csv")
    assert find_sources([path]) == [path]
    assert find_sources([str(tmp_path / "log[[]*")]) == [path]


def test_the_log_of_accelerate_is_one_source(tmp_path: Path) -> None:
    PartialState()
    tracker = TensorBoardTracker("textual_inversion", tmp_path / "logs")
    tracker.start()
    tracker.store_init_configuration({"learning_rate": 5e-4, "max_train_steps": 3000})
    for step in range(1, 4):
        tracker.log({"loss": 1 / step, "lr": 5e-4}, step=step)
    tracker.finish()
    run = tmp_path / "logs" / "textual_inversion"
    # The settings are written as a run of their own, which holds no scalar.
    assert len(list(tmp_path.rglob("*tfevents*"))) == 2
    assert find_sources([tmp_path]) == [run]
    assert find_sources([str(tmp_path / "**" / "*tfevents*")]) == list(run.glob("*tfevents*"))
    assert read_log(run).tags == ("loss", "lr")
    assert read_series(run).steps.tolist() == [1, 2, 3]


def test_only_the_last_state_of_a_training_counts(tmp_path: Path) -> None:
    for last in (5, 10, 100):
        write_state(tmp_path / "out" / f"checkpoint-{last}", last)
    (source,) = find_sources([tmp_path])
    assert source.parent.name == "checkpoint-100"
    assert len(read_series(source.parent).steps) == 100
    write_state(tmp_path / "out", 120)
    assert names(find_sources([tmp_path]), tmp_path) == ["out/trainer_state.json"]
    named = tmp_path / "out" / "checkpoint-5" / "trainer_state.json"
    assert find_sources([named]) == [named]


def test_a_large_log_in_a_folder_is_known_by_its_beginning(tmp_path: Path) -> None:
    frame = pd.DataFrame({"step": range(20_000), "loss": np.linspace(1, 0, 20_000)})
    frame.to_csv(tmp_path / "log.txt", index=False)
    frame.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "log.json", orient="records", indent=1)
    found = find_sources([tmp_path])
    assert names(found, tmp_path) == ["log.json", "log.jsonl", "log.txt"]
    assert [len(read_series(source).steps) for source in found] == [20_000] * 3


def test_a_pipe_that_is_named_is_not_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert find_sources([pipe]) == [pipe]
    with pytest.raises(UserError, match="no log in this folder"):
        find_sources([tmp_path])


def test_what_may_not_be_read_is_no_other_log_s_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read anything, so that the operating system is asked in our words.
    part = write_events(tmp_path / "logs") / "events.out.tfevents.9.second"
    write_events(tmp_path / "logs")
    locked = write(tmp_path / "locked.csv")
    part.write_bytes(b"")
    refused = {str(part), str(locked)}
    opened, allowed = builtins.open, os.access

    def open_some(path: Any, *how: Any, **more: Any) -> Any:
        if str(path) in refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr("builtins.open", open_some)
    monkeypatch.setattr(
        os, "access", lambda path, how: str(path) not in refused and allowed(path, how)
    )
    with pytest.raises(UserError, match=r"second: cannot be read \(Permission denied\)"):
        read_log(tmp_path / "logs")
    assert locked in find_sources([tmp_path])


@pytest.mark.parametrize("head", [b"\x1f\x8b\x08", b"PK\x03\x04"])
def test_a_compressed_file_is_to_be_decompressed(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "log.csv.gz").write_bytes(head + b"\0" * 20)
    with pytest.raises(UserError, match="the file is compressed; decompress it first"):
        find_sources([tmp_path / "log.csv.gz"])


def test_what_gives_no_source_is_named_in_one_line(folder: Path) -> None:
    (folder / "nothing").mkdir()
    for name, said in [
        ("absent.csv", "no such file"),
        ("*.absent", "the pattern matches nothing"),
        ("*.png", "the pattern matches no log"),
        ("sample.png", "neither TensorBoard events, Parquet, SQLite, W&B's own file nor text"),
        ("empty.csv", "the file is empty"),
        ("nothing", "no log in this folder"),
    ]:
        path = str(folder / name)
        with pytest.raises(UserError) as caught:
            find_sources([path])
        message = str(caught.value)
        assert message.startswith(path)
        assert said in message
        assert "\n" not in message
    with pytest.raises(UserError, match="no source was given"):
        find_sources([])


def test_a_file_that_is_no_log_is_refused_when_it_is_read(folder: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        read_log(folder)
    with pytest.raises(UserError, match="neither TensorBoard events"):
        read_log(folder / "sample.png")


@pytest.mark.parametrize(
    ("tags", "chosen"),
    [
        (["loss", "lr", "eval/loss", "l_det"], "l_det"),
        (["loss/current", "loss/average", "lr/unet", "loss/validation"], "loss/validation"),
        (["epoch", "loss", "eval_loss", "eval_runtime"], "eval_loss"),
        (["train/loss", "train/grad_norm", "eval/loss", "eval/samples_per_second"], "eval/loss"),
        (["val_loss", "train_loss"], "val_loss"),
        (["train_loss", "validation_loss"], "validation_loss"),
        (["trainLoss", "valLoss"], "valLoss"),
        (["loss", "grad_norm", "learning_rate", "epoch", "train_loss"], "loss"),
        (["lr/unet", "loss/average", "loss/current"], "loss/current"),
        (["lr", "loss/epoch_average"], "loss/epoch_average"),
        (["lr", "step_loss"], "step_loss"),
        (["prior_loss", "instance_loss", "loss"], "loss"),
        (["loss_scale", "train_loss"], "train_loss"),
        (["train_loss_step", "lr-AdamW"], "train_loss_step"),
        (["my run - loss", "my run - lr"], "my run - loss"),
        (["eval run - lr", "eval run - loss", "eval run - eval/loss"], "eval run - eval/loss"),
        (["epoch", "lr", "objective"], "objective"),
        (["train/mse", "val/mse"], "val/mse"),
        (["objective", "loss", "holdout_objective"], "holdout_objective"),
        (["mse", "loss"], "loss"),
        (["testloss", "loss"], "testloss"),
        (["loss", "held_out/nll"], "held_out/nll"),
        (["val/loss/a dog", "val/loss/total_average"], "val/loss/total_average"),
        (["train/loss", "EVAL/loss_quantile_0.10", "EVAL/loss"], "EVAL/loss"),
        (["loss", "l_val"], "l_val"),
        (["train/loss", "val_accuracy", "eval_runtime"], "train/loss"),
        (["Wall time", "Value"], "Value"),
        (["lr"], "lr"),
    ],
)
def test_the_loss_to_follow_is_chosen_by_its_name(tags: list[str], chosen: str) -> None:
    assert choose_tags(tags, None) == [chosen]


def test_the_loss_of_all_runs_of_a_table_is_chosen() -> None:
    tags = ["a - lr", "a - loss", "b - loss", "b - grad_norm"]
    assert choose_tags(tags, None) == ["a - loss", "b - loss"]


@pytest.mark.parametrize("tags", [["lr", "grad_norm"], ["fid", "clip"], ["runtime", "epoch"]])
def test_what_is_no_loss_is_not_preferred(tags: list[str]) -> None:
    with pytest.raises(UserError, match=f"among {tags[0]}, {tags[1]}; choose with --tag"):
        choose_tags(tags, None)


def test_many_tags_are_not_all_listed() -> None:
    with pytest.raises(UserError, match=r"metric 11 and 38 more; choose with --tag") as caught:
        choose_tags([f"metric {number}" for number in range(50)], None)
    assert "metric 12" not in str(caught.value)


def test_a_pattern_chooses_all_that_match() -> None:
    tags = ["train/loss", "eval/loss", "lr", "loss[1]"]
    assert choose_tags(tags, "*/loss") == ["train/loss", "eval/loss"]
    assert choose_tags(tags, "lr") == ["lr"]
    assert choose_tags(tags, "loss[1]") == ["loss[1]"]
    assert choose_tags(tags, "[te]*") == ["train/loss", "eval/loss"]
    for pattern, said in [
        ("Train/Loss", "did you mean --tag train/loss"),
        ("x*y", "choose one of train/loss"),
    ]:
        with pytest.raises(UserError, match=said):
            choose_tags(tags, pattern)


@given(st.lists(st.text(max_size=8), max_size=60), st.none() | st.text(max_size=8))
def test_a_choice_is_some_of_the_tags_or_one_line(tags: list[str], pattern: str | None) -> None:
    refusal, chosen = "", []
    try:
        chosen = choose_tags(tags, pattern)
    except UserError as error:
        refusal = str(error)
    assert bool(refusal) != bool(chosen)
    assert len(refusal.splitlines()) == (not chosen)
    assert set(chosen) <= set(tags)
