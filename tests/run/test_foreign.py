"""Which checkpoints of other trainers there are: their kind by keys, their step, their order."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.run.foreign import Series, find

Shapes = dict[str, tuple[int, ...]]

LORA: Shapes = {"unet.mid.to_q.lora.down.weight": (4, 8), "unet.mid.to_q.lora.up.weight": (8, 4)}
KOHYA: Shapes = {"lora_unet_mid_to_q.lora_down.weight": (4, 8), "lora_unet_mid_to_q.alpha": ()}
PEFT: Shapes = {"transformer.blocks.0.to_q.lora_A.weight": (4, 8)}
WORD: Shapes = {"<v>": (2, 16)}


def safetensors(file: Path, shapes: Shapes, fill: int = 0, **about: str) -> Path:
    """A file by its format: the length of a header, the header, the numbers."""
    header: dict[str, object] = {"__metadata__": about}
    end = 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes([fill]) * end)
    return file


def pickled(file: Path, content: object) -> Path:
    """A file as torch.save lays it out, of plain Python objects."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
    return file


def test_steps_are_told_by_folders_names_and_metadata(tmp_path: Path) -> None:
    layouts: dict[str, tuple[str, list[int], str]] = {
        "diffusers": ("checkpoint-{}/pytorch_lora_weights.safetensors", [500, 1000], "step"),
        "kohya-steps": ("dog-step{:08d}.safetensors", [500, 1000], "step"),
        "kohya-epochs": ("dog-{:06d}.safetensors", [1, 2], "epoch"),
        "ai-toolkit": ("dog_{:09d}.safetensors", [250, 500], "step"),
        "diffusion-pipe": ("step{}/adapter_model.safetensors", [100, 200], "step"),
        "its-epochs": ("epoch{}/adapter_model.safetensors", [1, 2], "epoch"),
        "diffsynth": ("step-{}.safetensors", [100, 200], "step"),
        "onetrainer": ("dog2026-08-01_10-00-00-save-{}-3-7.safetensors", [300, 600], "step"),
        "ours": ("checkpoints/step-{:08d}/pytorch_lora_weights.safetensors", [10, 20], "step"),
    }
    for name, (layout, steps, unit) in layouts.items():
        for fill, step in enumerate(steps):
            safetensors(tmp_path / name / layout.format(step), LORA, fill)
        pattern = "*" if name != "ours" else "checkpoints/*"
        for given in (str(tmp_path / name / pattern), str((tmp_path / name / pattern).parent)):
            found = find([given], "base")
            assert (found.steps, found.unit) == ([0, *steps], unit), (name, given)
            assert found.kinds == {"lora"}
            assert found.at(0).files == ()
            assert ("no step is said" in " ".join(found.notes)) == (unit == "epoch")


def test_metadata_tell_the_step_where_names_tell_an_epoch_or_nothing(tmp_path: Path) -> None:
    for fill, (name, step) in enumerate({"dog-000001": 40, "dog-000002": 80, "dog": 100}.items()):
        about = {"ss_steps": str(step), "ss_epoch": str(fill + 1)}
        safetensors(tmp_path / f"{name}.safetensors", KOHYA, fill, **about)
    # The last step, which was saved by its number as well.
    safetensors(tmp_path / "dog-step00000100.safetensors", KOHYA, 2, ss_steps="100")
    found = find([str(tmp_path / "*.safetensors")], "base")
    assert (found.steps, found.unit) == ([0, 40, 80, 100], "step")
    assert any("left out, for it is the same" in note for note in found.notes)


def test_epochs_that_are_counted_from_0_are_counted_from_1(tmp_path: Path) -> None:
    for epoch in range(3):
        safetensors(tmp_path / f"epoch-{epoch}.safetensors", PEFT, epoch)
    found = find([str(tmp_path)], "base")
    assert found.steps == [0, 1, 2, 3]
    assert found.at(1).path.name == "epoch-0.safetensors"


def test_a_start_that_was_saved_takes_the_place_of_the_base(tmp_path: Path) -> None:
    for step in (0, 5):
        safetensors(tmp_path / f"checkpoint-{step}" / "lora.safetensors", LORA, step)
    found = find([str(tmp_path)], "base")
    assert found.steps == [0, 5]
    assert found.at(0).files


def test_what_is_in_a_file_is_told_by_its_keys(tmp_path: Path) -> None:
    told: dict[str, tuple[Shapes, str, bool]] = {
        "a-1.safetensors": (LORA, "lora", False),
        "b-2.safetensors": (KOHYA | {"lora_te_x.lora_down.weight": (4, 8)}, "lora", True),
        "c-3.safetensors": (PEFT, "lora", False),
        "d-4.safetensors": (WORD, "embedding", True),
        "e-5.safetensors": ({"emb_params": (2, 16)}, "embedding", True),
        "f-6.safetensors": ({"clip_l": (2, 16), "clip_g": (2, 32)}, "embedding", True),
        "g-7.safetensors": (
            {"down.attn2.processor.to_k_custom_diffusion.weight": (8, 8)},
            "custom-diffusion",
            False,
        ),
    }
    for name, (shapes, kind, text) in told.items():
        safetensors(tmp_path / name, shapes)
        (checkpoint,) = find([str(tmp_path / name)], "base").checkpoints[1:]
        assert checkpoint.files == ((tmp_path / name, kind),)
        assert checkpoint.text == text, name


def test_words_in_pickles_and_the_step_that_they_say(tmp_path: Path) -> None:
    a1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": [1.0]}, "name": "v"}
    pickled(tmp_path / "v-99.pt", a1111 | {"step": 300, "sd_checkpoint": None})
    pickled(tmp_path / "learned_embeds-steps-400.bin", {"<v>": [1.0]})
    pickled(tmp_path / "other-7.bin", {"state": {}, "param_groups": [{"lr": 1.0}]})
    found = find([str(tmp_path / "*")], "base")
    assert found.steps == [0, 300, 400]
    assert found.kinds == {"embedding"}


def test_a_word_for_the_second_encoder_belongs_to_that_of_the_first(tmp_path: Path) -> None:
    for step in (2, 4):
        safetensors(tmp_path / f"learned_embeds-steps-{step}.safetensors", WORD, step)
        safetensors(tmp_path / f"learned_embeds_2-steps-{step}.safetensors", WORD, step + 1)
    safetensors(tmp_path / "learned_embeds.safetensors", WORD, 4)
    found = find([str(tmp_path)], "base")
    assert [len(each.files) for each in found.checkpoints] == [0, 1, 1]
    assert any("learned_embeds.safetensors" in note for note in found.notes)


def test_parts_and_pipelines_are_folders(tmp_path: Path) -> None:
    weights: Shapes = {"down_blocks.0.conv.weight": (4, 4)}
    for step in (1, 2):
        folder = tmp_path / "parts" / f"checkpoint-{step}"
        safetensors(folder / "unet" / "diffusion_pytorch_model.safetensors", weights)
        (folder / "unet" / "config.json").write_text("{}")
        pipeline = tmp_path / "whole" / f"dog-00000{step}"
        pipeline.mkdir(parents=True)
        (pipeline / "model_index.json").write_text("{}")
    for given in ("parts", "parts/*", "parts/*/unet/*.safetensors"):
        found = find([str(tmp_path / given)], "base")
        assert (found.kinds, found.steps) == ({"parts"}, [0, 1, 2]), given
    found = find([str(tmp_path / "whole")], "base")
    assert (found.kinds, found.steps, found.unit) == ({"pipeline"}, [0, 1, 2], "epoch")


def test_what_cannot_be_put_in_order_is_told_with_the_mend(tmp_path: Path) -> None:
    def told(*names: str) -> str:
        with pytest.raises(UserError) as error:
            find([str(tmp_path / name) for name in names], "base")
        assert "\n" not in str(error.value)
        return str(error.value)

    safetensors(tmp_path / "a-step2.safetensors", LORA, 1)
    safetensors(tmp_path / "b-step2.safetensors", LORA, 2)
    safetensors(tmp_path / "last.safetensors", LORA, 3)
    safetensors(tmp_path / "a-000001.safetensors", LORA, 4)
    assert "both of step 2; give" in told("a-step2.safetensors", "b-step2.safetensors")
    assert "'{}' says no step".format(tmp_path / "last.safetensors") in told(
        "a-step2.safetensors", "last.safetensors"
    )
    assert "says its epoch alone" in told("a-step2.safetensors", "a-000001.safetensors")
    assert "matches" in told("nothing-*.safetensors")
    assert "in quotes" in told("nowhere")


def test_other_adapters_and_damaged_files_are_refused(tmp_path: Path) -> None:
    for number, (name, what) in enumerate(
        {
            "lora_unet_x.hada_w1_a": "a LoHa",
            "lora_unet_x.lokr_w1": "a LoKr",
            "lora_unet_x.dora_scale": "DoRA scales",
        }.items()
    ):
        safetensors(tmp_path / f"a-{number}.safetensors", {**KOHYA, name: (4, 4)})
        with pytest.raises(UserError, match=what):
            find([str(tmp_path / f"a-{number}.safetensors")], "base")
    whole = safetensors(tmp_path / "cut-3.safetensors", LORA)
    whole.write_bytes(whole.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"--checkpoints: .*is cut"):
        find([str(whole)], "base")
    (tmp_path / "cut-4.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match="or cut"):
        find([str(tmp_path / "cut-4.pt")], "base")


def test_accelerates_part_of_a_custom_diffusion_is_refused(tmp_path: Path) -> None:
    names: Shapes = {"mid.attn2.processor.to_k_custom_diffusion.weight": (4, 4)}
    safetensors(tmp_path / "checkpoint-100" / "model.safetensors", names)
    with pytest.raises(UserError, match="a part of accelerate's state"):
        find([str(tmp_path / "checkpoint-*")], "base")


def test_thousands_of_large_files_are_told_by_their_headers(tmp_path: Path) -> None:
    for step in range(1, 301):
        file = safetensors(tmp_path / f"dog-step{step:08d}.safetensors", {})
        text = json.dumps(
            {
                "unet.x.lora_A.weight": {
                    "dtype": "F32",
                    "shape": [5, 5_000_000],
                    "data_offsets": [0, 100_000_000],
                }
            }
        ).encode()
        with file.open("wb") as opened:  # a hole on disk, as large as a real one
            opened.write(struct.pack("<Q", len(text)) + text)
            opened.truncate(8 + len(text) + 100_000_000)
    import tracemalloc

    tracemalloc.start()
    found = find([str(tmp_path)], "base")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.steps) == 301
    assert peak < 20_000_000


def test_a_series_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    for step in (1, 2):
        safetensors(tmp_path / "out" / f"dog-step{step:08d}.safetensors", KOHYA, step)
    found = find([str(tmp_path / "out")], "base")
    found.write(tmp_path)
    assert Series.read(tmp_path) == found
    assert Series.read(tmp_path / "out") is None
