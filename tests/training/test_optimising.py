"""Optimizers, learning rates, accumulated and recomputed gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.optimization import get_scheduler

from noiseprobe.core.errors import UserError
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import reopen, start, train_stage
from noiseprobe.training.optimising import schedule
from noiseprobe.training.preparing import prepare


def trained(directory: Path, given: dict[str, Any]) -> tuple[Run, dict[str, torch.Tensor]]:
    run, ready = start(resolve(given), directory)
    train_stage(run, run.config, ready)
    return run, ready.method.trained()


def curves(run: Run) -> np.ndarray:
    found: np.ndarray = run.train_trace()[["loss", "grad_norm", "l_det"]].to_numpy()[1:]
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", ["textual-inversion", "dreambooth", "custom-diffusion"])
def test_passes_are_a_batch_so_many_times_as_large(
    given: dict[str, Any], tmp_path: Path, method: str
) -> None:
    more = {"method": method, "steps": 2, "num_class_images": 3, "sampling_steps": 2}
    more |= {"prior": method == "custom-diffusion", "track": "paired"}
    at_once, _ = trained(tmp_path / "4", given | more | {"train_batch_size": 4})
    halves = {"train_batch_size": 2, "gradient_accumulation": 2}
    in_two, _ = trained(tmp_path / "2x2", given | more | halves)
    np.testing.assert_allclose(curves(in_two), curves(at_once), rtol=1e-4)
    for column in ("lr", "paired"):
        one, other = (run.train_trace()[column][1:] for run in (in_two, at_once))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    one_by_one = {"train_batch_size": 1, "gradient_accumulation": 4}
    in_four, _ = trained(tmp_path / "1x4", given | more | one_by_one)
    np.testing.assert_allclose(curves(in_four), curves(at_once), rtol=1e-4)


VARIANTS: dict[str, dict[str, Any]] = {
    "inversion": {"method": "textual-inversion"},
    "lora-text": {"method": "dreambooth-lora", "rank": 2, "train_text_encoder": True},
    "dreambooth": {"method": "dreambooth"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_recomputed_activations_are_the_same_bit_for_bit(
    given: dict[str, Any], tmp_path: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given |= VARIANTS[variant] | {"steps": 2}
    _, plain = trained(tmp_path / "plain", given)
    calls = list[Any]()
    real = torch.utils.checkpoint.checkpoint

    def noting(*given: Any, **named: Any) -> Any:
        calls.append(given)
        return real(*given, **named)

    monkeypatch.setattr(torch.utils.checkpoint, "checkpoint", noting)
    _, again = trained(tmp_path / "again", given | {"gradient_checkpointing": True})
    assert same(plain, again)
    assert calls


OPTIMISED: dict[str, dict[str, Any]] = {
    "accumulated": {"gradient_accumulation": 2},
    "cosine": {"lr_schedule": "cosine", "lr_warmup": 2},
    "adamw8bit": {"optimizer": "adamw8bit", "method": "dreambooth"},
    "prodigy": {"optimizer": "prodigy"},
    "checkpointed": {"gradient_checkpointing": True, "method": "dreambooth"},
    "checkpointed-bf16": {
        "gradient_checkpointing": True,
        "precision": "bf16",
        "method": "dreambooth",
    },
}
NEEDED = {"adamw8bit": "bitsandbytes", "prodigy": "prodigyopt"}


@pytest.mark.parametrize("variant", OPTIMISED)
def test_a_resumed_run_is_bit_identical(
    given: dict[str, Any], tmp_path: Path, variant: str
) -> None:
    from noiseprobe.core.errors import Interrupted
    from tests.training.test_driver import InterruptAt

    if variant in NEEDED:
        pytest.importorskip(NEEDED[variant])
    given |= OPTIMISED[variant]
    whole, weights = trained(tmp_path / "whole", given)
    cut, ready = start(resolve(given), tmp_path / "cut")
    with pytest.raises(Interrupted):
        train_stage(cut, cut.config, ready, InterruptAt(3))
    cut, config = reopen(tmp_path / "cut", {})
    again = prepare(config, cut)
    train_stage(cut, config, again)
    assert same(again.method.trained(), weights)
    columns = ["step", "loss", "grad_norm", "lr", "l_det"]
    assert cut.train_trace()[columns].equals(whole.train_trace()[columns])


@pytest.mark.parametrize(
    ("name", "warmup"),
    [
        ("constant", 0),
        ("constant_with_warmup", 2),
        ("linear", 2),
        ("cosine", 1),
        ("cosine_with_restarts", 0),
        ("polynomial", 2),
    ],
)
def test_the_lr_column_is_the_schedule_of_diffusers(
    given: dict[str, Any], tmp_path: Path, name: str, warmup: int
) -> None:
    given |= {"lr_schedule": name, "lr_warmup": warmup, "learning_rate": 0.01, "steps": 5}
    config = resolve(given)
    weights = torch.nn.Parameter(torch.zeros(1))
    stock = torch.optim.AdamW([weights], lr=config.effective_learning_rate)
    scheduler = get_scheduler(name, stock, num_warmup_steps=warmup, num_training_steps=5)
    expected = []
    for _ in range(5):
        expected.append(stock.param_groups[0]["lr"])
        stock.step()
        scheduler.step()
    factor = schedule(config)
    ours = [config.effective_learning_rate * factor(step) for step in range(1, 6)]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    if name == "cosine":
        run, _ = trained(tmp_path / "run", given)
        assert run.train_trace()["lr"][1:].tolist() == ours


def test_a_rate_that_falls_over_the_steps_keeps_their_number(
    given: dict[str, Any], tmp_path: Path
) -> None:
    trained(tmp_path / "run", given | {"steps": 2, "lr_schedule": "linear"})
    with pytest.raises(UserError, match="--steps: the learning rate falls over the 2 steps"):
        reopen(tmp_path / "run", {"steps": 4})


def test_what_is_missing_or_does_not_go_together_is_told(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--lr-warmup: a constant learning rate has none"):
        resolve(given | {"lr_warmup": 5})
    falling = {"lr_schedule": "polynomial", "learning_rate": 8e-8}
    assert resolve(given | falling).lr_schedule == "polynomial"  # of 2 samples
    with pytest.raises(UserError, match="--learning-rate: polynomial falls to 1e-07, and the rate"):
        resolve(given | falling | {"scale_lr": False})
    monkeypatch.setattr("noiseprobe.training.optimising.find_spec", lambda name: None)
    monkeypatch.setattr("noiseprobe.models.quantising.find_spec", lambda name: None)
    for optimizer, library in NEEDED.items():
        with pytest.raises(UserError, match=f"--optimizer: {optimizer} .* pip install {library}"):
            prepare(resolve(given | {"optimizer": optimizer}))
    for kind, library in (("nf4", "bitsandbytes"), ("int8", "torchao")):
        quantised = given | {"method": "dreambooth-lora", "quantize": kind}
        with pytest.raises(UserError, match=f"--quantize: {kind} .* pip install {library}"):
            prepare(resolve(quantised))
    with pytest.raises(UserError, match="--quantize: it belongs to dreambooth-lora"):
        resolve(given | {"quantize": "nf4"})


def test_prodigy_starts_from_a_factor_of_one() -> None:
    config = resolve({"optimizer": "prodigy", "train_batch_size": 3})
    assert config.effective_learning_rate == 1.0
    assert resolve({"optimizer": "prodigy", "learning_rate": 0.5}).effective_learning_rate == 0.5
    assert resolve({"train_batch_size": 3}).effective_learning_rate == pytest.approx(3e-3)


def test_precision_is_settled_at_the_start_and_stays(given: dict[str, Any], tmp_path: Path) -> None:
    assert resolve(given).precision == "auto"
    run, _ = start(resolve(given), tmp_path / "run")
    assert run.config.precision == "fp32"
    assert reopen(run.directory, {"precision": "auto"})[1].precision == "fp32"
    run.record(resolve(given))
    assert run.config.precision == "fp32"
    with pytest.raises(UserError, match="--precision"):
        reopen(run.directory, {"precision": "bf16"})


def test_a_gpu_that_has_bf16_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from noiseprobe.models import pick_precision

    for has_it, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_it)  # noqa: B023
        assert pick_precision("auto", torch.device("cuda")) == expected
    assert pick_precision("auto", torch.device("cpu")) == "fp32"
    assert pick_precision("fp16", torch.device("cpu")) == "fp16"


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_train_beside_a_quantised_base_and_resume(
    given: dict[str, Any], tmp_path: Path, kind: str, precision: str
) -> None:
    pytest.importorskip({"nf4": "bitsandbytes", "int8": "torchao"}[kind])
    given |= {"method": "dreambooth-lora", "rank": 2, "precision": precision, "steps": 4}
    plain, _ = trained(tmp_path / "plain", given)
    given |= {"quantize": kind}
    whole, weights = trained(tmp_path / "whole", given)
    close = whole.train_trace()["l_det"] / plain.train_trace()["l_det"]
    assert (close - 1).abs().max() < 0.05
    assert not np.array_equal(whole.train_trace()["l_det"], plain.train_trace()["l_det"])
    cut, ready = start(resolve(given | {"steps": 2}), tmp_path / "cut")
    train_stage(cut, cut.config, ready)
    cut, config = reopen(cut.directory, {"steps": 4})
    again = prepare(config, cut)
    train_stage(cut, config, again)
    assert same(again.method.trained(), weights)
    assert all(each.dtype == torch.float32 for each in again.method.parameters())
    assert drawn(again)


def drawn(ready: Any) -> bool:
    from noiseprobe.pictures.sampling import Sampler

    return len(Sampler(ready.model, 2).draw(["a photo of a dog"], 0)) == 1
