"""Files of settings: no TOML, unknown keys, values of wrong types, sweeps that cannot begin."""

import os
from collections.abc import Callable, Iterator

from tests.bad_inputs.cases import Case, Command, Place


def cases() -> Iterator[Case]:
    """`train --config` with each, and `sweep` with each."""
    for name, (content, told) in _settings().items():
        yield Case(f"configs/{name}", _training(content), refused=told)
    for name, (content, told) in _sweeps().items():
        yield Case(f"configs/a sweep: {name}", _sweeping(content), refused=told)
    yield Case("configs/a FIFO", _fifo, refused="no file")
    yield Case(
        "configs/a device", lambda place: ["train", "--config", "/dev/zero"], refused="device"
    )
    yield Case(
        "configs/a folder", lambda place: ["train", "--config", place.folder], refused="no file"
    )
    yield Case("configs/no such file", lambda place: ["train", "--config", "gone"], refused="gone")
    yield Case("configs/of a run that goes on", _of_a_resumed, refused="--config")


def _training(content: bytes | str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        file = place.file("c.toml", content)
        begin = ("train", "--config", file, "--model", place.model, "--out", place.folder / "r")
        return [*begin, "--concept", place.photographs, "--class", "dog"]

    return command


def _sweeping(content: str) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        photographs, model = place.photographs, place.model
        told = content.replace("PHOTOGRAPHS", str(photographs)).replace("MODEL", str(model))
        return ["sweep", place.file("s.toml", told)]

    return command


def _settings() -> dict[str, tuple[bytes | str, str]]:
    return {
        "no TOML": ("steps 3", "not valid TOML"),
        "no text": (b"\xff\xfe\xfd", "not valid TOML"),
        "NUL": (b"steps = \0", "not valid TOML"),
        "lists of 9000 levels": ("a = " + "[" * 9000 + "]" * 9000, "c.toml"),
        "of 20 MB": ("#" * (20 << 20), "larger than"),
        "an unknown key": ("stepps = 3", "did you mean 'steps'"),
        "an unknown key with an escape": ('"\\u001b[31m" = 3', r"\x1b[31m"),
        "a key twice": ("steps = 1\nsteps = 2", "not valid TOML"),
        "a table for a number": ("[steps]\na = 1", "--steps"),
        "a truth value for a number": ("steps = true", "--steps"),
        "a truth value for a rate": ("learning_rate = true", "--learning-rate"),
        "a text for a number": ('steps = "many"', "--steps"),
        "half a step": ("steps = 1.5", "--steps"),
        "no step": ("steps = 0", "--steps"),
        "fewer than no steps": ("steps = -1", "--steps"),
        "steps beyond 64 bits": (f"steps = {2**62}00", "--steps"),
        "an endless rate": ("learning_rate = inf", "--learning-rate"),
        "a rate that is no number": ("learning_rate = nan", "--learning-rate"),
        "a rate of zero": ("learning_rate = 0", "--learning-rate"),
        "a rate below zero": ("learning_rate = -1e-3", "--learning-rate"),
        "a number for a switch": ("prior = 1", "--prior"),
        "a text for a switch": ('prior = "yes"', "--prior"),
        "a list for a text": ('method = ["dreambooth"]', "--method"),
        "a number for a text": ("placeholder = 3", "--placeholder"),
        "an unknown method": ('method = "magic"', "--method"),
        "an unknown criterion": ('stop = "magic"', "--stop"),
        "a criterion of formulas": ('stop = "__import__"', "--stop"),
        "an empty word": ('rare_word = ""\nmethod = "dreambooth"', "--rare-word"),
        "an empty prompt": ('instance_prompt = " "\nmethod = "dreambooth"', "--instance-prompt"),
        "a prompt with NUL": ('instance_prompt = "a\\u0000"\nmethod = "dreambooth"', "NUL"),
        "an empty placeholder": ('placeholder = ""', "--placeholder"),
        "a placeholder of two words": ('placeholder = "a b"', "--placeholder"),
        "a placeholder with an escape": ('placeholder = "<\\u001b[31m>"', r"\x1b[31m"),
        "a date": ("seed = 2026-01-01", "--seed"),
        "a seed below zero": ("seed = -1", "--seed"),
        "a list of numbers for settings": ("settings = [1]", "--settings"),
        "no settings at all": ("settings = []", "--settings"),
        "parameters of a number": ("param = 3", "--param"),
        "a window of words": ('window = "wide"', "--window"),
        "a window of a truth value": ("window = true", "--window"),
        "a watch of what is not recorded": ('watch = "hope"', "--watch"),
    }


def _sweeps() -> dict[str, tuple[str, str]]:
    sound = 'concepts = ["PHOTOGRAPHS"]\n'
    model = 'model = "MODEL"\nclass = "dog"\nsteps = 1\n'
    return {
        "empty": ("", "concepts"),
        "no concepts": ("concepts = []", "concepts"),
        "concepts of numbers": ("concepts = [1]", "concepts"),
        "a concept that is not there": ('concepts = ["gone"]', "gone"),
        "a concept without photographs": ('concepts = ["."]', "no photographs"),
        "a pattern that matches nothing": ('concepts = ["x*"]', "no folder matches"),
        "a concept without a class": (sound + '[settings]\nmodel = "MODEL"', "--class"),
        "a model that is not there": (
            sound + '[settings]\nmodel = "/gone"\nclass = "dog"',
            "/gone",
        ),
        "a model that is a folder of photographs": (
            sound + '[settings]\nmodel = "PHOTOGRAPHS"\nclass = "dog"',
            "model_index.json",
        ),
        "an unknown method": (sound + 'methods = ["magic"]', "magic"),
        "an unknown key": (sound + "worker = 2", "did you mean 'workers'"),
        "seeds that are texts": (sound + 'seeds = ["a"]', "seeds"),
        "seeds that are truth values": (sound + "seeds = [true]", "seeds"),
        "a seed below zero": (sound + f"seeds = [-1]\n[settings]\n{model}", "--seed"),
        "no workers": (sound + "workers = 0", "workers"),
        "settings that are a list": (sound + "settings = [1]", "settings"),
        "a criterion": (sound + f'[settings]\n{model}stop = "dvar"', "remove it"),
        "a truth value for a number": (
            sound + f"[settings]\n{model.replace('steps = 1', 'steps = true')}",
            "--steps",
        ),
        "the same folder by two ways": (
            'concepts = ["PHOTOGRAPHS", "PHOTOGRAPHS/../photographs/."]\n[settings]\n'
            + model
            + "hold_out = 9",
            "leaves none",
        ),
        "more held out than there is": (sound + f"[settings]\n{model}hold_out = 9", "leaves none"),
    }


def _named(path: str) -> Callable[[Place], Command]:
    return lambda place: ["train", "--config", path]


def _fifo(place: Place) -> Command:
    os.mkfifo(place.folder / "c.toml")
    return ["train", "--config", place.folder / "c.toml"]


def _of_a_resumed(place: Place) -> Command:
    run = place.copied("run")
    return ["train", "--config", place.file("c.toml", "steps = 9"), "--out", run, "--resume"]
