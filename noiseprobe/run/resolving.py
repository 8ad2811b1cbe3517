"""Which settings a run has: flags over a TOML file over defaults; and how they are kept."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.core.files import written_whole
from noiseprobe.core.reading import text_of
from noiseprobe.draws.factors import TRAINERS
from noiseprobe.run.checks import require_its_own
from noiseprobe.run.defaults import (
    BUNDLED_MODEL,
    DEFAULT_CONCEPT,
    METHODS,
    defaults_of,
    of_family,
)
from noiseprobe.run.pacing import paced
from noiseprobe.run.settings import ABOUT, RunConfig, flag


def resolve(given: dict[str, Any], file: Path | None = None) -> RunConfig:
    """The settings that result from a TOML `file`, flags that were `given`, and defaults.

    Flags win over the file, the file over the defaults of the model's family. A value of None was
    not given. Raises `UserError` naming the flag or key, what was found and what was expected; also
    for a setting of another method or criterion.
    """
    flags = {key: value for key, value in given.items() if value is not None}
    merged = located((read_toml(file) if file else {}) | flags)
    model, method = str(merged.get("model", BUNDLED_MODEL)), str(merged.get("method", METHODS[0]))
    optimizer = str(merged.get("optimizer", "adamw"))
    usual = defaults_of(model, method, merged.get("revision"), optimizer)
    usual |= {"concept": DEFAULT_CONCEPT} | _of_layout(merged)
    config = _validated(usual | merged)
    require_its_own(merged, config)
    return config.model_copy(update=paced(config, merged))


def recorded(content: dict[str, Any]) -> RunConfig:
    """The settings that a run was started with, as they were written; what is missing by default.

    A run from before a setting was there is of Stable Diffusion, and its model, which may be gone
    by now, is not looked at. Raises `UserError` naming the flag, what was found and what was
    expected.
    """
    bundled = content.get("model", BUNDLED_MODEL) == BUNDLED_MODEL
    family = BUNDLED_MODEL if bundled else "stable-diffusion"
    method, optimizer = content.get("method", METHODS[0]), content.get("optimizer", "adamw")
    usual = of_family(family, str(method), str(optimizer)) | _of_layout(content)
    return _validated(usual | content)


def resumed(before: RunConfig, given: dict[str, Any]) -> RunConfig:
    """The recorded settings with those that were `given` anew.

    Raises `UserError` where a given flag would change steps that are already done.
    """
    anew = {key: value for key, value in given.items() if value is not None}
    if anew.get("precision") == "auto":
        del anew["precision"]  # what it was at the start, also on another device
    criterion = {"param": ()} if "stop" in anew else {}  # the other's parameters are its own
    config = _validated(before.model_dump() | criterion | located(anew))
    for key in anew:
        then, now = getattr(before, key), getattr(config, key)
        if now != then and not ABOUT[key].on_resume:
            raise UserError(
                f"{flag(key)}: this run was started with {then!r}, not {now!r}; leave the flag "
                "out, or start a new run"
            )
    if config.steps != before.steps and not config.lr_schedule.startswith("constant"):
        raise UserError(
            f"--steps: the learning rate falls over the {before.steps} steps that this run was "
            "started with; leave the flag out, or start a new run"
        )
    require_its_own(anew, config)
    return config


def located(given: dict[str, Any]) -> dict[str, Any]:
    """The settings with folders and files by their full paths: a run is resumed from anywhere."""
    texts = {key: value for key, value in given.items() if isinstance(value, str) and value}
    places = {
        key: str(Path(texts[key]).expanduser().resolve())
        for key in ("concept", "model", "vae", "base", "clip", "class_images", "validation")
        # The folder of class images may be made only then.
        if key in texts and (key == "class_images" or Path(texts[key]).expanduser().exists())
    }
    return given | places


def read_toml(file: Path) -> dict[str, Any]:
    """The settings in a TOML file; its keys are those of `RunConfig`, and `class`."""
    content = load_toml(file)
    if "class" in content:
        content["class_noun"] = content.pop("class")
    for key in content:
        if key not in ABOUT:
            mend = did_you_mean(key, ABOUT, "remove it", cutoff=0.5)
            raise UserError(f"{file}: unknown key '{key}'; {mend}")
    return content


def load_toml(file: Path) -> dict[str, Any]:
    """What a TOML file says; raises `UserError` for one that cannot be read."""
    try:
        return tomllib.loads(text_of(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{file}: not valid TOML ({error}); mend the file") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check the path") from error


def write_toml(config: RunConfig, file: Path) -> None:
    """Write every setting, such that `read_toml` gives them back."""
    import tomli_w

    content = config.model_dump(mode="json", exclude_none=True)
    with written_whole(file) as beside:
        beside.write_text(tomli_w.dumps(content), encoding="utf-8")


def _of_layout(given: dict[str, Any]) -> dict[str, None]:
    """A trainer's layout of the fixed batch has as many samples as it takes, none by default."""
    return {"eval_batch": None} if given.get("fixed_batch") in TRAINERS else {}


def _validated(content: dict[str, Any]) -> RunConfig:
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(ours := first.get("ctx", {}).get("error"), UserError):
            raise ours from None
        key = str(first["loc"][0])
        expected = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"{flag(key)}: {first['input']!r} given, but {expected}") from error
