"""Checkpoints that other trainers left, put into the live model by diffusers' own loaders."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_log
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.utils import logging as transformers_log

from noiseprobe.core.errors import UserError
from noiseprobe.models.base import DiffusionModel, Encoder
from noiseprobe.models.converting import text_weights
from noiseprobe.models.loading import load_whole, loading
from noiseprobe.run.foreign import Checkpoint, Series
from noiseprobe.run.foreign_files import CUSTOM, EMBEDDING, FLAG, LORA, MODEL, PARTS, PIPELINE
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.weight_files import names_in
from noiseprobe.training.methods.base import Method
from noiseprobe.training.methods.foreign_words import vectors_in

_OF_PHOTO = re.compile(r"^an? (?:\w+ )?(?:photo|picture|image|painting) (?:of|in the style of) ")
_ELSEWHERE = "these checkpoints were trained elsewhere and are probed alone"


_DOWN = (
    *("lora_A.weight", "lora_A.default.weight", "lora_down.weight"),
    *("lora.down.weight", "lora_linear_layer.down.weight"),
)
"""How the first of an adapter's two tensors is named."""


class PartlyLoadedWarning(UserWarning):
    """A LoRA has adapters for layers that the model has not."""


class Foreign(Method):
    """The checkpoints of a series, one at a time, on a model that is otherwise as it was.

    Before each is loaded, whatever the one before it brought is taken away: adapters, words and
    attention processors by diffusers, and weights that were replaced by the model's own, which are
    kept on the CPU from when the first is. So the losses of one are the same bits whatever was
    loaded before.
    """

    def __init__(self, model: DiffusionModel, series: Series, config: RunConfig) -> None:
        self.model = model
        self.config = config
        self.word = series.word
        self.named = {}
        self.captions = list(series.captions)
        self.thing = series.word or _OF_PHOTO.sub("", (self.captions or ["thing"])[0])
        self.changes_text = any(each.text for each in series.checkpoints)
        self._checkpoints = {each.path: each for each in series.checkpoints}
        self._undo: list[Callable[[], None]] = []
        self._own: dict[str, dict[str, Tensor]] = {}
        self._said = False
        if LORA in series.kinds and not model.takes_adapters():
            raise UserError(
                f"{FLAG}: diffusers loads no adapters into {model.pipeline_name}; give "
                "checkpoints of whole parts, or another --model"
            )

    def save(self, directory: Path) -> None:
        """Raise `UserError`: nothing is trained here."""
        raise UserError(f"{directory}: {_ELSEWHERE}; train with noiseprobe train")

    def read(self, directory: Path) -> dict[str, Tensor]:
        """Raise `UserError`: which tensors are trained differs between kinds; see `restore`."""
        raise UserError(f"{directory}: {_ELSEWHERE}; noiseprobe.Tracker follows any training")

    @torch.no_grad()
    def restore(self, checkpoint: Path) -> None:
        """Load one checkpoint; the base model for that of step 0.

        Raises `UserError` where diffusers cannot load it, it does not fit the model, or nothing of
        it lands there.
        """
        loaders = {
            LORA: self._load_lora,
            EMBEDDING: self._load_words,
            CUSTOM: self._load_attention,
            PARTS: self._load_parts,
            PIPELINE: self._load_parts,
            MODEL: self._load_model,
        }
        found: Checkpoint = self._checkpoints[checkpoint]
        # New layers begin at random, also when words are taken out.
        with _quiet(), torch.random.fork_rng():
            self._reset()
            try:
                for file, kind in found.files:
                    with self._told(file):
                        loaders[kind](file)
            except BaseException:
                self._reset()
                raise
            finally:
                self.model.changed()

    def _reset(self) -> None:
        while self._undo:
            self._undo.pop()()

    @contextmanager
    def _told(self, file: Path) -> Iterator[None]:
        """Say of which file it is, and that it may be for another model, where one does not fit."""
        mend = f"check that it was trained on a model like {self.config.model}"
        try:
            with loading(f"{FLAG}: cannot load '{file}'", mend):
                yield
        except UserError as error:
            cause = str(error.__cause__ or "")
            if match := re.search(r"size mismatch for ([^\n]+)", cause):
                raise UserError(
                    f"{FLAG}: '{file}' is for another model than {self.config.model}, whose shapes "
                    f"differ ({match[1].strip().rstrip('.')}); give --model what it was trained on"
                ) from error
            raise

    # Adapters.

    def _load_lora(self, file: Path) -> None:
        pipeline = self.model.stock
        modules = [self.model.denoiser, *(each.module for each in self.model.encoders)]
        self._undo.append(pipeline.unload_lora_weights)
        try:
            shapes = self._shapes(file)
        except ValueError as error:  # names that diffusers does not know
            raise self._nowhere(file, str(error)) from error
        self._require_fit(file, shapes)
        try:
            pipeline.load_lora_weights(
                str(file.parent), weight_name=file.name, local_files_only=True
            )
        except (ValueError, KeyError, AttributeError) as error:
            if "size mismatch" in str(error):
                raise
            if not any(_adapters(module) for module in modules):
                raise self._nowhere(file, str(error)) from error
            raise
        layers = [layer for module in modules for layer in _adapters(module)]
        if not layers:
            raise self._nowhere(file)
        asked = sum(name.endswith(_DOWN) for name in shapes)
        if len(layers) < asked and not self._said:
            self._said = True
            warnings.warn(
                f"{file}: {len(layers)} of its {asked} adapters land in {self.config.model}, and "
                "the others are left out; such files are probed without them",
                PartlyLoadedWarning,
                stacklevel=2,
            )
        for layer in layers:
            for name, weight in layer.named_parameters():
                if "lora_" in name:
                    # As where they were trained; whatever they were saved in.
                    weight.data = weight.data.to(self.model.device, torch.float32)
                    weight.requires_grad_(False)

    def _shapes(self, file: Path) -> dict[str, tuple[int, ...]]:
        """What is in a file; of kohya's form for transformers, after diffusers' own conversion,
        which splits some adapters.
        """
        found = {name: shape or () for name, shape in names_in(file, FLAG).shapes.items()}
        if self.model.denoiser_name == "unet" or not any("lora_down" in name for name in found):
            return found
        where = {"weight_name": file.name, "local_files_only": True}
        converted = self.model.stock.lora_state_dict(str(file.parent), **where)
        return {name: tuple(tensor.shape) for name, tensor in converted.items()}

    def _require_fit(self, file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise `UserError` for adapters of a wider transformer.

        For those, diffusers would replace layers of FLUX by wider ones, and not bring them back.
        """
        for name, module in self.model.denoiser.named_modules():
            down = shapes.get(f"{self.model.denoiser_name}.{name}.lora_A.weight")
            if down and isinstance(module, nn.Linear) and down[1] != module.in_features:
                raise UserError(
                    f"{FLAG}: '{file}' is for another model than {self.config.model}, whose shapes "
                    f"differ ({name} takes {module.in_features} numbers, and there {down[1]}); "
                    "give --model what it was trained on"
                )

    def _nowhere(self, file: Path, why: str = "") -> UserError:
        reason = why.strip().splitlines()[0][:120] if why.strip() else ""
        first = next(iter(names_in(file, FLAG).shapes), "none")
        told = f" ({reason})" if reason else ""
        return UserError(
            f"{FLAG}: no tensor of '{file}' lands in {self.config.model}, of which the first is "
            f"'{first}'{told}; give --model what it was trained on"
        )

    # Words.

    def _load_words(self, file: Path) -> None:
        pipeline = self.model.stock
        encoders = {each.name: each for each in self.model.encoders}
        worded = [each for each in self.model.encoders if each.name in self.model.worded]
        for name, word, vectors in vectors_in(file, self.word, worded):
            if name not in encoders or name not in self.model.worded:
                raise UserError(
                    f"{FLAG}: '{file}' has vectors for a {name}, and diffusers loads none into "
                    f"that of {self.config.model}; give --model what it was trained on"
                )
            encoder = encoders[name]
            width = encoder.module.get_input_embeddings().weight.shape[-1]
            if vectors.shape[-1] != width:
                raise UserError(
                    f"{FLAG}: '{file}' has vectors of {vectors.shape[-1]} numbers, and those of "
                    f"{self.config.model} have {width}; give --model what it was trained on"
                )
            self._undo.append(_embedding_as_it_is(pipeline, encoder, word, len(vectors)))
            pipeline.load_textual_inversion(
                {word: vectors}, text_encoder=encoder.module, tokenizer=encoder.tokenizer
            )

    # Custom Diffusion.

    def _load_attention(self, file: Path) -> None:
        unet, pipeline = self.model.denoiser, self.model.stock
        if self.model.denoiser_name != "unet":
            raise UserError(f"{FLAG}: '{file}' is of Custom Diffusion, which is for UNets alone")
        before = dict(unet.attn_processors)
        tensors = {
            name: each for name, each in read_tensors(file).items() if "_custom_diffusion" in name
        }
        covered = {name.split(".processor.")[0] + ".processor" for name in tensors}
        if not covered <= before.keys():
            raise self._nowhere(file)
        # Files in safetensors leave out which attention stays as it is.
        self._undo.append(lambda: unet.set_attn_processor(dict(before)))
        every: dict[str, Any] = {name: {} for name in before.keys() - covered} | tensors
        unet.load_attn_procs(every, _pipeline=pipeline)

    # Whole parts.

    def _load_parts(self, folder: Path) -> None:
        for name, module in self._parts().items():
            if not (folder / name / "config.json").is_file():
                continue
            live = type(module)
            loaded = load_whole(live, str(folder / name), torch.float32)
            self._replace(name, module, loaded.state_dict(), folder)

    def _load_model(self, file: Path) -> None:
        from noiseprobe.models import model_location
        from noiseprobe.models.single_file import SingleFile

        where = Path(model_location(self.config.model)).expanduser()
        base = self.config.base if where.is_file() else str(where)
        single = SingleFile(file, base, self.config.prediction)
        parts = self._parts()
        inside = [name for name in parts if single.prefix_of(name) is not None]
        for name, loaded in single.load(inside).items():
            self._replace(name, parts[name], loaded.state_dict(), file)

    def _parts(self) -> dict[str, Any]:
        encoders = {each.name: each.module for each in self.model.encoders}
        return {self.model.denoiser_name: self.model.denoiser} | encoders

    def _replace(
        self, name: str, module: nn.Module, tensors: Mapping[str, Tensor], where: Path
    ) -> None:
        """Copy weights into a live part; its own come back with the next reset."""
        live = module.state_dict()
        if live.keys() - tensors.keys():
            tensors = text_weights(module, tensors)
        if missing := sorted(live.keys() - tensors.keys()):
            raise ValueError(f"its {name} lacks {len(missing)} weights, such as {missing[0]}")
        for key, each in live.items():
            if each.shape != tensors[key].shape:
                found, own = tuple(tensors[key].shape), tuple(each.shape)
                raise UserError(
                    f"{FLAG}: '{where}' is for another model than {self.config.model}: {key} of "
                    f"its {name} is {found}, not {own}; give --model what it was trained on"
                )
        own_weights = self._own.setdefault(
            name, {key: each.to("cpu", copy=True) for key, each in live.items()}
        )

        def bring_back() -> None:
            _copy(own_weights, live)

        self._undo.append(bring_back)
        _copy(tensors, live)


def _copy(tensors: Mapping[str, Tensor], live: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for key, each in live.items():
            each.copy_(tensors[key])


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file; raises what `noiseprobe.models.loading.loading` tells as one line."""
    from safetensors.torch import load_file

    if file.suffix.lower() == ".safetensors":
        return load_file(file)
    found = torch.load(file, map_location="cpu", weights_only=True)
    return {name: each for name, each in found.items() if isinstance(each, Tensor)}


def _adapters(module: nn.Module) -> list[BaseTunerLayer]:
    return [each for each in module.modules() if isinstance(each, BaseTunerLayer)]


def _embedding_as_it_is(
    pipeline: Any, encoder: Encoder, word: str, count: int
) -> Callable[[], None]:
    """What takes a word out again, which is loaded next: the very weights come back."""
    module, tokenizer = encoder.module, encoder.tokenizer
    matrix, size = module.get_input_embeddings(), module.config.vocab_size
    weights, rows = matrix.weight.data, matrix.num_embeddings  # which are exchanged in it
    words = [word, *(f"{word}_{number}" for number in range(1, count))]

    def take_out() -> None:
        if word in tokenizer.get_vocab():
            pipeline.unload_textual_inversion(words, tokenizer, module)
        matrix.weight.data, matrix.num_embeddings = weights, rows
        module.set_input_embeddings(matrix)
        module.config.vocab_size = size

    return take_out


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep both libraries from telling at each file which part it has nothing for."""
    before = [(each, each.get_verbosity()) for each in (diffusers_log, transformers_log)]
    for each, _ in before:
        each.set_verbosity(each.CRITICAL)
    try:
        yield
    finally:
        for each, level in before:
            each.set_verbosity(level)
