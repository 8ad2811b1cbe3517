"""Folders of concepts, and what is said in and of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from tests.bad_inputs.cases import Case, Command, Place
from tests.bad_inputs.images import train


def cases() -> Iterator[Case]:
    """Concepts that are none, a `concept.toml` that says nonsense, photographs held out wrongly."""
    for name, (make, told) in _concepts().items():
        yield Case(f"folders/{name}", make, refused=told)
    for name, (content, told) in _descriptions().items():
        yield Case(f"folders/concept.toml: {name}", _described(content), refused=told)
    for name, (flags, told) in _held_out().items():
        yield Case(f"folders/{name}", _holding(flags), refused=told)
    yield Case("folders/concept.toml is a FIFO", _with_fifo, writes=("r",))
    yield Case("folders/captions that never end", _captioned, refused="captions.txt")
    yield Case("folders/captions that are no text", _captioned_by_bytes, refused="no text")


def _concepts() -> dict[str, tuple[Callable[[Place], Command], str]]:
    def empty(place: Place) -> Command:
        (place.folder / "c").mkdir()
        return train(place, place.folder / "c")

    def without(place: Place) -> Command:
        place.file("c/readme.txt", "hello")
        place.file("c/.hidden.png", "")
        return train(place, place.folder / "c")

    def pipe(place: Place) -> Command:
        os.mkfifo(place.folder / "c")
        return train(place, place.folder / "c")

    def loop(place: Place) -> Command:
        (place.folder / "c").symlink_to("c")
        return train(place, place.folder / "c")

    no_folder = "neither a folder"
    return {
        "no such folder": (lambda place: train(place, place.folder / "gone"), no_folder),
        "a name with escapes": (lambda place: train(place, "\x1b]0;x\x07"), no_folder),
        "a name of 5000 letters": (lambda place: train(place, "c" * 5000), "too long"),
        "an empty name": (lambda place: train(place, ""), "--concept"),
        "an empty folder": (empty, "no photographs"),
        "a folder without photographs": (without, "no photographs"),
        "a file": (lambda place: train(place, place.file("c", "")), "is a file"),
        "a FIFO": (pipe, "--concept"),
        "a device": (lambda place: train(place, "/dev/zero"), "--concept"),
        "a link to itself": (loop, "--concept"),
    }


def _described(content: bytes) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        folder = place.copied("photographs")
        (folder / "concept.toml").write_bytes(content)
        return [*(each for each in train(place, folder) if each not in ("--class", "dog"))]

    return command


def _descriptions() -> dict[str, tuple[bytes, str]]:
    prompts = "validation_prompts"
    noun = b'class_noun = "dog"\n'
    return {
        "empty": (b"", "--class"),
        "no TOML": (b"[[[", "not valid TOML"),
        "no text": (b"\xff\xfe\0", "not valid TOML"),
        "nested a thousand times": (b"a = " + b"[" * 9000 + b"]" * 9000, "concept.toml"),
        "of 20 MB": (b"#" * (20 << 20), "larger than"),
        "a key twice": (noun + noun, "not valid TOML"),
        "a class that is a number": (b"class_noun = 3\n", "class_noun is 3"),
        "a class that is a list": (b'class_noun = ["dog"]\n', "class_noun is"),
        "a class that is a table": (b"[class_noun]\n", "class_noun is"),
        "a class that is a truth value": (b"class_noun = true\n", "class_noun is True"),
        "a class that is empty": (b'class_noun = ""\n', "--class"),
        "a class of spaces": (b'class_noun = "  "\n', "--class"),
        "a class with an escape": (b'class_noun = "d\\u001b[31mog"\n', r"d\x1b[31mog"),
        "a class of two lines": (b'class_noun = "dog\\ncat"\n', r"dog\ncat"),
        "prompts that are a number": (noun + b"validation_prompts = 3\n", prompts),
        "prompts that are a text": (noun + b'validation_prompts = "a {}"\n', prompts),
        "prompts of numbers": (noun + b"validation_prompts = [1]\n", prompts),
        "a prompt without a place": (noun + b'validation_prompts = ["a dog"]\n', prompts),
        "a prompt that looks into objects": (
            noun + b'validation_prompts = ["{0.__class__} {}"]\n',
            prompts,
        ),
        "a prompt with an unknown name": (noun + b'validation_prompts = ["{} {x}"]\n', prompts),
        "a prompt with half a brace": (noun + b'validation_prompts = ["{} {"]\n', prompts),
        "a prompt of a billion spaces": (
            noun + b'validation_prompts = ["{:>1000000000}"]\n',
            prompts,
        ),
    }


def _held_out() -> dict[str, tuple[tuple[object, ...], str]]:
    return {
        "hold out all": (("--hold-out", 4), "leaves none"),
        "hold out none": (("--hold-out", 0), "at least 1"),
        "hold out a number beyond all": (("--hold-out", "9" * 400), "--hold-out"),
        "hold out what is not there": (("--hold-out", "gone.png"), "no photograph"),
        "hold out a comma": (("--hold-out", ","), "nothing given"),
        "hold out superscripts": (("--hold-out", "²"), "--hold-out"),
        "hold out another folder's": (("--hold-out", "../../etc/passwd"), "no photograph"),
        "validate on the same": (("--validation", "photographs"), "same photograph"),
        "validate on no folder": (("--validation", "/dev/null"), "no folder"),
        "validate on what is not there": (("--validation", "gone"), "no folder"),
    }


def _holding(flags: tuple[object, ...]) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        return train(place, place.copied("photographs"), *flags)

    return command


def _with_fifo(place: Place) -> Command:
    folder = place.copied("photographs")
    os.mkfifo(folder / "concept.toml")
    return train(place, folder)


def _of_class_images(place: Place, make: Callable[[Path], object]) -> Command:
    folder = place.folder / "class"
    folder.mkdir()
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    make(folder / "captions.txt")
    prior = ("--prior", "--class-images", folder, "--num-class-images", 1, "--class-prompt", "dog")
    return train(place, place.photographs, "--method", "dreambooth", *prior)


def _captioned(place: Place) -> Command:
    return _of_class_images(place, lambda file: file.symlink_to("/dev/zero"))


def _captioned_by_bytes(place: Place) -> Command:
    return _of_class_images(place, lambda file: file.write_bytes(b"\xff\xfe\n"))
