"""Checkpoints that other trainers left: the same losses as our own run of the same weights."""

import gc
import json
import re
import shutil
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from noiseprobe.core.errors import UserError
from noiseprobe.draws.draws import Batch
from noiseprobe.models import load_model
from noiseprobe.run.directory import Run
from noiseprobe.run.foreign import Checkpoint, Series
from noiseprobe.run.foreign_files import look_at
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.budget import fitted, parse_budget
from noiseprobe.stages.foreign import find_series, settings_of, start_foreign
from noiseprobe.stages.pipeline import probe_stage, start, train_stage
from noiseprobe.training.methods.foreign import PartlyLoadedWarning
from noiseprobe.training.preparing import Personalization, prepare
from tests.conftest import Models, short
from tests.models import original_layout

CAPTION = "a photo of a sks dog"
STEPS = (2, 4, 6)
AS_INVERSION: dict[str, Any] = {
    "prior": False,
    "rescale": False,
    "center_crop": True,
    "instance_prompt": "a photo of a <v> dog",
}
"""Custom Diffusion on photographs as they are, at one caption."""


@pytest.fixture(scope="module")
def usual(model_directory: Path, photographs: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    more = {"settings": "deterministic,timesteps,captions", "learning_rate": 0.02}
    return short(model_directory, photographs) | more


@pytest.fixture(scope="module")
def ours(usual: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Our own run of a method, trained and probed, once for all tests."""
    made: dict[str, Run] = {}

    def run_of(method: str, **more: Any) -> Run:
        if method not in made:
            config = resolve(usual | {"method": method} | more)
            run, ready = start(config, tmp_path_factory.mktemp("ours") / method)
            train_stage(run, config, ready)
            probe_stage(run, config, ready)
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
        one, other = (
            each[each["step"].isin(steps)].set_index(index)[loss] for each in (one, other)
        )
        assert set(one.index) == set(other.index)
        np.testing.assert_allclose(one, other.loc[one.index], rtol=1e-6)
        assert one.groupby("step").mean().nunique() == len(steps)  # the weights differ


def theirs(
    usual: dict[str, Any],
    patterns: list[str],
    out: Path,
    caption: str | None = CAPTION,
    **more: Any,
) -> Run:
    """A run about another trainer's checkpoints, probed."""
    names = ("concept", "model", "eval_batch", "settings", "replicates", "probe_batch")
    given = {name: usual[name] for name in (*names, "micro_batch", "device")} | more
    series = find_series(patterns, given, caption)
    config = settings_of(series, given)
    run, ready = start_foreign(series, config, out)
    probe_stage(run, ready.config, ready)
    return run


def as_kohya(file: Path, out: Path, step: int, alpha: float) -> None:
    """A LoRA of diffusers, key by key as `networks/lora.py` of sd-scripts names it."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(file).items():
        part, _, rest = name.partition(".")
        rest = re.sub(r"\.(processor\.)?(to_\w+?)_lora\.", r".\2.lora.", rest)
        found = re.fullmatch(r"(.*)\.lora(?:_linear_layer)?\.(down|up)\.weight", rest)
        assert found, name
        layer, way = found.groups()
        if part == "text_encoder":
            layer = f"text_model.{layer.removeprefix('text_model.')}"
        place = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part] + layer.replace(".", "_")
        renamed[f"{place}.lora_{way}.weight"] = tensor
        renamed[f"{place}.alpha"] = torch.tensor(alpha)
    save_file(renamed, out, metadata={"ss_steps": str(step), "ss_epoch": "1"})


def as_kohyas(run: Run, out: Path) -> Path:
    """The same in kohya's form, named by an epoch, a step and nothing, as its trainer does."""
    out.mkdir()
    for step, name in zip(STEPS, ("dog-000001", "dog-step00000004", "dog"), strict=True):
        file = run.checkpoint(step) / "pytorch_lora_weights.safetensors"
        as_kohya(file, out / f"{name}.safetensors", step, alpha=2.0)
    return out


@pytest.mark.parametrize(
    ("lay_out", "pattern"), [(as_stock, "checkpoint-*"), (as_kohyas, "*.safetensors")]
)
def test_adapters_of_stock_scripts_and_kohya_are_probed_and_picked(
    call: Any,
    lora: Run,
    flags: list[str],
    tmp_path: Path,
    lay_out: Callable[[Run, Path], Path],
    pattern: str,
) -> None:
    out = lay_out(lora, tmp_path / "out")
    words = ["--checkpoints", f"{out}/{pattern}", "--caption", CAPTION]
    probed_and_picked(call, [*flags, *words], tmp_path / "run", lora, (0, *STEPS))


def probed_and_picked(
    call: Any, words: list[str], out: Path, own: Run, steps: tuple[int, ...]
) -> None:
    """One command probes files to the losses of our own run, and another picks one of them."""
    code, printed, err = call("probe", *words, "--out", out, "--json")
    assert code == 0, err
    assert json.loads(printed)["take"] is None
    run = Run.open(out)
    assert run.checkpoint_steps() == [0, *STEPS]
    same_losses(run, own, steps)
    code, printed, err = call("pick", out, "--json")
    assert code == 0, err
    assert [row["step"] for row in json.loads(printed)["checkpoints"]] == [0, *STEPS]


def test_adapters_for_layers_that_the_model_has_not_are_counted_in_a_warning(
    lora: Run, usual: dict[str, Any], tmp_path: Path
) -> None:
    files = {}
    for form in ("diffusers", "kohya"):
        files[form] = tmp_path / f"{form}-2.safetensors"
        tensors = load_file(lora.checkpoint(6) / "pytorch_lora_weights.safetensors")
        save_file(tensors, tmp_path / "whole.safetensors")
        if form == "kohya":
            as_kohya(tmp_path / "whole.safetensors", files[form], 2, alpha=2.0)
            tensors = load_file(files[form])
        more = {
            name.replace("blocks_0", "blocks_7").replace("blocks.0", "blocks.7"): each.clone()
            for name, each in tensors.items()
            if "down_blocks" in name
        }
        assert more.keys() - tensors.keys()
        save_file(more | tensors, files[form])
    checkpoints = [Checkpoint(0, Path("base"))] + [
        Checkpoint(number, path, ((path, "lora"),), text=True)
        for number, path in enumerate(files.values(), start=1)
    ]
    config = resolve({name: usual[name] for name in ("concept", "class_noun", "model", "device")})
    for path in files.values():
        ready = prepare(config, series=Series(tuple(checkpoints), captions=(CAPTION,)))
        with pytest.warns(PartlyLoadedWarning, match=r"\d+ of its \d+ adapters land") as told:
            ready.method.restore(path)
        landed, asked = map(int, re.findall(r"(\d+) of its (\d+)", str(told[0].message))[0])
        assert 0 < landed < asked


@pytest.fixture
def words(ours: Callable[..., Run], tmp_path: Path) -> tuple[Run, Path]:
    """Our own inversion, and its words as diffusers' script leaves them."""
    run = ours("textual-inversion", num_vectors=2)
    for step in STEPS:
        name = f"learned_embeds-steps-{step}.safetensors"
        shutil.copy(run.checkpoint(step) / "learned_embeds.safetensors", tmp_path / name)
    return run, tmp_path


def as_state(vectors: torch.Tensor, model: Path, out: Path) -> Path:
    """What accelerate saves of the script of inversion: the text encoder, of more rows."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    encoder, known = pipeline.text_encoder, len(pipeline.tokenizer)
    encoder.resize_token_embeddings(known + len(vectors))
    with torch.no_grad():
        encoder.get_input_embeddings().weight[known:] = vectors
    out.mkdir(parents=True)
    save_file(encoder.state_dict(), out / "model.safetensors", metadata={"format": "pt"})
    torch.save({"state": {}, "param_groups": []}, out / "optimizer.bin")
    return out


@pytest.mark.parametrize("layout", ["learned_embeds-*.safetensors", "checkpoint-*", ""])
def test_words_of_the_stock_inversion_are_probed_and_picked(
    call: Any,
    words: tuple[Run, Path],
    usual: dict[str, Any],
    flags: list[str],
    layout: str,
) -> None:
    own, out = words
    if "learned" not in layout:  # as accelerate's states alone, and both in one folder
        for step in STEPS:
            vectors = load_file(own.checkpoint(step) / "learned_embeds.safetensors")["<v>"]
            as_state(vectors, Path(usual["model"]), out / f"checkpoint-{step}")
    told = ["--placeholder", "<v>"] if layout.startswith("checkpoint") else []
    given = [*flags, "--checkpoints", str(out / layout), *told]
    probed_and_picked(call, given, out / "run", own, STEPS)


def test_a_state_that_cannot_be_a_words_is_refused_in_one_line(
    words: tuple[Run, Path], usual: dict[str, Any], tmp_path: Path
) -> None:
    vectors = load_file(words[0].checkpoint(2) / "learned_embeds.safetensors")["<v>"]
    empty = as_state(vectors[:0], Path(usual["model"]), tmp_path / "checkpoint-1")
    trained = as_state(vectors, Path(usual["model"]), tmp_path / "checkpoint-2")
    tensors = load_file(trained / "model.safetensors")
    name = next(name for name in tensors if name.endswith("final_layer_norm.weight"))
    save_file(tensors | {name: tensors[name] + 1}, trained / "model.safetensors")
    given = {name: usual[name] for name in ("concept", "model", "device")} | {"placeholder": "<v>"}
    series = find_series([str(tmp_path / "checkpoint-*")], given, None)
    ready = prepare(settings_of(series, given), series=series)
    for folder, told in ((empty, "without a new word"), (trained, "final_layer_norm.weight diff")):
        with pytest.raises(UserError, match=told) as error:
            ready.method.restore(folder)
        assert "\n" not in str(error.value)
    without = given.keys() - {"placeholder"}
    with pytest.raises(UserError, match="add --placeholder"):
        find_series([str(trained)], {name: given[name] for name in without}, None)


def test_whole_parts_as_dreambooth_leaves_them(
    ours: Callable[..., Run], usual: dict[str, Any], tmp_path: Path
) -> None:
    own = ours("dreambooth", learning_rate=1e-3, train_text_encoder=True)
    for step in STEPS:
        shutil.copytree(own.checkpoint(step), tmp_path / f"checkpoint-{step}")
    run = theirs(usual, [f"{tmp_path}/checkpoint-*"], tmp_path / "run")
    same_losses(run, own)


def test_attention_and_words_of_custom_diffusion(
    ours: Callable[..., Run], usual: dict[str, Any], tmp_path: Path
) -> None:
    own = ours("custom-diffusion", **AS_INVERSION)
    for step in STEPS:
        shutil.copytree(own.checkpoint(step), tmp_path / f"checkpoint-{step}")
    run = theirs(usual, [str(tmp_path)], tmp_path / "run", "a photo of a <v> dog")
    same_losses(run, own, STEPS)


QKV = tuple(f"transformer.transformer_blocks.0.attn.{name}" for name in ("to_q", "to_k", "to_v"))
ADAPTED: dict[str, dict[str, tuple[str, ...]]] = {
    "sdxl": {
        "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q": (
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        ),
        "lora_te1_text_model_encoder_layers_0_self_attn_out_proj": (
            "text_encoder.text_model.encoder.layers.0.self_attn.out_proj",
        ),
        "lora_te2_text_model_encoder_layers_1_self_attn_out_proj": (
            "text_encoder_2.text_model.encoder.layers.1.self_attn.out_proj",
        ),
    },
    "sd3": {"lora_unet_joint_blocks_0_x_block_attn_qkv": QKV},
    "flux-dev": {
        "lora_unet_double_blocks_0_img_attn_qkv": QKV,
        "lora_unet_single_blocks_0_linear2": ("transformer.single_transformer_blocks.0.proj_out",),
    },
}
"""Of each family, layers as sd-scripts calls them, and as diffusers does: joined and apart."""
ENDS = {
    "unet": ("lora.down", "lora.up"),
    "text_encoder": ("lora_linear_layer.down", "lora_linear_layer.up"),
    "transformer": ("lora_A", "lora_B"),
}
"""How the scripts of diffusers name both halves of an adapter of each part."""
CONVERTED = ("sdxl", "flux-dev")
"""The families whose kohya form diffusers knows (`lora_state_dict` of each pipeline in 0.42)."""


def shape_of(parts: dict[str, torch.nn.Module], layer: str) -> tuple[int, int]:
    """Inputs and outputs of a layer; transformers 5 has no `text_model` within an encoder."""
    part, _, inside = layer.partition(".")
    if not hasattr(parts[part], inside.split(".")[0]):
        inside = inside.removeprefix("text_model.")
    weight = parts[part].get_submodule(inside).weight
    assert isinstance(weight, torch.Tensor)
    return weight.shape[1], weight.shape[0]


def adapter_files(family: str, parts: Any, folder: Path) -> dict[str, Path]:
    """Adapters of two trainings, `a` and `b`, in both forms, and of a model that is wider."""
    rank = 2
    found: dict[str, Path] = {}
    random = torch.Generator().manual_seed(7)
    for name in ("a", "b", "wide"):
        forms: dict[str, dict[str, torch.Tensor]] = {"diffusers": {}, "kohya": {}}
        for joined, layers in ADAPTED[family].items():
            sizes = [shape_of(parts, layer) for layer in layers]
            width = sizes[0][0] * (2 if name == "wide" else 1)
            down = torch.randn(rank, width, generator=random)
            ups = [torch.randn(size, rank, generator=random) for _, size in sizes]
            for layer, up in zip(layers, ups, strict=True):
                first, last = ENDS[layer.partition(".")[0].removesuffix("_2")]
                forms["diffusers"][f"{layer}.{first}.weight"] = down.clone()
                forms["diffusers"][f"{layer}.{last}.weight"] = up
            forms["kohya"][f"{joined}.lora_down.weight"] = down
            forms["kohya"][f"{joined}.lora_up.weight"] = torch.cat(ups)
            forms["kohya"][f"{joined}.alpha"] = torch.tensor(float(rank))
        for form, tensors in forms.items():
            found[f"{name} {form}"] = folder / f"{name}-{form}-{len(found) + 1}.safetensors"
            save_file(tensors, found[f"{name} {form}"])
    return found


@pytest.mark.parametrize("family", ADAPTED)
def test_adapters_of_each_family_in_both_forms(
    small_models: Models, photographs: Path, tmp_path: Path, family: str
) -> None:
    given = {"concept": str(photographs), "class_noun": "dog", "device": "cpu", "resolution": 64}
    config = resolve(given | {"model": str(small_models(family))})
    stock = load_model(config.model, "cpu").stock
    parts = {name: part for name, part in stock.components.items() if hasattr(part, "modules")}
    files = adapter_files(family, parts, tmp_path)
    every = [Checkpoint(0, Path("base"))]
    for number, path in enumerate(files.values(), start=1):
        seen = look_at(path)
        assert seen
        assert seen.text == (family == "sdxl")
        every.append(Checkpoint(number, path, seen.files, text=True))
    ready = prepare(config, series=Series(tuple(every), captions=(CAPTION,)))
    first: dict[str, list[float]] = {}
    for name in ("base", "a diffusers", "b diffusers", "a diffusers", "base"):
        ready.method.restore(files.get(name, Path("base")))
        assert losses_now(ready) == first.setdefault(name, losses_now(ready)), name
    assert len(set(map(tuple, first.values()))) == 3
    refused = {"wide diffusers": "is for another model than"}
    if family in CONVERTED:
        with warnings.catch_warnings(action="error", category=PartlyLoadedWarning):
            ready.method.restore(files["a kohya"])
        np.testing.assert_allclose(losses_now(ready), first["a diffusers"], rtol=1e-6)
        refused["wide kohya"] = refused["wide diffusers"]
    else:
        refused["a kohya"] = "no tensor of .* lands in"
    for name, told in refused.items():
        with pytest.raises(UserError, match=told) as error:
            ready.method.restore(files[name])
        assert "\n" not in str(error.value)
        assert losses_now(ready) == first["base"]


def losses_now(ready: Personalization) -> list[float]:
    objective = ready.objective
    draws = objective.draws(0, "probe", len(ready.method.captions))
    batch: Batch = draws.batch(range(3), 0)
    with torch.no_grad():
        found = objective.losses(batch, objective.captions(batch, ready.method.captions))
    return [float(each) for each in found]


@pytest.fixture
def mixed(
    ours: Callable[..., Run], lora: Run, words: tuple[Run, Path], usual: dict[str, Any]
) -> tuple[Personalization, dict[str, Path]]:
    """One model, and on it checkpoints of all kinds: also forms that hold the same words."""
    inversion, folder = words
    booth = ours("dreambooth", learning_rate=1e-3, train_text_encoder=True)
    custom = ours("custom-diffusion", **AS_INVERSION)
    vectors = load_file(inversion.checkpoint(6) / "learned_embeds.safetensors")["<v>"]
    save_file({"emb_params": vectors}, folder / "kohya-000003.safetensors")
    a1111 = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": vectors},
        **{"name": "<v>", "step": 6, "sd_checkpoint": None, "sd_checkpoint_name": None},
    }
    torch.save(a1111, folder / "a1111.pt")
    torch.save({"<v>": vectors}, folder / "learned_embeds.bin")
    pipeline = shutil.copytree(str(usual["model"]), folder / "pipeline")
    for part in ("unet", "text_encoder"):
        shutil.copytree(booth.checkpoint(6) / part, pipeline / part, dirs_exist_ok=True)
    stock = StableDiffusionPipeline.from_pretrained(pipeline)
    save_file(original_layout.stable_diffusion(stock), folder / "whole.safetensors")
    files = {
        "base": (Path("base"), None),
        "lora": (lora.checkpoint(6) / "pytorch_lora_weights.safetensors", "lora"),
        "word": (inversion.checkpoint(6) / "learned_embeds.safetensors", "embedding"),
        "kohya": (folder / "kohya-000003.safetensors", "embedding"),
        "a1111": (folder / "a1111.pt", "embedding"),
        "bin": (folder / "learned_embeds.bin", "embedding"),
        "parts": (booth.checkpoint(6), "parts"),
        "pipeline": (pipeline, "pipeline"),
        "model": (folder / "whole.safetensors", "model"),
        "custom": (
            custom.checkpoint(6) / "pytorch_custom_diffusion_weights.bin",
            "custom-diffusion",
        ),
    }
    checkpoints = []
    for number, (path, kind) in enumerate(files.values()):
        inside = ((path, kind),) if kind else ()
        found = None if kind is None else look_at(path)
        assert found is None or dict(found.files).get(path) == kind, path
        checkpoints.append(Checkpoint(number, path, inside, text=True))
    series = Series(tuple(checkpoints), captions=("a photo of a <v> dog",), word="<v>")
    config = resolve({name: usual[name] for name in ("concept", "class_noun", "model", "device")})
    paths = {name: path for name, (path, _) in files.items()}
    return prepare(config, series=series), paths


def test_each_checkpoint_is_the_same_whatever_was_loaded_before(
    mixed: tuple[Personalization, dict[str, Path]],
) -> None:
    ready, paths = mixed
    drawn = torch.get_rng_state()
    tokens = dict(ready.model.encoders[0].tokenizer.get_vocab())
    embedding = ready.model.encoders[0].module.get_input_embeddings()
    matrix = embedding.weight.clone()
    first: dict[str, list[float]] = {}
    names = list(paths)
    for name in (*names, *reversed(names), "lora", "parts", "word", "custom", "base"):
        ready.method.restore(paths[name])
        assert losses_now(ready) == first.setdefault(name, losses_now(ready)), name
    assert first["word"] == first["kohya"] == first["a1111"] == first["bin"]
    assert first["parts"] == first["pipeline"] == first["model"]
    distinct = {tuple(losses) for losses in first.values()}
    assert len(distinct) == 5
    assert torch.equal(drawn, torch.get_rng_state())
    assert ready.model.encoders[0].tokenizer.get_vocab() == tokens
    assert ready.model.encoders[0].module.get_input_embeddings() is embedding
    assert torch.equal(embedding.weight, matrix)


def test_nothing_of_a_checkpoint_stays_in_memory_after_the_next(
    mixed: tuple[Personalization, dict[str, Path]],
) -> None:
    ready, paths = mixed
    ready.method.restore(paths["lora"])
    held = [
        weakref.ref(weight)
        for name, weight in ready.model.denoiser.named_parameters()
        if "lora_" in name
    ]
    assert held
    ready.method.restore(paths["base"])
    gc.collect()
    assert not [each for each in held if each() is not None]


def broken(folder: Path, lora: Run) -> dict[str, tuple[Path, str]]:
    """Files that cannot be probed, and what is said of each."""
    good = load_file(lora.checkpoint(6) / "pytorch_lora_weights.safetensors")
    elsewhere = {name.replace("blocks.", "layers."): each for name, each in good.items()}
    wider = {
        name: torch.cat([each, each], 1) if "down" in name else each for name, each in good.items()
    }
    save_file(elsewhere, folder / "elsewhere-1.safetensors")
    save_file(wider, folder / "wider-1.safetensors")
    save_file({"<v>": torch.zeros(2, 5)}, folder / "narrow-1.safetensors")
    torch.save({"<v>": torch.zeros(1, 5), "x": Path("x")}, folder / "running-1.pt")
    return {
        "elsewhere": (folder / "elsewhere-1.safetensors", "no tensor of .*elsewhere-1"),
        "wider": (folder / "wider-1.safetensors", "another model than .*shapes"),
        "narrow": (folder / "narrow-1.safetensors", "has vectors of 5 numbers"),
        "running": (folder / "running-1.pt", "holds more than weights"),
    }


def test_what_does_not_fit_is_told_in_one_line_and_leaves_the_model_as_it_was(
    lora: Run, usual: dict[str, Any], tmp_path: Path
) -> None:
    files = broken(tmp_path, lora)
    checkpoints = [Checkpoint(0, Path("base"))]
    for number, (path, _) in enumerate(files.values(), start=1):
        found = look_at(path)
        assert found, path
        checkpoints.append(Checkpoint(number, path, found.files, text=True))
    config = resolve({name: usual[name] for name in ("concept", "class_noun", "model", "device")})
    ready = prepare(config, series=Series(tuple(checkpoints), captions=(CAPTION,), word="<v>"))
    before = losses_now(ready)
    for path, told in files.values():
        with pytest.raises(UserError, match=told) as error:
            ready.method.restore(path)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith("--checkpoints: ")
        assert losses_now(ready) == before


def test_captions_beside_the_photographs_go_with_them(
    lora: Run, usual: dict[str, Any], tmp_path: Path
) -> None:
    photographs = Path(shutil.copytree(str(usual["concept"]), tmp_path / "thing"))
    for number, photograph in enumerate(sorted(photographs.glob("*.png"))):
        text = f"a photo of {'a dog ' * (number + 1)}\nanother line\n"
        photograph.with_suffix(".txt").write_text(text)
    out = as_stock(lora, tmp_path / "out")
    run = theirs(usual, [str(out)], tmp_path / "run", None, concept=str(photographs))
    ready = prepare(run.config, run)
    draws = ready.objective.draws(0, "probe", len(ready.method.captions))
    batch = draws.batch(range(16), 0)
    told = ready.objective.captions(batch, ready.method.captions)
    assert [each.count("dog") - 1 for each in told] == batch.images.tolist()
    assert run.probe_trace()["caption"].unique().tolist() == [0]
    next(photographs.glob("*.txt")).unlink()
    with pytest.raises(UserError, match=r"--caption: none given, and .*png"):
        prepare(run.config, run)


def test_held_out_photographs_choose_a_checkpoint(
    call: Any, lora: Run, flags: list[str], photographs: Path, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    held.mkdir()
    with Image.open(next(photographs.glob("*.png"))) as opened:
        opened.rotate(90).save(held / "a.png")
    out = as_stock(lora, tmp_path / "out")
    run = tmp_path / "run"
    words = ["--checkpoints", out, "--caption", CAPTION, "--validation", held, "--val-batch", 4]
    code, printed, err = call("probe", *flags, *words, "--out", run, "--json")
    assert code == 0, err
    trace = Run.open(run).train_trace().set_index("step")["l_val"]
    document = json.loads(printed)
    assert document["best_step"] == trace.idxmin()
    taken = Run.open(run).checkpoint(document["best_step"])
    assert document["take"] == str(taken)
    assert call("plot", run)[0] == 0
    assert call("analyze", run)[0] == 0
    code, printed, _ = call("dvar-replay", run, "--json")
    assert (code, json.loads(printed)[0]["points"]) == (0, 4)
    code, printed, err = call("regret", run, "--judge", "l_val", "--json")
    assert code == 0, err
    code, _, err = call("train", "--out", run, "--resume")
    assert (code, err.count("\n")) == (2, 1)
    assert "another trainer" in err


def test_one_command_picks_from_files(
    call: Any, lora: Run, flags: list[str], photographs: Path, tmp_path: Path
) -> None:
    out = as_stock(lora, tmp_path / "out")
    flags = [*flags[: flags.index("--settings")], *flags[flags.index("--settings") + 2 :]]
    words = ["--checkpoints", out, "--caption", CAPTION, "--validation", photographs / "held"]
    (photographs / "held").mkdir(exist_ok=True)
    with Image.open(next(photographs.glob("*.png"))) as opened:
        opened.rotate(90).save(photographs / "held" / "a.png")
    place = tmp_path / "run"
    code, printed, err = call("pick", *flags, *words, "--out", place, "--json")
    assert code == 0, err
    found, run = json.loads(printed), Run.open(place)
    assert (found["loss"], found["held_out"]) == ("the held-out loss of the probe", True)
    assert [row["step"] for row in found["checkpoints"]] == [0, *STEPS]
    assert run.held_out_trace()["setting"].unique().tolist() == ["original"]
    assert run.probe_trace().empty, "no more is evaluated than what decides"
    assert run.status["stage"] == "probed"
    if found["take"]:
        assert found["take"] == str(run.checkpoint(found["step"]))
    again = call("pick", place, "--json")
    assert json.loads(again[1])["checkpoints"] == found["checkpoints"]
    code, _, err = call("pick", *flags, "--checkpoints", tmp_path / "nothing*", "--out", "x")
    assert (code, err.count("\n")) == (2, 1)


def test_a_run_goes_on_where_it_was_interrupted(
    lora: Run, usual: dict[str, Any], tmp_path: Path
) -> None:
    run = theirs(usual, [str(as_stock(lora, tmp_path / "out"))], tmp_path / "run")
    whole = run.train_trace()
    for directory in (run.train_directory, run.tracked_directory, run.probe_directory):
        sorted(directory.iterdir())[-1].unlink()
    ready = prepare(run.config, run)
    probe_stage(run, run.config, ready)
    pd.testing.assert_frame_equal(run.train_trace(), whole)
    same_losses(run, lora)
    with pytest.raises(UserError, match="does not go on here"):
        train_stage(run, run.config, ready)


def test_bad_input_ends_in_one_line(call: Any, flags: list[str], tmp_path: Path) -> None:
    save_file({"<w>": torch.zeros(1, 5)}, tmp_path / "learned_embeds-steps-2.safetensors")
    word = str(tmp_path / "*.safetensors")
    for words, told in (
        (["--checkpoints", tmp_path / "*.pt", "--caption", "x"], "no LoRA, embedding"),
        (["--checkpoints", word, "--caption", "a dog"], "has not the word '<w>'"),
        (["--checkpoints", word, "--held-out"], "probe them first"),
        (["--checkpoints", word, "--design", "sobol"], "probe them first"),
        (["--caption", "x"], "--caption: it belongs to --checkpoints"),
        ([], "0 run directories given"),
        (["one", "two"], "2 run directories given"),
    ):
        code, _, err = call("probe", *flags, *words)
        assert (code, err.count("\n")) == (2, 1), (words, err)
        assert told in err


def test_a_budget_chooses_redraws_and_samples(
    lora: Run, usual: dict[str, Any], tmp_path: Path
) -> None:
    out = str(as_stock(lora, tmp_path / "out"))
    given = {name: usual[name] for name in ("concept", "model", "micro_batch", "device")}
    series = find_series([out], given, CAPTION)
    config = settings_of(series, given)
    ready = prepare(config, series=series)
    found = [fitted(seconds, series, config, ready) for seconds in (1e5, 1e9)]
    assert [each.replicates for each, _ in found] == [7, 7]
    assert found[1][0].probe_batch == 128
    assert "will be known to about" in found[0][1]
    with pytest.raises(UserError, match="--budget: 0 s given, but 4 checkpoints take"):
        fitted(1e-6, series, config, ready)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("10min", 600.0), ("1.5 h", 5400.0), ("10", None)]
)
def test_a_budget_is_a_time(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(UserError, match="give a time, such as"):
            parse_budget(text)
    else:
        assert parse_budget(text) == seconds
