"""Which family a model is of, from its index or its file: told before torch is imported."""

from pathlib import Path
from typing import Any

from noiseprobe.core.errors import UserError, did_you_mean
from noiseprobe.core.reading import json_of
from noiseprobe.run.weight_files import is_weights, kind_in

FAMILIES = {
    "StableDiffusionPipeline": "stable_diffusion.StableDiffusion",
    "StableDiffusionXLPipeline": "stable_diffusion_xl.StableDiffusionXL",
    "StableDiffusion3Pipeline": "stable_diffusion_3.StableDiffusion3",
    "FluxPipeline": "flux.Flux",
    "SanaPipeline": "sana.Sana",
    "PixArtSigmaPipeline": "pixart_sigma.PixArtSigma",
}
"""Where each family is in `noiseprobe.models`, by the pipeline class that it serves."""

INDEX = "model_index.json"


def pipeline_of(where: str, revision: str | None = None) -> str:
    """The pipeline class of a directory, a file or a hub id.

    Raises `UserError` for one that is no model, or of a family that is not known.
    """
    path = Path(where).expanduser()
    if path.is_file():
        return kind_in(path).pipeline
    told = str(index_of(where, revision)["_class_name"])
    if told not in FAMILIES:
        raise UserError(
            f"--model: '{where}' is a {told}, which is not known; known are {', '.join(FAMILIES)}"
        )
    return told


def guided(where: str, revision: str | None = None) -> bool:
    """Whether a FLUX is told a guidance scale, as -dev is and -schnell is not."""
    path = Path(where).expanduser()
    if path.is_file():
        return kind_in(path).name == "flux-dev"
    config = "transformer/config.json"
    file = path / config if path.is_dir() else hub_file(where, config, revision)
    try:
        return bool(json_of(file)["guidance_embeds"])
    except (OSError, ValueError, KeyError, TypeError):
        return True  # loading says what is wrong with it


def require_its_files(
    where: str, *, variant: str | None, base: str | None, prediction: str | None
) -> None:
    """Raise `UserError` where a setting of files was given for a directory, or the reverse."""
    single = Path(where).expanduser().is_file()
    if single and variant is not None and base is None:
        raise UserError("--variant: a file is what it is; leave it out, or it is of a --base")
    for name, given in {"base": base, "prediction": prediction}.items():
        if given is not None and not single:
            raise UserError(f"--{name}: a directory or hub id says it itself; leave it out")


def index_of(where: str, revision: str | None = None) -> dict[str, Any]:
    """The `model_index.json` of a directory or hub id; raises `UserError`."""
    path = Path(where).expanduser()
    if path.is_dir():
        return read_index(path / INDEX, str(path))
    if is_weights(path) or path.is_absolute() or where.count("/") > 1 or path.exists():
        raise UserError(
            f"--model: '{where}' is neither a directory here, nor a file of weights, nor a hub id; "
            "check the path"
        )
    return read_index(hub_file(where, INDEX, revision), where)


def read_index(file: Path, where: str) -> dict[str, Any]:
    """The content of a `model_index.json` of the model `where`; raises `UserError`."""
    if not file.is_file():
        inside = sorted(each.name for each in Path(where).glob("*") if is_weights(each))
        other = f", or a file of weights, such as '{inside[0]}' in it" if inside else ""
        raise UserError(
            f"--model: '{where}' has no {INDEX}; give a directory saved by a diffusers pipeline"
            f"{other}"
        )
    try:
        content = dict(json_of(file))
        told = [each for each in content.values() if isinstance(each, list)]
        if not isinstance(content["_class_name"], str) or any(len(each) != 2 for each in told):
            raise TypeError("a part is a library and a class")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--model: {file}: not a diffusers index; save the model again") from error
    return content


def hub_file(repo: str, name: str, revision: str | None = None) -> Path:
    """A small file of a hub id: from the local cache, else fetched; raises `UserError`."""
    from huggingface_hub import HfApi, hf_hub_download

    if (cached := cached_file(repo, name, revision)) is not None:
        return cached
    try:
        HfApi().model_info(repo, revision=revision)  # once, while a download is tried for long
        return Path(hf_hub_download(repo, name, revision=revision))
    except Exception as error:  # its client has errors of more than one kind
        mend = did_you_mean(
            repo, ["tiny-sd"], "check its spelling and the connection, or log in where it asks"
        )
        if "Offline" in type(error).__name__:
            mend = "fetch it once without --offline (and HF_HUB_OFFLINE), or give a directory"
        at = f" at revision '{revision}'" if revision else ""
        raise UserError(
            f"--model: '{repo}' is no directory here and cannot be had from the hub{at} "
            f"({type(error).__name__}); {mend}"
        ) from error


def cached_file(repo: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a hub id in the local cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repo, name, revision=revision)
    except ValueError:  # no such thing as a hub id
        return None
    return Path(found) if isinstance(found, str) else None
