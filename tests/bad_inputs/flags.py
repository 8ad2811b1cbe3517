"""Flags with values that are none, and commands on what is no run."""

from collections.abc import Callable, Iterator

from tests.bad_inputs.cases import Case, Command, Place
from tests.bad_inputs.images import train
from tests.bad_inputs.logs import LOSSES


def cases() -> Iterator[Case]:
    """Of `train`, of commands over logs, of commands over runs."""
    for name, (flags, told) in _of_train().items():
        yield Case(f"flags/{name}", _training(flags), refused=told)
    for name, (words, told) in _of_logs().items():
        yield Case(f"flags/{name}", _on_a_log(words), refused=told)
    for command in ("probe", "analyze", "plot", "measure", "table", "pick"):
        yield Case(f"flags/{command} of a folder", _on_a_folder(command), refused="")
        yield Case(f"flags/{command} of what is not there", _on_nothing(command), refused="gone")
    for name, (words, told) in _alone().items():
        yield Case(f"flags/{name}", _words(words), refused=told)
    yield Case("flags/--out of a file", _out_of_a_file, refused="--out")
    yield Case("flags/--out of a folder with something", _out_of_something, refused="not an empty")
    yield Case("flags/--out under a file", _out_under_a_file, refused="r")


def _training(flags: tuple[object, ...]) -> Callable[[Place], Command]:
    return lambda place: train(place, place.photographs, *flags)


def _on_a_log(words: tuple[object, ...]) -> Callable[[Place], Command]:
    return lambda place: [words[0], place.file("log.csv", LOSSES), *words[1:]]


def _on_a_folder(command: str) -> Callable[[Place], Command]:
    return lambda place: [command, place.photographs]


def _on_nothing(command: str) -> Callable[[Place], Command]:
    return lambda place: [command, place.folder / "gone"]


def _words(words: tuple[object, ...]) -> Callable[[Place], Command]:
    return lambda place: list(words)


def _of_train() -> dict[str, tuple[tuple[object, ...], str]]:
    return {
        "--device meta": (("--device", "meta"), "--device"),
        "--device of nonsense": (("--device", "toaster:3"), "--device"),
        "--device of a GPU that is not there": (("--device", "cuda:99"), "--device"),
        "--device with an escape": (("--device", "\x1b[31m"), r"\x1b[31m"),
        "--precision of nonsense": (("--precision", "fp3"), "--precision"),
        "--steps in words": (("--steps", "ten"), "--steps"),
        "--steps in superscripts": (("--steps", "²"), "--steps"),
        "--steps of 5000 digits": (("--steps", "9" * 5000), "--steps"),
        "--learning-rate nan": (("--learning-rate", "nan"), "--learning-rate"),
        "--resolution that does not divide": (("--resolution", 65), "--resolution"),
        "--resolution below all": (("--resolution", 1), "--resolution"),
        "--clip-skip beyond all layers": (("--clip-skip", 99), "--clip-skip"),
        "--initializer of no word": (("--initializer", ""), "--initializer"),
        "--initializer with an escape": (("--initializer", "\x1b[2J"), r"\x1b[2J"),
        "--placeholder that is a word": (("--placeholder", "dog"), "dog"),
        "--placeholder of 5000 letters": (("--placeholder", "v" * 5000), "--placeholder"),
        "--class of an escape": (("--class", "\x1b[31mdog"), r"\x1b[31mdog"),
        "--class empty": (("--class", ""), "--class"),
        "--param without a value": (("--stop", "patience", "--param", "patience"), "--param"),
        "--param of code": (("--stop", "patience", "--param", "patience=exit()"), "patience"),
        "--param of another": (("--stop", "patience", "--param", "hope=1"), "hope"),
        "--param that is endless": (("--stop", "patience", "--param", "patience=inf"), "patience"),
        "--stop with markup": (("--stop", "[red]x[/red]"), "[red]x[/red]"),
        "--fixed-batch of nonsense": (("--fixed-batch", "magic"), "--fixed-batch"),
        "--weighting of nonsense": (("--weighting", "magic"), "--weighting"),
        "--vae of nothing": (("--vae", "/gone"), "--vae"),
        "--vae of a FIFO's folder": (("--vae", "/dev/null"), "--vae"),
        "--base beside a folder": (("--base", "/gone"), "--base"),
        "--variant that is not there": (("--variant", "fp99"), "fp99"),
        "--variant that leads out": (("--variant", "../../x"), "../../x"),
        "--lora-targets with another method": (("--lora-targets", "x"), "--lora-targets"),
        "--lora-targets of no layer": (
            ("--method", "dreambooth-lora", "--lora-targets", "magic"),
            "magic",
        ),
        "--clip of nothing": (("--checks", "--clip", "/gone"), "--clip"),
        "--log-with of nonsense": (("--log-with", "tensorboard,magic"), "magic"),
        "--log-with with an escape": (("--log-with", "\x1b[2J"), r"\x1b[2J"),
        "an unknown flag": (("--magic",), "--magic"),
        "an unknown flag with an escape": (("--\x1b[31m",), r"\x1b[31m"),
    }


def _of_logs() -> dict[str, tuple[tuple[object, ...], str]]:
    return {
        "--tag of nothing": (("dvar-replay", "--tag", ""), "trace"),
        "--tag with an escape": (("dvar-replay", "--tag", "\x1b]0;x\x07"), "no trace"),
        "--tag of a thousand stars": (("dvar-replay", "--tag", "*a" * 1000), "no trace"),
        "--window of nothing": (("dvar-replay", "--window", "0"), "--window"),
        "--window of 200%": (("dvar-replay", "--window", "200%"), "--window"),
        "--threshold nan": (("dvar-replay", "--threshold", "nan"), "threshold"),
        "--criterion of nonsense": (("dvar-replay", "--criterion", "magic"), "magic"),
        "--plot of another kind": (("dvar-replay", "--plot", "a.exe"), "--plot"),
        "--plot without a kind": (("dvar-replay", "--plot", "a"), "--plot"),
        "--judge of nothing": (("regret", "--judge", "hope"), "hope"),
        "--judge that is the loss": (("regret", "--judge", "loss"), "nothing but the judge"),
        "--tune of nonsense": (("regret", "--judge", "loss", "--tune", "x"), "log.csv"),
        "--first-epoch below one": (("doctor", "--first-epoch", "0"), "--first-epoch"),
    }


def _alone() -> dict[str, tuple[tuple[object, ...], str]]:
    return {
        "an unknown command": (("magic",), "magic"),
        "a command with an escape": (("\x1b[31m",), r"\x1b[31m"),
        "an empty source": (("dvar-replay", ""), "empty path"),
        "a source with NUL": (("dvar-replay", "a\0b"), "cannot be read"),
        "a pattern without an end": (("dvar-replay", "[" * 500), "matches nothing"),
        "--resume without a run": (("train", "--resume"), "--out"),
        "--card of nonsense": (("estimate", "--card", "big"), "--card"),
        "--card of nothing": (("estimate", "--card", "0GB"), "--card"),
        "nothing to pick from": (("pick",), "nothing to pick"),
    }


def _out_of_a_file(place: Place) -> Command:
    place.file("r", "")
    return train(place, place.photographs)


def _out_of_something(place: Place) -> Command:
    place.file("r/precious", "precious")
    return train(place, place.photographs)


def _out_under_a_file(place: Place) -> Command:
    place.file("r", "")
    return [*train(place, place.photographs)[:-1], place.folder / "r" / "s"]
