"""What a directory or hub id may look like: variants, another autoencoder, other resolutions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from noiseprobe.core.errors import UserError
from noiseprobe.models import load_model
from noiseprobe.models.variants import needed, variant_of_each
from noiseprobe.run.defaults import METHODS, SHORT, defaults_of, family_of, of_family
from noiseprobe.run.families import FAMILIES
from tests.conftest import Models
from tests.models import original_layout, small

NAMES = {
    "sdxl": "stable-diffusion-xl",
    "sd3": "stable-diffusion-3",
    "flux-dev": "flux",
    "flux-schnell": "flux-schnell",
    "sana": "sana",
    "pixart-sigma": "pixart-sigma",
}


@pytest.fixture(scope="session")
def halves(model_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with nothing but fp16 weights."""
    directory = tmp_path_factory.mktemp("halves") / "small-sd"
    stock = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)
    stock.to(dtype=torch.float16).save_pretrained(directory, variant="fp16")
    assert {each.suffixes[0] for each in directory.glob("*/*.safetensors")} == {".fp16"}
    return directory


def test_a_directory_of_fp16_weights_needs_its_variant_named(
    halves: Path, model_directory: Path
) -> None:
    with pytest.raises(UserError, match=r"its \w+ as fp16 alone; add --variant fp16"):
        load_model(str(halves), "cpu")
    own = load_model(str(halves), "cpu", variant="fp16")
    other = load_model(str(model_directory), "cpu")
    for name, each in other.denoiser.state_dict().items():
        found = own.denoiser.state_dict()[name]
        assert found.dtype == torch.float32
        assert torch.equal(found, each.half().float())


def test_a_missing_variant_is_named_with_those_that_are_there(
    halves: Path, model_directory: Path
) -> None:
    with pytest.raises(UserError, match="no variant 'bf16'; there are: fp16"):
        load_model(str(halves), "cpu", variant="bf16")
    with pytest.raises(UserError, match="no variant 'fp16'; there are: none, but whole weights"):
        load_model(str(model_directory), "cpu", variant="fp16")


@pytest.mark.parametrize(
    ("files", "asked", "expected"),
    [
        ("unet/diffusion_pytorch_model.safetensors", None, None),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "fp16", "fp16"),
        ("unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors", "fp16", "fp16"),
        ("unet/diffusion_pytorch_model-00001-of-00002.safetensors", None, None),
        ("unet/diffusion_pytorch_model.non_ema.bin unet/diffusion_pytorch_model.bin", None, None),
        ("unet/model.safetensors vae/model.fp16.safetensors", "fp16", None),
    ],
)
def test_the_variant_of_a_part_is_told_by_its_files(
    files: str, asked: str | None, expected: str | None
) -> None:
    assert variant_of_each("m", ["unet", "vae"], files.split(), asked)["unet"] == expected


def test_a_part_without_the_variant_that_others_have_is_named() -> None:
    files = ["unet/model.fp16.safetensors", "vae/model.bf16.safetensors"]
    with pytest.raises(UserError, match="no variant 'fp16' of its vae; there are: bf16"):
        variant_of_each("m", ["unet", "vae"], files, "fp16")
    with pytest.raises(UserError, match="of its unet as bf16, fp16 alone; add --variant with one"):
        variant_of_each("m", ["unet", "vae"], files, None)


def test_nothing_is_fetched_but_what_is_loaded() -> None:
    weights = "unet/diffusion_pytorch_model"
    files = [
        "model_index.json",
        "other/config.json",
        "unet/config.json",
        *(f"{weights}{kind}" for kind in (".bin", ".safetensors", ".fp16.safetensors", ".msgpack")),
        "vae/config.json",
        "vae/diffusion_pytorch_model.bin",
        "tokenizer/vocab.json",
    ]
    fp16 = needed(files, {"unet": "fp16", "vae": None, "tokenizer": None})
    others = ["vae/config.json", "vae/diffusion_pytorch_model.bin", "tokenizer/vocab.json"]
    assert fp16 == ["unet/config.json", f"{weights}.fp16.safetensors", *others]
    assert needed(files, {"unet": None}) == ["unet/config.json", f"{weights}.safetensors"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fetched(cache: Path, directory: Path, revision: str = "main") -> str:
    """Put a model where the hub's client keeps what it has fetched; its id."""
    place = cache / "models--somebody--something"
    shutil.copytree(directory, place / "snapshots" / f"of-{revision}")
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / revision).write_text(f"of-{revision}")
    return "somebody/something"


def test_a_hub_id_that_was_fetched_loads_without_the_hub(
    cache: Path, halves: Path, model_directory: Path
) -> None:
    repo = fetched(cache, model_directory)
    fetched(cache, halves, "half")
    assert family_of(repo) == "stable-diffusion"
    whole = load_model(repo, "cpu")
    half = load_model(repo, "cpu", revision="half", variant="fp16")
    exact, rounded = whole.denoiser.conv_in.weight, half.denoiser.conv_in.weight
    assert torch.equal(exact.half().float(), rounded)
    assert not torch.equal(exact, rounded)
    with pytest.raises(UserError, match="no variant 'fp16'; there are: none, but whole weights"):
        load_model(repo, "cpu", variant="fp16")
    with pytest.raises(UserError, match="cannot be had from the hub at revision 'gone'"):
        load_model(repo, "cpu", revision="gone")


@pytest.fixture
def another(tmp_path: Path) -> AutoencoderKL:
    torch.manual_seed(3)
    made = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=0.25,
    )
    made.save_pretrained(tmp_path / "vae")
    return made


@pytest.mark.parametrize("layout", ["directory", "pipeline", "original", "prefixed", "diffusers"])
def test_another_autoencoder_takes_the_place_of_the_models_own(
    layout: str, another: AutoencoderKL, model_directory: Path, tmp_path: Path
) -> None:
    source = tmp_path / "vae"
    if layout == "pipeline":
        source = tmp_path
    elif layout != "directory":
        weights = {
            "original": original_layout.autoencoder(another),
            "prefixed": original_layout.under(
                "first_stage_model.", original_layout.autoencoder(another)
            ),
            "diffusers": another.state_dict(),
        }[layout]
        source = tmp_path / "vae.safetensors"
        save_file({name: each.contiguous() for name, each in weights.items()}, source)
    model = load_model(str(model_directory), "cpu", vae=str(source))
    for name, each in another.state_dict().items():
        assert torch.equal(model.vae.state_dict()[name], each)
    # A file has no configuration: it is taken to be as the model's own.
    scale = 0.25 if source.is_dir() else 0.7
    latents = model.sample_latents(*torch.ones(3, 1, 4, 16, 16))
    assert torch.allclose(latents, torch.tensor(2 * scale))


def test_what_is_no_autoencoder_is_refused_in_one_line(
    model_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("none")
    save_file({"encoder.conv_in.weight": torch.zeros(1)}, tmp_path / "small.safetensors")
    AutoencoderTiny().save_pretrained(tmp_path / "tiny")
    sources = [tmp_path, tmp_path / "text.txt", tmp_path / "small.safetensors", tmp_path / "none"]
    sources.append(tmp_path / "tiny")
    for source in [*sources, model_directory / "unet"]:
        with pytest.raises(UserError, match=r"^--vae: ") as error:
            load_model(str(model_directory), "cpu", vae=str(source))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", small.SMALL)
def test_an_autoencoder_of_another_family_is_refused_in_one_line(
    name: str, small_models: Models, tmp_path: Path
) -> None:
    other = AutoencoderKL(latent_channels=5)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=r"channels and its vae gives 5") as error:
        load_model(str(small_models(name)), "cpu", vae=str(tmp_path / "other"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", small.SMALL)
def test_every_family_is_known_by_its_index_and_takes_another_resolution(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    small.SMALL[name]().save_pretrained(tmp_path / name)
    assert family_of(str(tmp_path / name)) == NAMES[name]
    model = load_model(str(tmp_path / name), "cpu", resolution=32)
    captions = ["a photo of a dog", "a cool photo of the dog"]
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = model.encode_images(pixels)
    assert mean.shape[1:] == model.latent_shape == (4, 32 // model.cell, 32 // model.cell)
    latents = model.sample_latents(mean, std, torch.zeros_like(mean))
    times = torch.as_tensor(model.path.times(torch.tensor([0.3, 0.7]).numpy()))
    if times.is_floating_point():
        times = times.float()
    with torch.no_grad():
        losses = model.loss(
            latents, torch.randn_like(latents), times, model.encode_captions(captions)
        )
    assert losses.shape == (2,)
    assert losses.isfinite().all()
    with pytest.raises(UserError, match="--resolution: 31 given; give a multiple of"):
        load_model(str(tmp_path / name), "cpu", resolution=31)


def test_each_family_draws_as_its_stock_pipeline_does_by_default() -> None:
    import inspect

    import diffusers

    families = {name.split(".")[0].replace("_", "-"): kind for kind, name in FAMILIES.items()}
    assert {*families, "flux-schnell", "tiny-sd"} == set(SHORT)
    for family, kind in families.items():
        taken = inspect.signature(getattr(diffusers, kind).__call__).parameters
        own = of_family(family, "textual-inversion")
        assert own["guidance"] == taken["guidance_scale"].default
        assert own["sampling_steps"] == taken["num_inference_steps"].default
    schnell = of_family("flux-schnell", "dreambooth-lora")
    assert (schnell["guidance"], schnell["sampling_steps"]) == (0, 4)


def test_a_criterion_can_fire_within_the_steps_of_every_default() -> None:
    for family in SHORT:
        for method in METHODS:
            own = of_family(family, method)
            assert 2 <= own["window"] < own["steps"]
            assert own["checkpoint_every"] <= own["steps"] / 2


def test_defaults_follow_the_model_at_hand(tmp_path: Path, model_directory: Path) -> None:
    small.stable_diffusion_xl().save_pretrained(tmp_path / "xl")
    xl = defaults_of(str(tmp_path / "xl"), "dreambooth-lora")
    assert (xl["steps"], xl["learning_rate"], xl["guidance"]) == (500, 1e-4, 5.0)
    assert defaults_of(str(model_directory), "dreambooth-lora")["steps"] == 1000


def run(directory: object, *more: str) -> subprocess.CompletedProcess[str]:
    """`noiseprobe run` in a process that must not import torch, and that says how long it took."""
    program = (
        "import sys, time\n"
        "sys.modules['torch'] = None  # importing it is an error from now on\n"
        "from noiseprobe.cli.app import main\n"
        "main()\n"
    )
    arguments = [sys.executable, "-c", program, "run", "--model", str(directory), *more]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_what_is_no_known_model_is_refused_before_torch_is_imported(
    tmp_path: Path, model_directory: Path
) -> None:
    shutil.copytree(model_directory, tmp_path / "other")
    index = tmp_path / "other" / "model_index.json"
    told = json.loads(index.read_text()) | {"_class_name": "WuerstchenPipeline"}
    index.write_text(json.dumps(told))
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.safetensors").write_text("a text")
    weights = load_file(next((model_directory / "unet").glob("*.safetensors")))
    save_file(weights, tmp_path / "part.safetensors")
    refused = {
        "other": "is a WuerstchenPipeline, which is not known; known are StableDiffusionPipeline",
        "empty": "has no model_index.json",
        "text.safetensors": "is no .safetensors file",
        "part.safetensors": "is one part of a diffusers pipeline",
        "gone": "neither a directory here, nor a file of weights, nor a hub id",
    }
    for name, reason in refused.items():
        ended = run(tmp_path / name)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert reason in ended.stderr
        assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("what", ["file", "halves"])
def test_a_whole_run_of_a_file_and_of_a_directory_of_halves(
    what: str, call: Any, given: dict[str, Any], model_directory: Path, halves: Path, tmp_path: Path
) -> None:
    stock = StableDiffusionPipeline.from_pretrained(model_directory, safety_checker=None)
    weights = original_layout.stable_diffusion(stock)
    file = tmp_path / "model.safetensors"
    save_file({name: each.contiguous() for name, each in weights.items()}, file)
    models = {
        "file": ["--model", file, "--base", model_directory],
        "halves": ["--model", halves, "--variant", "fp16"],
    }
    short = {"steps": 2, "settings": "timesteps"}
    own = {key: each for key, each in given.items() if key not in ("model", "class_noun")} | short
    flags = [word for key, each in own.items() for word in (f"--{key.replace('_', '-')}", each)]
    out = tmp_path / "run"
    code, _, err = call("run", *flags, "--class", "dog", *models[what], "--out", out)
    assert code == 0, err
    assert json.loads((out / "summary.json").read_text())["steps"] == 2
    assert (out / "result").is_dir()
    assert call("probe", out, "--replicates", 3)[0] == 0
