"""What a precision changes, and what it must leave in float32; and a device without float64."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import T5EncoderModel

from noiseprobe.core.errors import UserError
from noiseprobe.core.progress import Silent
from noiseprobe.models import load_model
from noiseprobe.models.base import PRECISIONS
from noiseprobe.models.wrapping import wrap
from noiseprobe.pictures.sampling import BrokenPicture, Sampler
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.measuring import skip_or_stop
from noiseprobe.stages.pipeline import train_stage
from noiseprobe.stages.probing import probe
from noiseprobe.training.live_losses import fixed_losses
from noiseprobe.training.preparing import Personalization, prepare
from tests.models.small import SMALL


@pytest.mark.parametrize("method", ["dreambooth", "dreambooth-lora", "custom-diffusion"])
def test_what_is_trained_starts_from_the_file_and_what_is_frozen_is_half(
    given: dict[str, Any], model_directory: Path, method: str
) -> None:
    stock = UNet2DConditionModel.from_pretrained(model_directory, subfolder="unet").state_dict()
    ready = {
        precision: prepare(resolve(given | {"method": method, "precision": precision}))
        for precision in ("fp32", "bf16")
    }
    start = {precision: each.method.trained() for precision, each in ready.items()}
    for name, value in start["bf16"].items():
        assert value.dtype == torch.float32
        assert torch.equal(value, start["fp32"][name])
        if method == "dreambooth":
            assert torch.equal(value, stock[name.removeprefix("unet.")])
    if method == "custom-diffusion":
        own = ".processor.to_k_custom_diffusion.weight"
        copied = {key.removesuffix(own): start["bf16"][key] for key in start["bf16"] if own in key}
        assert copied
        assert all(torch.equal(copied[key], stock[f"{key}.to_k.weight"]) for key in copied)
    for weight in ready["bf16"].model.denoiser.parameters():
        assert weight.dtype == (torch.float32 if weight.requires_grad else torch.bfloat16)
    torch.testing.assert_close(loss(ready["bf16"]), loss(ready["fp32"]), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("masters", [(), ("encoders",)])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_t5_in_float16_keeps_what_transformers_keeps(
    small_models: Callable[[str], Path], masters: tuple[str, ...], precision: str
) -> None:
    half = PRECISIONS[precision]
    where = small_models("pixart-sigma")
    model = load_model(str(where), "cpu", precision, masters=masters)
    model.settle(precision)
    stock = T5EncoderModel.from_pretrained(where / "text_encoder", dtype=half)
    assert {name: each.dtype for name, each in model.encoders[0].module.named_parameters()} == {
        name: each.dtype for name, each in stock.named_parameters()
    }


@pytest.mark.parametrize("packed", [torch.uint8, torch.int8, torch.float8_e4m3fn])
def test_weights_in_fewer_bits_do_not_say_what_is_computed_in(
    small_models: Callable[[str], Path], packed: torch.dtype
) -> None:
    model = load_model(str(small_models("flux-dev")), "cpu", masters=("denoiser",))
    count = sum(weight.numel() for weight in model.denoiser.parameters())
    most = torch.nn.Parameter(torch.zeros(2 * count, dtype=packed), requires_grad=False)
    model.denoiser.register_parameter("most", most)
    assert model.dtype == torch.float32


@torch.no_grad()
def loss(ready: Personalization) -> Tensor:
    captions = ready.method.captions[:1] * 3
    batch = ready.objective.draws(0, "probe", 1).batch(range(3), 1)
    return ready.objective.losses(batch, captions)


class WithoutFloat64(Tensor):
    """A tensor as if on MPS: whatever is computed of it is there too, and never float64."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_function__(function, types, args, kwargs or {})
        if function is Tensor.cpu:
            return result.as_subclass(Tensor)
        if isinstance(result, WithoutFloat64) and result.dtype == torch.float64:
            raise TypeError("MPS does not support float64")
        return result


def test_no_float64_is_made_on_the_device_or_sent_to_it(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(given | {"steps": 1, "replicates": 1, "track": "paired"})
    ready = prepare(config)
    real = ready.model.loss

    def loss_there(*inputs: Any) -> Tensor:
        tensors = [each for each in inputs if isinstance(each, Tensor)]
        tensors += [each for told in inputs if isinstance(told, dict) for each in told.values()]
        assert torch.float64 not in [each.dtype for each in tensors]
        return real(*inputs).as_subclass(WithoutFloat64)

    monkeypatch.setattr(ready.model, "loss", loss_there)
    run = Run.create(tmp_path / "run", config, "cpu")
    train_stage(run, config, ready)
    probe(run, ready.objective, ready.method, config)
    assert run.train_trace()["l_det"].notna().all()


def overflowing(force_upcast: bool) -> Any:
    """SDXL whose autoencoder, as the published one, is too large inside for float16."""
    torch.manual_seed(0)
    pipeline = SMALL["sdxl"]()
    with torch.no_grad():
        pipeline.vae.encoder.conv_in.weight.mul_(1e5)
    pipeline.vae.register_to_config(force_upcast=force_upcast)
    return pipeline


def test_a_vae_that_float16_is_not_enough_for_encodes_in_float32_and_stays_as_it_was() -> None:
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    pipeline = overflowing(True)
    pipeline.vae.to(torch.float16)
    rounded = copy.deepcopy(pipeline.vae).float()
    before = [each.data_ptr() for each in pipeline.vae.parameters()]
    mean, std = wrap(pipeline).encode_images(pixels)
    assert torch.allclose(mean, rounded.encode(pixels).latent_dist.mean, atol=1e-5)
    assert mean.isfinite().all()
    assert std.isfinite().all()
    assert {each.dtype for each in pipeline.vae.parameters()} == {torch.float16}
    assert [each.data_ptr() for each in pipeline.vae.parameters()] == before


def test_a_photograph_that_the_vae_makes_nan_of_is_named(photographs: Path) -> None:
    pipeline = overflowing(False)
    pipeline.vae.to(torch.float16)
    with pytest.raises(
        UserError, match=r"--vae: what it makes of '00.png' is not finite .*float16"
    ):
        fixed_losses(pipeline, photographs, "a photo of a dog", size=2)


def test_a_picture_that_is_not_finite_is_named_and_not_measured_as_black(
    small_models: Callable[[str], Path],
) -> None:
    model = load_model(str(small_models("sdxl")), "cpu")
    sampler = Sampler(model, steps=1)
    with torch.no_grad():
        model.vae.decoder.conv_out.bias[0] = torch.nan
    with pytest.raises(BrokenPicture, match="picture 3 of seed 5, 'a dog', is not finite") as error:
        sampler.draw(["a dog"], 5, first=3)
    run, config, heard = Run("run"), resolve({}), Heard()
    with pytest.raises(UserError, match="--on-nan: checkpoint 8: picture 3"):
        skip_or_stop(error.value, run, 8, config, heard)
    skip_or_stop(error.value, run, 8, config.model_copy(update={"on_nan": "skip"}), heard)
    assert "checkpoint 8: picture 3 of seed 5" in heard.said


class Heard(Silent):
    """Keeps what is said last."""

    said = ""

    def note(self, message: str) -> None:
        self.said = message
