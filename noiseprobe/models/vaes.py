"""Another autoencoder than the model came with."""

from pathlib import Path
from typing import Any

import diffusers

from noiseprobe.core.errors import UserError
from noiseprobe.core.reading import json_of
from noiseprobe.models.converting import converted
from noiseprobe.models.loading import load_whole, loading
from noiseprobe.models.single_file import weights_in
from noiseprobe.run.families import hub_file
from noiseprobe.run.weight_files import is_weights, names_in

KNOWN = ("AutoencoderKL", "AutoencoderDC")
"""The classes of the families' autoencoders, which encode to a posterior or to latents."""


def load_vae(source: str, usual: Path | None) -> Any:
    """The autoencoder in a directory or file, or under a hub id, in float32.

    Args:
        source: a directory with its `config.json`, or of a pipeline that has one; a file of
            weights, as A1111 has them; or the hub id of either directory.
        usual: the configuration of the model's own one, which a file is taken to have.

    Raises:
        UserError: there is none, or not such one.
    """
    path = Path(source).expanduser()
    mend = "give an autoencoder's directory, hub id or file of weights"
    with loading(f"--vae: cannot load '{source}'", mend):
        if path.is_file():
            return _from_file(path, usual)
        if path.is_dir():
            inside = path if (path / "config.json").is_file() else path / "vae"
            return load_whole(_class_in(inside / "config.json"), str(inside))
        if is_weights(path) or path.is_absolute() or source.count("/") != 1:
            raise ValueError("it is not there")
        return _from_hub(source)


def _from_file(file: Path, usual: Path | None) -> Any:
    if usual is None or not usual.is_file():
        raise ValueError("the model has no configuration for it; give a directory")
    names = names_in(file, "--vae")
    prefix = next((each for each in ("first_stage_model.", "vae.") if names.under(each)), "")
    return converted(_class_in(usual), usual, weights_in(file, prefix), prefix)


def _from_hub(repo: str) -> Any:
    try:
        return load_whole(_class_in(hub_file(repo, "config.json")), repo)
    except UserError:  # perhaps a whole pipeline
        kind = _class_in(hub_file(repo, "vae/config.json"))
        return load_whole(kind, repo, subfolder="vae")


def _class_in(config: Path) -> Any:
    """The class that a configuration names; raises `ValueError` where it is no autoencoder."""
    name = str(json_of(config).get("_class_name", ""))
    if name not in KNOWN:
        raise ValueError(f"{config} is of none of {', '.join(KNOWN)}")
    return getattr(diffusers, name)
