"""Loading a model from a directory or hub id, as diffusers saves pipelines."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from safetensors import SafetensorError

from noiseprobe.core.errors import UserError
from noiseprobe.models.variants import needed, variant_of_each

LIBRARIES = ("diffusers", "transformers")


def load_parts(
    source: str,
    index: Mapping[str, Any],
    known: Iterable[str],
    dtypes: Mapping[str, torch.dtype] | None = None,
    *,
    variant: str | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Every part of a pipeline that `known` names and its index has.

    `dtypes` are those of parts that are not in float32. Of a hub id no file is fetched but those
    that are loaded. Raises `UserError` naming the part that cannot be loaded, or a variant that is
    not there.
    """
    classes = {
        part: class_of(source, part, *index[part])
        for part in known
        if isinstance(index.get(part), list | tuple) and index[part][0] is not None
    }
    directory = local_directory(source)
    files = _files_on_hub(source, revision) if directory is None else _files_in(directory)
    modules = [part for part, kind in classes.items() if has_weights(kind)]
    variants = variant_of_each(source, modules, files, variant)
    if directory is None:
        every = {part: variants.get(part) for part in classes}
        directory = _fetched(source, revision, needed(files, every))
    return {
        part: load_part(directory, part, kind, variants.get(part), (dtypes or {}).get(part))
        for part, kind in classes.items()
    }


def _files_in(directory: Path) -> list[str]:
    return [each.relative_to(directory).as_posix() for each in directory.glob("*/*")]


def _files_on_hub(repo: str, revision: str | None) -> list[str]:
    """The files of a hub id; of what was fetched of it, where the hub cannot be asked."""
    try:
        told = HfApi().model_info(repo, revision=revision)
        return [each.rfilename for each in told.siblings or ()]
    except Exception:  # its client has errors of more than one kind
        with loading(f"--model: cannot load '{repo}'", "check the connection to the hub"):
            local = snapshot_download(repo, revision=revision, local_files_only=True)
            return _files_in(Path(local))


def _fetched(repo: str, revision: str | None, files: list[str]) -> Path:
    """Where the files of a hub id are on this machine, after fetching those that are not."""
    with loading(f"--model: cannot load '{repo}'", "check the connection to the hub"):
        return Path(snapshot_download(repo, revision=revision, allow_patterns=files))


def freeze(parts: Mapping[str, Any], device: torch.device, aside: Collection[str] = ()) -> None:
    """Put the modules on `device`, but for those `aside`; frozen, in evaluation mode.

    A UNet is laid out channels-last.
    """
    for name, module in parts.items():
        if isinstance(module, torch.nn.Module):
            module.requires_grad_(False).eval()
            if name not in aside:
                module.to(device)
        # A third faster on a CPU for the bundled model (experiments/bench), and on CUDA for all.
        if name == "unet" and device.type in ("cpu", "cuda"):
            module.to(memory_format=torch.channels_last)


def require_finite(parts: Mapping[str, Any], source: str) -> None:
    """Raise `UserError` naming the first weight that is not finite; no training could be to blame.

    A sum tells: what is finite of a tensor does not add up to more than float32 holds.
    """
    for part, module in parts.items():
        if not isinstance(module, torch.nn.Module):
            continue
        for name, each in module.named_parameters():
            floating = each.is_floating_point() and not each.is_meta
            if floating and not torch.isfinite(each.detach().sum(dtype=torch.float32)):
                raise UserError(
                    f"--model: '{source}' has weights that are not finite, such as {name} of its "
                    f"{part} in {str(each.dtype).removeprefix('torch.')}; fetch it again, or give "
                    "another"
                )


def load_whole(kind: Any, source: str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """The model that `kind.from_pretrained` loads, of diffusers or transformers, in `dtype`.

    Raises `ValueError` where weights are missing or of another shape, for both libraries would put
    random ones in their place.
    """
    model, told = kind.from_pretrained(
        source,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} weights, such as {missing[0]}")
    if wrong := sorted(told["mismatched_keys"]):
        key, found, expected = wrong[0]
        raise ValueError(f"{key} is {tuple(found)}, not {tuple(expected)} as its config.json says")
    return model


@contextmanager
def loading(told: str, mend: str) -> Iterator[None]:
    """Turn whatever keeps a model from being loaded into one `UserError` line, with the reason."""
    known = (
        *(OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError),
        *(AttributeError, ArithmeticError, AssertionError, MemoryError, EOFError, ImportError),
    )
    try:
        yield
    except UserError:
        raise
    except (UnpicklingError, *known) as error:
        if (pickled := _of_a_pickle(error)) is not None:
            more = any(word in str(pickled) for word in ("nsupported", "unrecognized function"))
            why = "holds more than weights, which would be run" if more else "is broken"
            raise UserError(f"{told} (its pickle {why}); give it as .safetensors") from error
        reason = (str(error).strip() or repr(error)).splitlines()[0].split(". ")[0]
        raise UserError(f"{told} ({reason}); {mend}") from error


def _of_a_pickle(error: BaseException | None) -> UnpicklingError | None:
    """The error of a pickle behind the one that a library told in its place."""
    while error is not None and not isinstance(error, UnpicklingError):
        error = error.__cause__ or error.__context__
    return error


def local_directory(source: str) -> Path | None:
    """`source` as a directory if it is one on this machine, else None (then it is a hub id)."""
    path = Path(source).expanduser()
    return path if path.is_dir() else None


def class_of(source: str, part: str, library: str, kind: str) -> Any:
    """The class of a part as an index names it; raises `UserError`."""
    if library in LIBRARIES and isinstance(kind, str) and kind.isidentifier():
        found = getattr(import_module(library), kind, None)
        if isinstance(found, type) and issubclass(found, _parts_of_models()):
            return found
    raise UserError(
        f"--model: the {part} of {source} is a {library}.{kind}; parts of "
        f"{' and '.join(LIBRARIES)} are known"
    )


@cache
def _parts_of_models() -> tuple[type, ...]:
    """What parts of pipelines are, and no class that may run code beside the weights is."""
    from diffusers import ModelMixin, SchedulerMixin
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    return ModelMixin, SchedulerMixin, PreTrainedModel, PreTrainedTokenizerBase


def has_weights(kind: Any) -> bool:
    """Whether the parts of a class are modules."""
    return hasattr(kind, "parameters")


def load_part(
    directory: Path,
    part: str,
    kind: Any,
    variant: str | None = None,
    dtype: torch.dtype | None = None,
) -> Any:
    """One part of a pipeline's directory, in `dtype` (None: float32); raises `UserError`."""
    where = directory / part
    if not where.is_dir():
        raise UserError(
            f"--model: '{directory}' lacks the folder '{part}/'; "
            "give a directory saved by a pipeline's save_pretrained"
        )
    with loading(f"--model: cannot load {where}", "check the path and its files"):
        if not has_weights(kind):
            made = kind.from_pretrained(str(directory), subfolder=part)
            if part.startswith("tokenizer") and not {*made.get_vocab()} - {
                *made.all_special_tokens
            }:
                raise ValueError("it has no vocabulary")
            return made
        exact = dtype or torch.float32
        # Without it diffusers says on standard error that it looks for the other kind.
        safe = {"use_safetensors": any(where.glob("*.safetensors*"))}
        return load_whole(kind, str(directory), exact, subfolder=part, variant=variant, **safe)
