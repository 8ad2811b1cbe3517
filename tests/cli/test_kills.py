"""SIGKILL at a random instant, again and again: the same command ends as if there had been none."""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tomli_w
from PIL import Image, ImageOps

from noiseprobe.run.directory import find_runs
from noiseprobe.run.verifying import findings
from tests.commands import Commands
from tests.conftest import short
from tests.crashing import content
from tests.stages.test_log_with import in_tensorboard, recorded

pytestmark = pytest.mark.long

ROUNDS, KILLS = 2, 6
"""So often a command is begun, and so often killed each time before it may end."""

ROUNDS_OF_A_SWEEP = 1
"""Its workers take long to start."""


@dataclass(frozen=True)
class Case:
    """A command, the settings that it takes, and what is there before it."""

    name: str
    command: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    before: tuple[tuple[str, ...], ...] = ()


TRAIN = ("train", "--config", "settings.toml", "--out", "run")
HELD_OUT = {"hold_out": "1", "watch": "l_val", "keep": "best"}
FEW_IMAGES = {"num_class_images": 2, "sampling_steps": 1}
DRAWN = {"samples": 2, "sampling_steps": 1, "clip": "tiny-clip"}
PROBED = (TRAIN, ("probe", "run"))
FILES = ("--checkpoints", "run/checkpoints", "--caption", "a photo of a <v> dog")
ON = ("--model", "MODEL", "--concept", "PHOTOGRAPHS", "--class", "dog")
PICK = (
    "pick",
    *FILES,
    *ON,
    "--validation",
    "VALIDATION",
    "--val-batch",
    "4",
    "--device",
    "cpu",
    "--out",
    "picked",
)
CASES = [
    Case("inversion", TRAIN, HELD_OUT | {"paired_every": 2, "log_with": ["tensorboard"]}),
    Case("dreambooth", TRAIN, {"method": "dreambooth", "lr_schedule": "cosine"}),
    Case("lora", TRAIN, {"method": "dreambooth-lora", "gradient_accumulation": 2}),
    Case(
        "custom", TRAIN, {"method": "custom-diffusion", "num_class_images": 2, "sampling_steps": 1}
    ),
    Case("stopped", TRAIN, {"stop": "dvar", "window": 2, "threshold": 1.0}),
    Case("run", ("run", *TRAIN[1:]), HELD_OUT),
    Case("probe", ("probe", "run"), HELD_OUT, (TRAIN,)),
    Case("plot", ("plot", "run"), HELD_OUT, PROBED),
    Case("measure", ("measure", "run", "--steps", "0,6"), DRAWN, (TRAIN,)),
    Case("sweep", ("sweep", "sweep.toml"), DRAWN | {"check_every": 3}),
    Case("pick", PICK, before=(TRAIN,)),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_command_that_is_killed_and_given_again_ends_as_one_that_is_not(
    case: Case, command_line: Commands, model_directory: Path, photographs: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    settings = short(model_directory, photographs) | case.settings
    others = tmp_path / "others"
    others.mkdir()
    ImageOps.mirror(Image.open(photographs / "00.png")).save(others / "mirrored.png")
    places = {
        "MODEL": str(model_directory),
        "PHOTOGRAPHS": str(photographs),
        "VALIDATION": str(others),
    }
    command = tuple(places.get(word, word) for word in case.command)
    (place / "settings.toml").write_text(tomli_w.dumps(settings))
    (place / "sweep.toml").write_text(tomli_w.dumps(sweep_of(settings)))
    for each in case.before:
        assert to_the_end(command_line, each, place)[0] == 0
    start = tmp_path / "start"
    shutil.copytree(place, start)
    code, lasts = to_the_end(command_line, command, place)
    assert code == 0, log(place)
    reference = content(place)
    random = np.random.default_rng(list(case.name.encode()))
    kills = 0
    for _ in range(ROUNDS_OF_A_SWEEP if case.name == "sweep" else ROUNDS):
        shutil.rmtree(place)
        shutil.copytree(start, place)
        instants = killed_often(command_line, command, place, lasts, random)
        kills += len(instants)
        code, _ = to_the_end(command_line, command, place)
        told = f"killed after {instants} s of computing: {log(place)}"
        assert code == 0, told
        assert content(place) == reference, told
        for run in find_runs([place]):
            assert [each for each in findings(run) if each.wrong] == [], told
            if run.config.log_with:
                assert in_tensorboard(run) == recorded(run, np.float32), told
    assert kills
    print(f"{case.name}: killed {kills} times")


def killed_often(
    command_line: Commands,
    command: tuple[str, ...],
    place: Path,
    lasts: float,
    random: np.random.Generator,
) -> list[float]:
    """Kill a command at random instants, of seconds that it computed; no more once it has ended.

    The first is in the first half of `lasts`, which a second time the command may not take.
    """
    instants: list[float] = []
    while len(instants) < KILLS:
        instant = round(random.uniform(0, lasts if instants else lasts / 2), 2)
        if not killed(command_line, command, place, instant):
            break
        instants.append(instant)
    return instants


def sweep_of(settings: dict[str, Any]) -> dict[str, Any]:
    methods = ["textual-inversion", "dreambooth-lora"]
    of_the_sweep = {"concepts": [settings["concept"]], "methods": methods}
    own = ("concept", "method", "stop")
    rest = {name: value for name, value in settings.items() if name not in own}
    return of_the_sweep | {"out": "runs", "workers": 2, "settings": rest}


def started(command_line: Commands, command: tuple[str, ...], place: Path) -> psutil.Process:
    return psutil.Process(command_line.start(command, place / "log", place))


def to_the_end(command_line: Commands, command: tuple[str, ...], place: Path) -> tuple[int, float]:
    """The exit code of a command, and the seconds that it computed for."""
    process, seconds = started(command_line, command, place), 0.0
    while living(process):
        seconds = max(seconds, computed(process))
        time.sleep(0.05)
    return command_line.ended(), seconds


def killed(command_line: Commands, command: tuple[str, ...], place: Path, instant: float) -> bool:
    """Start a command and kill it once it has computed so long; whether it had not ended before.

    A time of computing comes at the same place of it however busy the machine is.
    """
    process = started(command_line, command, place)
    while living(process) and computed(process) < instant:
        time.sleep(0.02)
    with suppress(psutil.NoSuchProcess):
        process.kill()
    return command_line.ended() == -9


def living(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def computed(process: psutil.Process) -> float:
    """Seconds that a process and those it started have computed so far."""
    seconds = 0.0
    with suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                seconds += times.user + times.system
    return seconds


def log(place: Path) -> str:
    return (place / "log").read_text()[-2000:]
