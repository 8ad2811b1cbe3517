"""What many tests share: a small Stable Diffusion made of real classes, and photographs."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from experiments.tiny_sd.export import build_pipeline
from experiments.tiny_sd.model import MICRO, build_text_encoder, build_unet, build_vae
from experiments.tiny_sd.tokenizer import build_tokenizer
from noiseprobe import cli
from noiseprobe.models import load_model
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.run.settings import RunConfig
from noiseprobe.training.concept import TEMPLATES, Concept, load_concept
from noiseprobe.training.methods.textual_inversion import TextualInversion
from noiseprobe.training.objective import Objective
from noiseprobe.training.preparing import Personalization, prepare
from tests.commands import Commands, commands
from tests.models.small import SMALL
from tests.stages.reported import HOSTILE, reported

Models = Callable[[str], Path]

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion with random weights, as `save_pretrained` writes it."""
    return small_stable_diffusion(tmp_path_factory.mktemp("model") / "small-sd")


def small_stable_diffusion(directory: Path) -> Path:
    """Write that model into a folder."""
    torch.manual_seed(0)
    words = sorted({*" ".join(TEMPLATES).replace("{}", "").replace("-", " - ").split(), "dog"})
    tokenizer = build_tokenizer(words)
    vae = build_vae(MICRO)
    vae.register_to_config(scaling_factor=0.7)
    text_encoder = build_text_encoder(len(tokenizer), MICRO)
    with torch.no_grad():
        # Random token embeddings are tiny; larger ones make the caption matter to the loss.
        text_encoder.get_input_embeddings().weight.normal_(std=0.5)
    build_pipeline(vae, build_unet(MICRO), text_encoder, tokenizer).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def small_models(model_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The directory of each family's small model by its short name, made when one first asks."""
    directories = {"sd": model_directory}

    def directory(name: str) -> Path:
        if name not in directories:
            torch.manual_seed(0)
            directories[name] = tmp_path_factory.mktemp("family") / name
            SMALL[name]().save_pretrained(directories[name])
        return directories[name]

    return directory


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four small pictures that differ."""
    return four_photographs(tmp_path_factory.mktemp("photographs") / "thing")


def four_photographs(folder: Path) -> Path:
    """Write those pictures into a folder."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(4):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:02}.png")
    return folder


@pytest.fixture
def concept(photographs: Path) -> Concept:
    return load_concept(photographs, "dog")


def short(model: Path, photographs: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    return {
        "concept": str(photographs),
        "class_noun": "dog",
        "model": str(model),
        "steps": 6,
        "stop": "none",
        "window": 3,
        "threshold": 0.1,
        "train_batch_size": 2,
        "eval_batch": 3,
        "eval_every": 1,
        "val_every": 5,
        "val_batch": 32,
        "paired_every": 1,
        "checkpoint_every": 2,
        "replicates": 2,
        "probe_batch": 3,
        "micro_batch": 5,
        "device": "cpu",
    }


@pytest.fixture
def given(model_directory: Path, photographs: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    return short(model_directory, photographs)


@pytest.fixture(scope="session")
def reported_run(model_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run with pictures and hostile names, which no test changes."""
    folder = tmp_path_factory.mktemp("reported")
    photographs = four_photographs(folder / HOSTILE.replace("/", ""))
    return reported(short(model_directory, photographs), folder / HOSTILE.replace("/", "_"))


@pytest.fixture
def config(given: dict[str, Any]) -> RunConfig:
    return resolve(given)


@pytest.fixture
def ready(config: RunConfig) -> Personalization:
    return prepare(config)


@pytest.fixture
def objective(ready: Personalization) -> Objective:
    return ready.objective


@pytest.fixture
def method(ready: Personalization) -> TextualInversion:
    assert isinstance(ready.method, TextualInversion)
    return ready.method


@pytest.fixture
def model(model_directory: Path) -> Any:
    return load_model(str(model_directory), "cpu")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process: exit code, standard output, standard error."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["noiseprobe", *map(str, arguments)])
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        captured = capfd.readouterr()
        return int(code or 0), captured.out, captured.err

    return run_command


@pytest.fixture(scope="session")
def command_line() -> Iterator[Commands]:
    """Commands in processes of their own that need no second to start."""
    with commands() as found:
        yield found
