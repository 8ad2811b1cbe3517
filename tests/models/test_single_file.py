"""One file of weights, as A1111, ComfyUI and kohya write it, is the model that it was made of."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from noiseprobe.core.errors import UserError
from noiseprobe.models import load_model, single_file
from noiseprobe.models.converting import text_weights
from noiseprobe.models.loading import class_of
from noiseprobe.models.single_file import CONFIGS
from noiseprobe.models.skeleton import skeleton_of
from noiseprobe.run.defaults import family_of
from noiseprobe.run.weight_files import kind_in
from tests.models import original_layout, small

Made = tuple[Path, Path]
"""A pipeline's directory, and one file with its weights."""


def written(folder: Path, pipeline: Any, layout: Callable[[Any], dict[str, Tensor]]) -> Made:
    pipeline.save_pretrained(folder / "pipeline")
    weights = {name: each.contiguous() for name, each in layout(pipeline).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder / "pipeline", folder / "model.safetensors"


@pytest.fixture(scope="session")
def first(model_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    stock = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)
    return written(tmp_path_factory.mktemp("first"), stock, original_layout.stable_diffusion)


@pytest.fixture(scope="session")
def second(model_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """As Stable Diffusion 2: with an OpenCLIP, and an attention in the autoencoder."""
    stock = StableDiffusionPipeline.from_pretrained(
        model_directory, safety_checker=None, vae=small.vae(scaling_factor=0.3)
    )
    layout = original_layout.stable_diffusion_2
    return written(tmp_path_factory.mktemp("second"), stock, layout)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.manual_seed(0)
    layout = original_layout.stable_diffusion_xl
    return written(tmp_path_factory.mktemp("large"), small.stable_diffusion_xl(), layout)


@pytest.fixture(scope="session")
def third(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.manual_seed(0)
    layout = original_layout.stable_diffusion_3
    return written(tmp_path_factory.mktemp("third"), small.stable_diffusion_3(), layout)


@pytest.mark.parametrize(
    ("made", "family"),
    [
        ("first", "stable-diffusion"),
        ("second", "stable-diffusion"),
        ("large", "stable-diffusion-xl"),
        ("third", "stable-diffusion-3"),
    ],
)
def test_a_file_loads_to_the_weights_of_the_directory_that_it_was_made_of(
    request: pytest.FixtureRequest, made: str, family: str
) -> None:
    directory, file = request.getfixturevalue(made)
    assert family_of(str(file)) == family_of(str(directory)) == family
    own = load_model(str(file), "cpu", base=str(directory))
    other = load_model(str(directory), "cpu")
    assert own.parts.keys() == other.parts.keys()
    for name, part in other.parts.items():
        if isinstance(part, torch.nn.Module):
            expected, found = part.state_dict(), own.parts[name].state_dict()
            assert expected.keys() == found.keys()
            for key, each in expected.items():
                assert torch.equal(found[key], each), f"{name}.{key}"
        else:
            assert type(own.parts[name]) is type(part)
    caption = ["a photo of a dog"]
    ours, theirs = own.encode_captions(caption), other.encode_captions(caption)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("made", ["large", "third"])
def test_in_half_precision_it_is_the_same_model_too(
    request: pytest.FixtureRequest, made: str
) -> None:
    directory, file = request.getfixturevalue(made)
    own = load_model(str(file), "cpu", "bf16", base=str(directory))
    other = load_model(str(directory), "cpu", "bf16")
    for name, part in other.parts.items():
        if isinstance(part, torch.nn.Module):
            found = own.parts[name].state_dict()
            for key, each in part.state_dict().items():
                assert found[key].dtype == each.dtype, f"{name}.{key}"
                assert torch.equal(found[key], each), f"{name}.{key}"


def test_what_it_lacks_may_be_a_variant_of_the_base(large: Made, tmp_path: Path) -> None:
    directory, file = large
    weights = load_file(file)
    own = {name: each for name, each in weights.items() if not name.startswith("first_stage_mo")}
    save_file(own, lacking := tmp_path / "lacking.safetensors")
    shutil.copytree(directory, base := tmp_path / "base")
    vae = base / "vae" / "diffusion_pytorch_model.safetensors"
    vae.rename(vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(UserError, match="has weights of its vae as fp16 alone; add --variant fp16"):
        load_model(str(lacking), "cpu", base=str(base))
    found = load_model(str(lacking), "cpu", base=str(base), variant="fp16").vae.state_dict()
    expected = load_model(str(directory), "cpu").vae.state_dict()
    assert all(torch.equal(found[name], each) for name, each in expected.items())


@pytest.mark.parametrize("made", ["large", "third"])
def test_without_weights_it_has_the_parts_of_its_directory(
    request: pytest.FixtureRequest, made: str
) -> None:
    directory, file = request.getfixturevalue(made)
    (kind, own), (expected, other) = (
        skeleton_of(str(file), base=str(directory)),
        skeleton_of(str(directory)),
    )
    assert kind is expected
    assert own.keys() == other.keys()
    for name, part in other.items():
        if isinstance(part, torch.nn.Module):
            shapes = {key: each.shape for key, each in part.state_dict().items()}
            assert {key: each.shape for key, each in own[name].state_dict().items()} == shapes
            assert all(each.is_meta for each in own[name].parameters())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(cache: Path, repo: str, content: Path, folder: str = "") -> None:
    """Put a folder where the hub's client keeps what it has fetched."""
    place = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(content, place / "snapshots" / "abc" / folder, dirs_exist_ok=True)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text("abc")


VOCABULARIES = {"tokenizer": "clip", "tokenizer_2": "clip-open", "tokenizer_3": "t5"}


def as_packaged(directory: Path, kind: str, folder: Path) -> Path:
    """The configurations of a small pipeline, laid out as those of the package."""
    folder.mkdir()
    index = json.loads((directory / "model_index.json").read_text())
    parts: dict[str, Any] = {}
    for part, told in index.items():
        if not isinstance(told, list) or told[0] not in ("diffusers", "transformers"):
            continue
        own = next((directory / part).glob("*config.json"))
        parts[part] = [*told, VOCABULARIES.get(part, part)]
        shutil.copy(own, folder / f"{part}.json")
    (folder / "kinds.json").write_text(json.dumps({kind: parts}))
    return folder


def test_without_a_base_the_package_has_configurations_and_the_cache_a_vocabulary(
    first: Made, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = first
    monkeypatch.setattr(single_file, "CONFIGS", as_packaged(directory, "sd-1", tmp_path / "own"))
    with pytest.raises(UserError, match="has no tokenizer, and the hub's cache neither; add"):
        load_model(str(file), "cpu")
    cached(cache, "openai/clip-vit-large-patch14", directory / "tokenizer")
    own, other = load_model(str(file), "cpu"), load_model(str(directory), "cpu")
    caption = ["a photo of a dog"]
    ours, theirs = own.encode_captions(caption), other.encode_captions(caption)
    assert torch.equal(ours["words"], theirs["words"])


def test_what_a_file_lacks_comes_from_the_cache(
    large: Made, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = large
    weights = {name: each for name, each in load_file(file).items() if "first_stage" not in name}
    save_file(weights, tmp_path / "without.safetensors")
    own = as_packaged(directory, "sdxl", tmp_path / "own")
    monkeypatch.setattr(single_file, "CONFIGS", own)
    repo = "stabilityai/stable-diffusion-xl-base-1.0"
    cached(cache, repo, directory / "tokenizer", "tokenizer")
    with pytest.raises(UserError, match=f"has no vae, .*such as {repo}"):
        load_model(str(tmp_path / "without.safetensors"), "cpu")
    cached(cache, repo, directory / "vae", "vae")
    model = load_model(str(tmp_path / "without.safetensors"), "cpu")
    assert model.parts["tokenizer_2"].pad_token == "!"
    assert model.parts["tokenizer"].pad_token != "!"
    stock = load_file(directory / "vae" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(model.vae.state_dict()["quant_conv.weight"], stock["quant_conv.weight"])


def test_an_sd3_file_without_a_t5_is_a_model_without_one(
    third: Made, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, file = third
    weights = {name: each for name, each in load_file(file).items() if "t5xxl" not in name}
    save_file(weights, tmp_path / "without.safetensors")
    own = as_packaged(directory, "sd-3-medium", tmp_path / "own")
    monkeypatch.setattr(single_file, "CONFIGS", own)
    cached(cache, "openai/clip-vit-large-patch14", directory / "tokenizer")
    model = load_model(str(tmp_path / "without.safetensors"), "cpu")
    assert [each.name for each in model.encoders] == ["text_encoder", "text_encoder_2"]


LAYOUTS: dict[str, Callable[[Any], dict[str, Tensor]]] = {
    "UNet2DConditionModel": original_layout.unet,
    "AutoencoderKL": original_layout.autoencoder,
    "SD3Transformer2DModel": original_layout.sd3,
    "FluxTransformer2DModel": original_layout.flux,
}
PREFIXES = {"unet": "model.diffusion_model.", "transformer": "model.diffusion_model."}
# Of the models on the hub, as their cards and papers round them: 860M, 866M, 2.6B, 2.5B, 12B.
SIZES = {
    "sd-1": 859_520_964,
    "sd-2": 865_910_724,
    "sdxl": 2_567_463_684,
    "sd-3.5-medium": 2_243_171_520,
    "flux-dev": 11_901_408_320,
}


@pytest.mark.parametrize("kind", SIZES)
def test_configurations_of_the_package_fit_files_of_the_real_sizes(
    kind: str, tmp_path: Path
) -> None:
    """Names and shapes alone: the file has a real header, and no weights behind it."""
    index = json.loads((CONFIGS / "kinds.json").read_text())[kind]
    weights: dict[str, Tensor] = {}
    for part in ("unet", "transformer", "vae"):
        if part not in index:
            continue
        library, name, config = index[part]
        made = class_of("", part, library, name)
        told = json.loads((CONFIGS / f"{config}.json").read_text())
        with init_empty_weights(include_buffers=True):
            model = made.from_config(told)
        original = original_layout.under(PREFIXES.get(part, ""), LAYOUTS[name](model))
        back = SINGLE_FILE_LOADABLE_CLASSES[name]["checkpoint_mapping_fn"](
            config=told, checkpoint=dict(original)
        )
        expected = {key: each.shape for key, each in model.state_dict().items()}
        assert {key: each.shape for key, each in back.items()} == expected
        if part != "vae":
            assert sum(each.numel() for each in model.parameters()) == SIZES[kind]
            weights |= original
    header, end = {}, 0
    for key, each in weights.items():
        header[key] = {"dtype": "F16", "shape": [*each.shape], "data_offsets": [end, end]}
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    assert kind_in(file).name == kind


def test_open_clips_of_the_real_sizes_fit_too() -> None:
    """With one layer more than is used, as in files of Stable Diffusion 2."""
    import transformers

    for config, name in (("clip-h", "CLIPTextModel"), ("clip-g", "CLIPTextModelWithProjection")):
        made = getattr(transformers, name)
        told = json.loads((CONFIGS / f"{config}.json").read_text())
        more = told | {"num_hidden_layers": told["num_hidden_layers"] + 1}
        with init_empty_weights():
            used = made(made.config_class.from_dict(told))
            whole = made(made.config_class.from_dict(more))
        found = text_weights(used, original_layout.open_clip(whole))
        shapes = {key: each.shape for key, each in found.items()}
        expected = {key: each.shape for key, each in used.state_dict().items()}
        assert {key: shapes[key] for key in expected} == expected


def test_stable_diffusion_2_says_what_it_predicts_or_is_asked(second: Made, tmp_path: Path) -> None:
    directory, file = second
    with pytest.raises(UserError, match="does not say what it predicts; add --prediction"):
        load_model(str(file), "cpu")
    told = tmp_path / "told.safetensors"
    save_file(load_file(file), told, metadata={"modelspec.prediction_type": "v"})
    assert kind_in(told).predicts == "v_prediction"
    for model in (
        load_model(str(told), "cpu", base=str(directory)),
        load_model(str(file), "cpu", base=str(directory), prediction="v_prediction"),
    ):
        assert model.parts["scheduler"].config.prediction_type == "v_prediction"
    usual = load_model(str(file), "cpu", base=str(directory))  # as the base says
    assert usual.parts["scheduler"].config.prediction_type == "epsilon"


def test_a_file_that_marks_v_prediction_and_zero_snr_is_trained_so(
    large: Made, tmp_path: Path
) -> None:
    directory, file = large
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file(load_file(file) | marks, tmp_path / "v.safetensors")
    model = load_model(str(tmp_path / "v.safetensors"), "cpu", base=str(directory))
    config = model.parts["scheduler"].config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", True)


def test_a_pickle_of_weights_alone_loads_and_another_is_not_run(
    first: Made, tmp_path: Path
) -> None:
    directory, file = first
    torch.save({"state_dict": load_file(file), "global_step": 3}, tmp_path / "model.ckpt")
    own = load_model(str(tmp_path / "model.ckpt"), "cpu", base=str(directory))
    other = load_model(str(directory), "cpu")
    for key, each in other.denoiser.state_dict().items():
        assert torch.equal(own.denoiser.state_dict()[key], each)

    ran = tmp_path / "ran"
    torch.save({"state_dict": load_file(file), "callback": Runs(ran)}, tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match="holds more than weights") as error:
        load_model(str(tmp_path / "bad.ckpt"), "cpu", base=str(directory))
    assert "\n" not in str(error.value)
    assert not ran.exists()

    stock = {"vae": "diffusion_pytorch_model.bin", "text_encoder": "pytorch_model.bin"}
    for part, name in stock.items():
        broken = shutil.copytree(directory, tmp_path / f"pickled-{part}")
        (weights,) = (broken / part).glob("*.safetensors")
        torch.save(load_file(weights) | {"more": Runs(ran)}, broken / part / name)
        weights.unlink()
        with pytest.raises(UserError, match=f"cannot load .*{part}") as error:
            load_model(str(broken), "cpu")
        assert "\n" not in str(error.value)
        assert not ran.exists()


class Runs:
    """What a pickle may do where it is trusted: make a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_that_such_a_pickle_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def header(file: Path, **shapes: list[int]) -> Path:
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, file)
    return file


KINDS = {
    "sd-1": ["input_blocks.0.0.weight"],
    "sdxl": ["input_blocks.0.0.weight", "label_emb.0.0.weight"],
    "sd-3-medium": ["joint_blocks.0.x_block.attn.qkv.weight"],
    "sd-3.5-medium": ["joint_blocks.0.x_block.attn2.qkv.weight"],
    "sd-3.5-large": [f"joint_blocks.{number}.x_block.attn.qkv.weight" for number in (0, 30, 37)],
    "flux-dev": ["double_blocks.0.a", "single_blocks.0.a", "guidance_in.in_layer.weight"],
    "flux-schnell": ["double_blocks.0.a", "single_blocks.0.a"],
    "sana-1600m": ["blocks.0.cross_attn.proj.bias", "blocks.0.mlp.inverted_conv.conv.bias"],
    "sana-600m": [
        *("blocks.0.cross_attn.proj.bias", "blocks.0.mlp.inverted_conv.conv.bias"),
        "blocks.27.mlp.inverted_conv.conv.bias",
    ],
}


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
@pytest.mark.parametrize("kind", KINDS)
def test_a_denoiser_alone_tells_its_kind_by_its_names(
    kind: str, prefix: str, tmp_path: Path
) -> None:
    names = {prefix + name: [1, 4] for name in KINDS[kind]}
    found = kind_in(header(tmp_path / "model.safetensors", **names))
    assert (found.name, found.pipeline in single_file.PLACES) == (kind, True)
    if kind.startswith("flux"):
        family = family_of(str(tmp_path / "model.safetensors"))
        assert family == ("flux" if kind == "flux-dev" else "flux-schnell")


OTHERS = {
    "lora_unet_down.lora_down.weight": "is a LoRA",
    "clip_l": "is an embedding",
    "encoder.conv_in.weight": "--vae takes it",
    "down_blocks.0.resnets.0.conv1.weight": "is one part of a diffusers pipeline",
    "conditioner.embedders.0.model.ln_final.weight": "is the refiner of SDXL",
    "double_stream_modulation_img.lin.weight": "is FLUX.2",
    "input_blocks.0.0.weight.absmax": "has quantised weights",
    "layers.0.weight": r"of no family that is known \(such as layers.0.weight\)",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_no_model_is_refused_by_what_it_is(tmp_path: Path, name: str) -> None:
    file = header(tmp_path / "other.safetensors", **{name: [1, 4]})
    with pytest.raises(UserError, match=OTHERS[name]):
        family_of(str(file))


def test_inpainting_a_cut_file_and_a_file_of_another_sort_are_refused(
    first: Made, tmp_path: Path
) -> None:
    nine = {"model.diffusion_model.input_blocks.0.0.weight": [3, 9]}
    with pytest.raises(UserError, match="takes 9 channels, as for inpainting"):
        kind_in(header(tmp_path / "nine.safetensors", **nine))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(first[1].read_bytes()[:-100])
    with pytest.raises(UserError, match="is cut"):
        kind_in(cut)
    for name in ("text.safetensors", "text.ckpt", "text.txt"):
        (tmp_path / name).write_text("a text that is long enough for a header")
        with pytest.raises(UserError, match=f"{name}' is no"):
            kind_in(tmp_path / name)


def test_weights_that_a_file_lacks_or_has_in_another_size_are_named(
    first: Made, second: Made, tmp_path: Path
) -> None:
    directory, file = first
    for name, prefix, part in (
        ("time_embed.0.weight", "model.diffusion_model.", "unet"),
        ("encoder.conv_in.weight", "first_stage_model.", "vae"),
        ("text_model.final_layer_norm.bias", "cond_stage_model.transformer.", "text_encoder"),
    ):
        weights = load_file(file)
        spoiled = weights.pop(prefix + name)
        save_file(weights, tmp_path / "less.safetensors")
        with pytest.raises(UserError, match=f"cannot load the {part} of .*lacks 1 weights"):
            load_model(str(tmp_path / "less.safetensors"), "cpu", base=str(directory))
        weights[prefix + name] = torch.zeros([size + 1 for size in spoiled.shape])
        save_file(weights, tmp_path / "other.safetensors")
        with pytest.raises(UserError, match=f"cannot load the {part} of") as error:
            load_model(str(tmp_path / "other.safetensors"), "cpu", base=str(directory))
        assert "\n" not in str(error.value)


def test_a_base_of_another_family_and_options_of_files_for_a_directory_are_refused(
    first: Made, large: Made
) -> None:
    with pytest.raises(UserError, match=r"--base: .* is a StableDiffusionXLPipeline, and"):
        load_model(str(first[1]), "cpu", base=str(large[0]))
    with pytest.raises(UserError, match="--base: a directory or hub id says it itself"):
        load_model(str(first[0]), "cpu", base=str(first[0]))
    with pytest.raises(UserError, match="--prediction: a directory"):
        load_model(str(first[0]), "cpu", prediction="epsilon")
    with pytest.raises(UserError, match="--variant: a file"):
        load_model(str(first[1]), "cpu", variant="fp16")
