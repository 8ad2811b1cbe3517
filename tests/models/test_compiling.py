"""Blocks that are compiled compute what they do as they are, and only in passes that come again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from noiseprobe.core.errors import UserError
from noiseprobe.models import compiling
from noiseprobe.models.compiling import Compiled, NotCompiledWarning, compiles, repeated_blocks
from noiseprobe.models.wrapping import wrap
from noiseprobe.run.resolving import resolve
from noiseprobe.stages.pipeline import reopen, train_stage
from noiseprobe.training.preparing import Personalization, prepare
from tests.models.small import SMALL
from tests.training.test_driver import KillAt, numbers, trained

CUDA = torch.device("cuda")
COMPILE = torch.compile


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Blocks are traced, with their gradients, and then run as they are; what was asked for."""
    asked: list[Any] = []

    def compiled(function: Callable[..., Any], **options: Any) -> Any:
        asked.append(options)
        return COMPILE(function, backend="aot_eager", dynamic=options["dynamic"])

    monkeypatch.setattr(compiling.torch, "compile", compiled)
    torch._dynamo.reset()
    return asked


def losses_and_gradients(ready: Personalization, samples: int = 2) -> list[torch.Tensor]:
    draws = ready.objective.draws(0, "train", len(ready.method.captions))
    batch = draws.batch(range(samples), 1)
    losses = ready.objective.losses(batch, ready.objective.captions(batch, ready.method.captions))
    gradients = torch.autograd.grad(losses.sum(), ready.method.parameters())
    return [losses.detach(), *gradients]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_compiled_blocks_compute_what_they_do_as_they_are(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    ready = prepare(resolve(given | {"method": "dreambooth-lora"}))
    plain = losses_and_gradients(ready)
    ready.model.fast = Compiled(ready.model.denoiser, {(2, True)})
    fast = losses_and_gradients(ready)
    assert ready.model.fast.works
    assert list((tmp_path / "kernels").rglob("*.so")), "else nothing was compiled"
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-7)


def test_only_passes_of_known_sizes_are(given: dict[str, Any], traced: list[Any]) -> None:
    ready = prepare(resolve(given | {"compile": "on", "train_batch_size": 2}))
    fast = ready.model.fast
    assert isinstance(fast, Compiled)
    assert traced
    assert all(each == {"dynamic": False, "options": {"deterministic": True}} for each in traced)
    [block, *_] = repeated_blocks(ready.model.denoiser)
    own = type(block).forward
    for samples, gradients, known in ((2, True, True), (2, False, False), (3, True, False)):
        with torch.set_grad_enabled(gradients), fast(samples):
            assert (getattr(block.forward, "__func__", None) is not own) == known
    assert getattr(block.forward, "__func__", None) is own


@pytest.mark.parametrize("method", ["textual-inversion", "dreambooth-lora", "dreambooth"])
def test_a_compiled_run_that_goes_on_is_bit_identical(
    given: dict[str, Any], tmp_path: Path, traced: list[Any], method: str
) -> None:
    config = resolve(given | {"method": method, "compile": "on"})
    whole = trained(tmp_path / "whole", config)
    with pytest.raises(MemoryError):
        trained(tmp_path / "cut", config, KillAt(3))
    run, same = reopen(tmp_path / "cut", {})
    train_stage(run, same, prepare(same))
    pd.testing.assert_frame_equal(numbers(run), numbers(whole), check_exact=True)


def test_what_cannot_be_compiled_is_computed_as_it_is_and_said_once(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any, **named: Any) -> Any:
        raise torch._dynamo.exc.Unsupported("no compiler\nat all")

    plain = losses_and_gradients(prepare(resolve(given)))
    monkeypatch.setattr(compiling.torch, "compile", lambda function, **_: fails)
    ready = prepare(resolve(given | {"compile": "on", "train_batch_size": 2}))
    with pytest.warns(
        NotCompiledWarning, match="^--compile: no compiler; computed as it is"
    ) as told:
        first, second = losses_and_gradients(ready), losses_and_gradients(ready)
    assert len([each for each in told if each.category is NotCompiledWarning]) == 1
    torch.testing.assert_close(first, plain, rtol=0, atol=0)
    torch.testing.assert_close(second, plain, rtol=0, atol=0)


def test_by_itself_only_a_long_run_on_cuda_is_compiled(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = resolve(given | {"steps": 1000})
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    assert not compiles(long, CUDA)
    monkeypatch.setattr(compiling, "find_spec", lambda name: name)
    assert compiles(long, CUDA)
    assert not compiles(long, torch.device("cpu"))
    assert not compiles(resolve(given | {"steps": 999}), CUDA)
    assert not compiles(long.model_copy(update={"compile": "off"}), CUDA)
    assert not compiles(long.model_copy(update={"gradient_checkpointing": True}), CUDA)


def test_what_does_not_go_with_it_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="does not go with --gradient-checkpointing"):
        resolve(given | {"compile": "on", "gradient_checkpointing": True})


@pytest.mark.parametrize("name", SMALL)
def test_every_family_has_blocks_that_repeat(name: str) -> None:
    blocks = repeated_blocks(wrap(SMALL[name]()).denoiser)
    assert blocks
    assert all("Block" in type(each).__name__ for each in blocks)
