"""Which weights are there for each part: whole ones, or variants such as fp16."""

import re
from collections.abc import Iterable, Mapping

from noiseprobe.core.errors import UserError

_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model|pytorch_model)(?:\.(?P<variant>[\w-]+?))?"
    r"(?:-\d+-of-\d+)?\.(?:safetensors|bin)"
)


def variant_of_each(
    source: str, parts: Iterable[str], files: Iterable[str], asked: str | None
) -> dict[str, str | None]:
    """The variant that each part is loaded from: the one asked for, else whole weights (None).

    As diffusers does, a part that has no variants at all is taken as it is.

    Args:
        source: what errors call the model.
        parts: those that have weights.
        files: the model's files, such as `unet/diffusion_pytorch_model.fp16.safetensors`.
        asked: the variant, if any.

    Raises:
        UserError: the variant is missing, or whole weights are where none was asked for.
    """
    found = variants_in(files)
    there = sorted({each for part in parts for each in found.get(part, ()) if each})
    told = ", ".join(there) or "none, but whole weights"
    if asked is not None and asked not in there:
        raise UserError(f"--variant: '{source}' has no variant '{asked}'; there are: {told}")
    chosen: dict[str, str | None] = {}
    for part in parts:
        variants = found.get(part, set())
        if asked in variants:
            chosen[part] = asked
        elif asked is not None and variants and None not in variants:
            raise UserError(
                f"--variant: '{source}' has no variant '{asked}' of its {part}; there are: "
                f"{', '.join(sorted(each for each in variants if each))}"
            )
        elif asked is None and variants and None not in variants:
            mend = f"add --variant {there[0]}" if len(there) == 1 else "add --variant with one"
            raise UserError(
                f"--model: '{source}' has weights of its {part} as {told} alone; {mend}"
            )
        else:
            chosen[part] = None
    return chosen


def variants_in(files: Iterable[str]) -> Mapping[str, set[str | None]]:
    """The variants of each part among the files, by its folder; None stands for whole weights."""
    found: dict[str, set[str | None]] = {}
    for file in files:
        part, _, name = file.rpartition("/")
        if (named := _WEIGHTS.fullmatch(name)) is not None:
            found.setdefault(part, set()).add(named["variant"])
    return found


def needed(files: Iterable[str], variants: Mapping[str, str | None]) -> list[str]:
    """Those of the files that parts are loaded from, by the variant of each (None: whole weights).

    Weights as .safetensors take the place of pickles. What is no part is left out.
    """
    chosen: list[str] = []
    for part, variant in variants.items():
        own = [each for each in files if each.rpartition("/")[0] == part]
        weights = [each for each in own if _variant(each) == {variant}]
        safe = [each for each in weights if each.endswith(".safetensors")]
        chosen += [each for each in own if each.endswith((".json", ".txt", ".model"))]
        chosen += safe or weights
    return chosen


def _variant(file: str) -> set[str | None]:
    """The variant of a file of weights, in a set; empty for another file."""
    return {variant for each in variants_in([file]).values() for variant in each}
