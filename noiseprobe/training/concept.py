"""A concept: a folder of photographs, a class noun, a placeholder token; and caption templates."""

import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Literal

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.core.reading import text_of
from noiseprobe.pictures.photographs import (
    PHOTOGRAPH_SUFFIXES,
    PhotographWarning,
    photographs_in,
)
from noiseprobe.run.resolving import load_toml

BUNDLED_CONCEPTS = Path(str(files("noiseprobe.models") / "assets" / "concepts"))

_CAPTIONS = tomllib.loads((BUNDLED_CONCEPTS.parent / "captions.toml").read_text(encoding="utf-8"))

LONGEST_WORD = 200
"""Letters of a placeholder, of which files and captions are full."""

FIELDS = Formatter().parse
"""What `str.format` sees in a text: what is before each place, and the place."""

TEMPLATES: tuple[str, ...] = tuple(_CAPTIONS["object"])
STYLE_TEMPLATES: tuple[str, ...] = tuple(_CAPTIONS["style"])
"""The caption templates for objects and for styles of Gal et al. 2022 (arXiv 2208.01618)."""

VALIDATION_PROMPTS: dict[str, tuple[str, ...]] = {
    family: tuple(prompts) for family, prompts in _CAPTIONS["validation"].items()
}
"""What is drawn to see whether a prompt is still followed, by the bundled model and by others."""


@dataclass(frozen=True)
class Concept:
    """What is being taught: photographs, what kind of thing they show, and its new name.

    `held_out` are photographs that are never trained on. `validation_prompts` put `{}`, the thing,
    into places; a `concept.toml` may name them. `written` is each photograph's own caption, where
    it has one.
    """

    name: str
    photographs: tuple[Path, ...]
    class_noun: str
    placeholder: str
    validation_prompts: tuple[str, ...] = ()
    held_out: tuple[Path, ...] = ()
    written: Mapping[Path, str] | None = None

    def captions(
        self, thing: str, learnable_property: Literal["object", "style"] = "object"
    ) -> list[str]:
        """Every caption template for objects, or for styles, filled with `thing`."""
        templates = TEMPLATES if learnable_property == "object" else STYLE_TEMPLATES
        return [template.format(thing) for template in templates]


def _has_a_place(prompt: object) -> bool:
    """Whether a prompt is a text with `{}`, and no other braces, where the thing is named."""
    try:
        fields = [] if not isinstance(prompt, str) else [part[1:] for part in FIELDS(prompt)]
    except ValueError:  # a brace without its other
        return False
    named = [field for field in fields if field[0] is not None]
    return bool(named) and all(field == ("", "", None) for field in named)


def written_captions(photographs: Sequence[Path]) -> dict[Path, str]:
    """The caption of each photograph, the first line of the .txt beside it; raises `UserError`."""
    found = {}
    for path in photographs:
        file = path.with_suffix(".txt")
        try:
            lines = [line.strip() for line in text_of(file).splitlines()]
        except (OSError, UnicodeDecodeError, UserError):
            lines = []
        if not any(lines):
            raise UserError(
                f"--caption: none given, and '{path}' has none in '{file.name}' beside it; add "
                "--caption with what training had"
            )
        found[path] = next(line for line in lines if line)
    return found


def warn_of_captions(photographs: Sequence[Path]) -> None:
    """Say that captions beside photographs are not what they are trained with."""
    if captioned := [each for each in photographs if each.with_suffix(".txt").is_file()]:
        warnings.warn(
            f"{captioned[0].with_suffix('.txt')}: captions beside photographs are not read; they "
            "are templates, or with DreamBooth, LoRA and Custom Diffusion --instance-prompt",
            PhotographWarning,
            stacklevel=2,
        )


def bundled_concepts() -> list[str]:
    """The names of the concepts that come with the package."""
    return sorted(path.parent.name for path in BUNDLED_CONCEPTS.glob("*/concept.toml"))


def load_concept(source: str | Path, class_noun: str | None, placeholder: str = "<v>") -> Concept:
    """The concept in the folder `source`, or the bundled concept of that name.

    `class_noun` may be None where the folder has a `concept.toml` that says it, as bundled ones do.
    Raises `UserError` for an unknown name, a folder without photographs, or no class noun.
    """
    # A bare name means what is bundled, also where a folder of that name lies here by now: one that
    # is meant was given its full path when the settings were resolved.
    folder = BUNDLED_CONCEPTS / source if str(source) in bundled_concepts() else Path(source)
    if not folder.exists():
        names = bundled_concepts()
        mend = did_you_mean(str(source), names, f"bundled are {', '.join(names)}")
        raise UserError(f"--concept: '{source}' is neither a folder nor a bundled concept; {mend}")
    if not folder.is_dir():
        raise UserError(f"--concept: '{folder}' is a file; give the folder with the photographs")
    photographs = photographs_in(folder)
    if not photographs:
        kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in PHOTOGRAPH_SUFFIXES))
        raise UserError(f"--concept: no photographs in '{folder}'; put 3-6 there ({kinds})")
    description = folder / "concept.toml"
    said = load_toml(description) if description.is_file() else {}
    noun = class_noun if class_noun is not None else said.get("class_noun", "")
    if not isinstance(noun, str):
        raise UserError(f'{description}: class_noun is {noun!r}; write a text, such as "dog"')
    if not noun.strip():
        raise UserError(
            f"--class: what kind of thing '{folder}' shows is not said; add e.g. --class dog"
        )
    for flag, word in {"--class": noun, "--placeholder": placeholder}.items():
        if not word.strip().isprintable():
            raise UserError(f"{flag}: '{word}' holds what cannot be printed; write plain words")
    if len(placeholder) > LONGEST_WORD:
        raise UserError(f"--placeholder: {len(placeholder)} letters are no word, e.g. '<v>'")
    if not placeholder.strip() or any(letter.isspace() for letter in placeholder):
        raise UserError(f"--placeholder: '{placeholder}' must be one word, e.g. '<v>'")
    prompts = said.get("validation_prompts", [])
    if not isinstance(prompts, list) or not all(map(_has_a_place, prompts)):
        raise UserError(
            f"{description}: validation_prompts must be texts with a {{}} each, where "
            "the thing is named; mend or remove them"
        )
    return Concept(folder.resolve().name, photographs, noun.strip(), placeholder, tuple(prompts))
