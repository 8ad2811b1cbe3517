"""TensorBoard's event files: what its own reader reads, and what is left of broken ones."""

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary import Writer
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.tensorboard import SummaryWriter

from noiseprobe.core.errors import UserError
from noiseprobe.logs import (
    RestartedLogWarning,
    TruncatedLogWarning,
    find_sources,
    read_log,
    read_series,
)
from noiseprobe.logs.events import decode
from noiseprobe.logs.records import find_records, masked_crc

NO_LIMIT = {"scalars": 0, "tensors": 0}


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join(
        [length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))]
    )


def scalar(tag: str, step: int, value: float, time: float = 0.0) -> bytes:
    values = [Summary.Value(tag=tag, simple_value=value)]
    return bytes(
        Event(wall_time=time, step=step, summary=Summary(value=values)).SerializeToString()
    )


def event_file(path: Path, events: Sequence[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(framed, events)))
    return path


def oracle(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """What TensorBoard's own reader reads."""
    accumulator = EventAccumulator(str(path), NO_LIMIT)
    accumulator.Reload()
    traces = {
        tag: ([e.step for e in events], [e.value for e in events])
        for tag in accumulator.Tags()["scalars"]
        if (events := accumulator.Scalars(tag))
    }
    for tag in accumulator.Tags()["tensors"]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            events = accumulator.Tensors(tag)
            values = [make_ndarray(event.tensor_proto).item() for event in events]
            traces[tag] = ([event.step for event in events], values)
    return traces


def assert_as_tensorboard(path: Path) -> None:
    expected, log = oracle(path), read_log(path)
    assert log.kind == "TensorBoard events"
    assert set(log.tags) == set(expected)
    for tag, (steps, values) in expected.items():
        series = log.series(tag)
        assert (series.steps.dtype, series.values.dtype) == (np.int64, np.float64)
        assert (series.name, series.column) == (str(path), tag)
        np.testing.assert_array_equal(series.steps, steps)
        np.testing.assert_array_equal(series.values, values)


def log_training(folder: Path, steps: range, **options: Any) -> None:
    with SummaryWriter(str(folder), **options) as writer:
        for step in steps:
            writer.add_scalar("train/loss", 1 / (1 + step), step)
            writer.add_scalar("lr", 1e-3, step)
            if step % 10 == 0:
                writer.add_scalar("eval/loss", 2 / (1 + step), step)


def test_a_checksum_has_the_known_answer() -> None:
    # CRC-32C of the digits is 0xe3069283 (RFC 3720, B.4 and common tables).
    rotated = (0xE3069283 >> 15 | 0xE3069283 << 17) & 0xFFFFFFFF
    assert masked_crc(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF


def test_what_torch_writes_is_read_as_tensorboard_reads_it(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in [*range(300), 2**31, 2**40, 2**62]:
            writer.add_scalar("loss/current", np.sin(step), step)
            writer.add_scalar("loss/average", float("nan") if step == 5 else step, step)
            writer.add_scalar("lr/unet", 1e-4, step)
            writer.add_scalar("new", step / 7, step, new_style=True)
            writer.add_scalar("exact", step / 7, step, new_style=True, double_precision=True)
        writer.add_text("prompt", "a photo of a dog", 3)
        writer.add_histogram("weights", np.arange(100.0), 3)
        writer.add_image("sample", np.zeros((3, 40, 40)), 3)
        writer.add_hparams({"lr": 0.1}, {"final": 0.5}, run_name=".")
    assert_as_tensorboard(tmp_path)
    tags = read_log(tmp_path).tags
    assert tags[:5] == ("loss/current", "loss/average", "lr/unet", "new", "exact")
    assert read_series(tmp_path).column == "loss/current"


def test_what_tensorboard_writes_in_tensors_is_read(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path))
    for step in range(50):
        writer.add_scalar("eval_loss", step / 3, step)
    writer.close()
    assert_as_tensorboard(tmp_path)


def test_tensors_of_all_number_types_hold_scalars(tmp_path: Path) -> None:
    point = TensorShapeProto()
    row = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensors = [
        TensorProto(dtype=1, tensor_shape=point, float_val=[1.5]),
        TensorProto(dtype=1, tensor_shape=row, tensor_content=np.float32(1.5).tobytes()),
        TensorProto(dtype=2, tensor_shape=point, double_val=[1.1]),
        TensorProto(dtype=2, tensor_shape=point, tensor_content=np.float64(1.1).tobytes()),
        TensorProto(dtype=3, tensor_shape=point, int_val=[-7]),
        TensorProto(dtype=3, tensor_shape=point, tensor_content=np.int32(-7).tobytes()),
        TensorProto(dtype=9, tensor_shape=point, int64_val=[2**40]),
        TensorProto(dtype=19, tensor_shape=point, tensor_content=np.float16(0.5).tobytes()),
        TensorProto(dtype=1, tensor_shape=point),
    ]
    expected = [1.5, 1.5, 1.1, 1.1, -7.0, -7.0, float(2**40), 0.5, 0.0]
    others = [
        TensorProto(dtype=7, tensor_shape=point, string_val=[b"text"]),
        TensorProto(
            dtype=1,
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=2)]),
            float_val=[1.0, 2.0],
        ),
    ]
    events = []
    for repeat in range(20):
        for place, tensor in enumerate(tensors + others):
            value = Summary.Value(tag=f"tensor/{place}", tensor=tensor)
            events.append(Event(step=repeat, summary=Summary(value=[value])).SerializeToString())
    log = read_log(event_file(tmp_path / "log", events))
    assert log.tags == tuple(f"tensor/{place}" for place in range(len(tensors)))
    for tag, value in zip(log.tags, expected, strict=True):
        np.testing.assert_array_equal(log.series(tag).values, [value] * 20)


numbers = st.floats(width=32)
simple = st.builds(
    lambda tag, value: Summary.Value(tag=tag, simple_value=value),
    st.sampled_from(["loss", "lr", "loß"]),
    numbers,
)
tensors = st.builds(
    lambda tag, value: Summary.Value(tag=tag, tensor=TensorProto(dtype=1, float_val=[value])),
    st.sampled_from(["loss", "new"]),
    numbers,
)
texts = st.builds(lambda text: Summary.Value(tag="note", tensor=TensorProto(dtype=7)), st.text())
events_strategy = st.lists(
    st.builds(
        lambda time, step, values: Event(
            wall_time=time, step=step, summary=Summary(value=values)
        ).SerializeToString(),
        st.floats(0, 2e9),
        st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300),
        st.lists(simple | tensors | texts, max_size=3),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(events_strategy)
def test_decoding_together_gives_what_decoding_one_by_one_gives(events: list[bytes]) -> None:
    records = find_records(b"".join(map(framed, events)))
    assert records.fault is None
    together, singly = decode(records, few=1), decode(records, few=len(events) + 1)

    def points(found: Any) -> dict[str, list[tuple[int, int, str]]]:
        return {
            tag: sorted(
                (int(index), int(step), float(value).hex())
                for piece in pieces
                for index, step, value in zip(*piece, strict=True)
            )
            for tag, pieces in found.pieces.items()
        }

    assert points(together) == points(singly)
    expected: dict[str, int] = {}
    for event in events:
        for value in Event.FromString(event).summary.value:
            if value.tag != "note":
                expected[value.tag] = expected.get(value.tag, 0) + 1
    assert {tag: len(found) for tag, found in points(together).items()} == expected


@pytest.mark.filterwarnings("ignore::noiseprobe.logs.RestartedLogWarning")
def test_a_restart_replaces_what_it_goes_back_over(tmp_path: Path) -> None:
    log_training(tmp_path, range(50))
    log_training(tmp_path, range(30, 80), purge_step=30, filename_suffix=".restart")
    assert_as_tensorboard(tmp_path)
    np.testing.assert_array_equal(read_log(tmp_path).series("lr").steps, np.arange(80))


@pytest.mark.filterwarnings("ignore::noiseprobe.logs.RestartedLogWarning")
def test_a_restart_that_is_not_announced_shows_in_the_steps(tmp_path: Path) -> None:
    # TensorBoard heeds falling steps in files of a version below 2.
    events = [Event(wall_time=1, file_version="brain.Event:1").SerializeToString()]
    steps = [*range(50), *range(30, 60), *range(10, 20)]
    events += [scalar("loss", step, number) for number, step in enumerate(steps)]
    path = event_file(tmp_path / "events.out.tfevents.1.old", events)
    assert_as_tensorboard(path)
    series = read_series(path)
    np.testing.assert_array_equal(series.steps, np.arange(20))
    np.testing.assert_array_equal(series.values, [*range(10), *range(80, 90)])


@pytest.mark.filterwarnings("ignore::noiseprobe.logs.RestartedLogWarning")
def test_one_value_per_step_survives_where_points_share_steps(tmp_path: Path) -> None:
    steps = [0, 10, 10, 20, 10, 10, 30]
    events = [scalar("loss", step, number) for number, step in enumerate(steps)]
    series = read_series(event_file(tmp_path / "log", events))
    assert series.steps.tolist() == [0, 10, 10, 30]
    assert series.values.tolist() == [0.0, 4.0, 5.0, 6.0]


def test_files_of_a_folder_are_one_run_in_order_of_time(tmp_path: Path) -> None:
    later = [scalar("loss", step, 2.0, time=200.0) for step in range(30, 60)]
    sooner = [scalar("loss", step, 1.0, time=100.0) for step in range(50)]
    event_file(tmp_path / "a", later)
    event_file(tmp_path / "b", sooner)
    (tmp_path / "hparams.yml").write_text("lr: 0.1\n")
    assert find_sources([tmp_path]) == [tmp_path]
    with pytest.warns(RestartedLogWarning, match="falls back to 30; 20 points of loss .* one by"):
        series = read_series(tmp_path)
    np.testing.assert_array_equal(series.steps, np.arange(60))
    np.testing.assert_array_equal(series.values, [1.0] * 30 + [2.0] * 30)


def test_an_evaluation_that_is_done_again_after_a_restart_counts_once(tmp_path: Path) -> None:
    # The last evaluation before the kill is the first one after it: no step of its own falls.
    events = [Event(wall_time=1, file_version="brain.Event:2").SerializeToString()]
    for steps, level in ((range(32), 1.0), (range(25, 60), 2.0)):
        for step in steps:
            events.append(scalar("loss", step, level))
            if step % 10 == 0:
                events.append(scalar("val_loss", step, level))
    log = read_log(event_file(tmp_path / "log", events))
    with pytest.warns(RestartedLogWarning, match="1 points of val_loss"):
        series = log.series("val_loss")
    assert series.steps.tolist() == [0, 10, 20, 30, 40, 50]
    assert series.values.tolist() == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("lost", [1, 3, 5, 14, 20])
def test_a_file_cut_off_gives_its_whole_records(tmp_path: Path, lost: int) -> None:
    log_training(tmp_path, range(50))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.warns(TruncatedLogWarning) as caught:
        log = read_log(path)
    assert "\n" not in str(caught[0].message)
    assert "cut off" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncatedLogWarning)
        assert_as_tensorboard(path)
    assert len(log.series("train/loss").steps) == 50


@pytest.mark.parametrize(
    ("place", "said"),
    [(0, "its length is garbled"), (8, "its length is garbled"), (20, "its data are garbled")],
)
def test_garbage_ends_the_reading(tmp_path: Path, place: int, said: str) -> None:
    records = [framed(scalar("loss", step, step)) for step in range(9)]
    content = bytearray(b"".join(records))
    content[sum(map(len, records[:6])) + place] ^= 0x40
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.warns(TruncatedLogWarning, match=f"before record 7, because {said}"):
        assert len(read_series(path).steps) == 6


def test_a_record_that_is_no_event_ends_the_reading(tmp_path: Path) -> None:
    events = [scalar("loss", step, step) for step in range(6)]
    path = event_file(tmp_path / "log", [*events, b"\xff\xff\xff", *events])
    with pytest.warns(TruncatedLogWarning, match="before record 7, because it is no event"):
        assert len(read_series(path).steps) == 6


def test_a_forged_length_takes_no_memory(tmp_path: Path) -> None:
    path = event_file(tmp_path / "log", [scalar("loss", 0, 1.0)])
    length = struct.pack("<Q", 2**62)
    path.write_bytes(path.read_bytes() + length + struct.pack("<I", masked_crc(length)) + b"x" * 20)
    with pytest.warns(TruncatedLogWarning, match="cut off"):
        assert len(read_series(path).steps) == 1


def test_what_holds_no_scalar_is_said_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "events.out.tfevents.1.empty"
    empty.touch()
    with pytest.raises(UserError, match="no event was recorded"):
        read_log(empty)
    with pytest.raises(UserError, match="no event was recorded"):
        read_log(tmp_path)
    event_file(empty, [Event(file_version="brain.Event:2").SerializeToString()])
    assert read_log(empty).tags == ()
    with pytest.raises(UserError, match="no trace of numbers"):
        read_series(empty)
    with pytest.raises(UserError, match="did you mean --tag loss"):
        read_log(event_file(empty, [scalar("loss", 0, 1.0)])).series("los")


@pytest.mark.filterwarnings("ignore::noiseprobe.logs.RestartedLogWarning")
def test_a_session_that_starts_anew_drops_all_traces_from_its_step_on(tmp_path: Path) -> None:
    events = [Event(file_version="brain.Event:2").SerializeToString()]
    events += [scalar(tag, step, step) for step in range(20) for tag in ("loss", "lr")]
    start = SessionLog(status=SessionLog.START)
    events += [Event(step=10, session_log=start).SerializeToString()]
    events += [scalar("loss", step, 9.0) for step in range(12, 15)]
    path = event_file(tmp_path / "events.out.tfevents.1.a", events)
    assert_as_tensorboard(path)
    assert read_log(path).series("lr").steps.tolist() == list(range(10))
