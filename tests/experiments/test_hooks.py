"""Trackers in the trainers that people use: the scripts of diffusers, and stand-ins of the others.

The scripts run where NOISEPROBE_DIFFUSERS_EXAMPLES names the `examples` folder of a checkout.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, TensorDataset
from transformers import CLIPTextModel

import noiseprobe
from experiments.integrations import after_checkpoint, diffusers_scripts
from experiments.integrations.ai_toolkit_extension import Tracked as TrackedProcess
from experiments.integrations.kohya_trainer import Tracked as TrackedTrainer
from experiments.integrations.onetrainer_callbacks import follow
from experiments.integrations.reported import Reported
from noiseprobe import Patience
from noiseprobe.run.directory import Run
from tests.conftest import Models
from tests.models import small

STAND_IN = Path(__file__).with_name("stand_in_script.py")
EXAMPLES = os.environ.get("NOISEPROBE_DIFFUSERS_EXAMPLES", "")
PROMPT = "a photo of a dog"
U_SHAPED = (4.0, 3.0, 2.0, 3.0, 4.0, 5.0, 6.0)
"""What each pass of a validation gives: best is the third, and two without a gain end it."""


def of_stand_in(model: Path, out: Path, steps: int) -> list[str]:
    own = {"pretrained_model_name_or_path": model, "instance_prompt": PROMPT, "output_dir": out}
    words = [f"--{name}={value}" for name, value in own.items()]
    return [str(STAND_IN), *words, f"--max_train_steps={steps}"]


def watched(held_out: Path) -> list[str]:
    return ["--held-out", str(held_out), "--every=2", "--patience=2", "--samples=4"]


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux-dev"])
def test_a_script_of_diffusers_shape_stops_early_and_saves_the_weights_of_that_step(
    small_models: Models, photographs: Path, tmp_path: Path, family: str, capfd: Any
) -> None:
    model = small_models(family)
    accumulate, words = Accelerator.accumulate, list(sys.argv)
    diffusers_scripts.main([*watched(photographs), *of_stand_in(model, tmp_path / "a", 400)])
    assert (Accelerator.accumulate, sys.argv) == (accumulate, words)
    trace = Run(tmp_path / "a" / "tracked").train_trace().set_index("step")["l_val"]
    stop, best = trace.index.tolist()[-1], trace.index.tolist()[trace.argmin()]
    assert trace.index.tolist() == list(range(0, stop + 1, 2))
    assert stop == best + 4 < 400
    assert f"stopped at step {stop}; best was step {best}" in capfd.readouterr().out
    end = torch.load(tmp_path / "a" / "end.pt")
    assert (end["step"], end["batches"]) == (stop, 2 * stop), "no epoch that is left trains"
    for name, steps in (("b", stop), ("c", best)) if family == "sd" else ():
        subject = of_stand_in(model, tmp_path / name, steps)
        diffusers_scripts.main([*watched(photographs), "--every=1000", "--no-best", *subject])
        plain = torch.load(tmp_path / name / "end.pt")["weights"]
        kept = load_file(tmp_path / "a" / "best" / "model.safetensors")
        same = end["weights"] if name == "b" else kept
        assert all(torch.equal(each, same[key]) for key, each in plain.items()), name


def test_what_a_script_lacks_is_told_in_one_line(
    small_models: Models, photographs: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    text = STAND_IN.read_text(encoding="utf-8")
    out = of_stand_in(small_models("sd"), tmp_path, 2)[1:]
    script.write_text(text.replace("    optimizer = ", "    del text_encoder\n    optimizer = "))
    with pytest.raises(SystemExit, match="let go of its text_encoder; leave out"):
        diffusers_scripts.main([*watched(photographs), str(script), *out])
    without = [word for word in out if "prompt" not in word]
    with pytest.raises(SystemExit, match="--prompt: this script has none"):
        diffusers_scripts.main([*watched(photographs), str(STAND_IN), *without])


def test_the_two_lines_of_the_page_end_a_loop(model: Any, photographs: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "hooks.md"
    lines = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert len(lines.splitlines()) == 2
    accelerator, parts = Accelerator(cpu=True), model.stock.components
    loader = accelerator.prepare(DataLoader(TensorDataset(torch.arange(3.0))))
    args = SimpleNamespace(resolution=64, max_train_steps=400)
    named = {"noiseprobe": noiseprobe, "stop_when": diffusers_scripts.stop_when, "prompt": PROMPT}
    named |= {"Patience": lambda _: Patience(1), "accelerator": accelerator, "args": args}
    exec(lines.replace("photos/held-out", str(photographs)), named | {"parts": parts})
    for step in (5, 10):
        assert (len(list(loader)), args.max_train_steps) == (3, 400)
        accelerator.log({"loss": 1.0}, step=step)  # the weights are as they were: no gain
    assert (len(list(loader)), args.max_train_steps) == (0, 10)


SCRIPTS = {
    "text_to_image/train_text_to_image_lora.py": ("sd", "--learning_rate=0.05"),
    "dreambooth/train_dreambooth.py": ("sd", "--learning_rate=0.01"),
    "textual_inversion/textual_inversion.py": ("sd", "--learning_rate=0.5"),
    "dreambooth/train_dreambooth_lora_sdxl.py": ("sdxl", "--learning_rate=0.05"),
    "dreambooth/train_dreambooth_lora_flux.py": ("flux", "--learning_rate=0.05"),
}


@pytest.fixture
def models(small_models: Models, tmp_path: Path) -> Models:
    """The small models, with a FLUX whose CLIP takes the 77 tokens that its script insists on."""

    def directory(name: str) -> Path:
        if name != "flux":
            return small_models(name)
        pipeline = small.SMALL["flux-dev"]()
        pipeline.tokenizer.model_max_length = 77
        pipeline.register_modules(text_encoder=small.clip(CLIPTextModel, pipeline.tokenizer))
        pipeline.save_pretrained(tmp_path / name)
        return tmp_path / name

    return directory


@pytest.mark.skipif(not EXAMPLES, reason="NOISEPROBE_DIFFUSERS_EXAMPLES names no checkout")
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_of_diffusers_stop_early_as_they_stand(
    script: str, models: Models, photographs: Path, tmp_path: Path
) -> None:
    family, rate = SCRIPTS[script]
    own = [f"--pretrained_model_name_or_path={models(family)}", f"--output_dir={tmp_path / 'out'}"]
    own += ["--resolution=64", "--train_batch_size=2", "--max_train_steps=80", "--seed=0", rate]
    before = watched(photographs)
    if "text_to_image" in script:
        pytest.importorskip("datasets")
        rows = [{"file_name": each.name, "text": PROMPT} for each in photographs.glob("*.png")]
        captioned = tmp_path / "captioned"
        captioned.mkdir()
        for each in photographs.glob("*.png"):
            (captioned / each.name).write_bytes(each.read_bytes())
        (captioned / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        own += [f"--train_data_dir={captioned}"]
        before += ["--prompt", PROMPT]
    elif "inversion" in script:
        own += [f"--train_data_dir={photographs}", "--placeholder_token=<v>"]
        own += ["--initializer_token=dog"]
    else:
        own += [f"--instance_data_dir={photographs}", f"--instance_prompt={PROMPT}"]
    launch = [sys.executable, "-m", "experiments.integrations.diffusers_scripts", *before]
    done = subprocess.run(
        [*launch, str(Path(EXAMPLES) / script), *own], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    trace = Run(tmp_path / "out" / "tracked").train_trace().set_index("step")["l_val"]
    stop, best = trace.index.tolist()[-1], trace.index.tolist()[trace.argmin()]
    assert stop == best + 4 < 80
    assert f"stopped at step {stop}; best was step {best}" in done.stdout


class NetworkTrainer:
    """The loop of sd-scripts' train_network.py at 48d368f, as far as a subclass sees it."""

    def __init__(self) -> None:
        self.losses = iter(U_SHAPED)
        self.trained: list[int] = []
        self.saved: list[str] = []

    def sample_images(
        self,
        accelerator: Any,
        args: Any,
        epoch: Any,
        global_step: int,
        device: Any,
        vae: Any,
        tokenizers: Any,
        text_encoder: Any,
        unet: Any,
    ) -> None:
        """Draw."""

    def process_batch(
        self,
        batch: Any,
        text_encoders: Any,
        unet: Any,
        network: Any,
        vae: Any,
        noise_scheduler: Any,
        vae_dtype: Any,
        weight_dtype: Any,
        accelerator: Any,
        args: Any,
        text_encoding_strategy: Any,
        tokenize_strategy: Any,
        is_train: bool = True,
        train_text_encoder: bool = True,
        train_unet: bool = True,
    ) -> torch.Tensor:
        return torch.tensor(1.0 if is_train else self.level + float(args.min_timestep))

    def train(self, args: Any) -> None:
        accelerator = Accelerator(cpu=True)
        loaders = [DataLoader(TensorDataset(torch.arange(count))) for count in (4.0, 2.0)]
        train_dataloader, val_dataloader = accelerator.prepare(*loaders)
        between: Any = (None,) * 7
        call: Any = self.process_batch
        global_step = 0

        def validate() -> None:
            self.level = next(self.losses)
            for batch in val_dataloader:
                for timestep in (200, 400):
                    args.min_timestep = timestep
                    call(batch, *between, accelerator, args, None, None, is_train=False)

        for epoch in range(100):
            for batch in train_dataloader:
                call(batch, *between, accelerator, args, None, None, is_train=True)
                global_step += 1
                self.trained.append(global_step)
                self.sample_images(accelerator, args, None, global_step, *(None,) * 5)
                if args.validate_every_n_steps and global_step % args.validate_every_n_steps == 0:
                    validate()
                if global_step >= args.max_train_steps:
                    break
            if (epoch + 1) % (args.validate_every_n_epochs or 1) == 0:
                validate()
            if args.save_every_n_epochs and (epoch + 1) % args.save_every_n_epochs == 0:
                self.saved.append(f"-{epoch + 1:06d}")
            self.sample_images(accelerator, args, epoch + 1, global_step, *(None,) * 5)
        self.saved.append("")


@pytest.mark.parametrize(("every", "passes"), [(2, range(2, 11, 2)), (None, range(4, 21, 4))])
def test_a_trainer_of_kohyas_scripts_stops_by_its_own_validation(
    tmp_path: Path, every: int | None, passes: range, capfd: Any
) -> None:
    class Tracked(TrackedTrainer, NetworkTrainer):
        pass

    trainer, args = Tracked(), SimpleNamespace(max_train_steps=400, validate_every_n_steps=every)
    args.validate_every_n_epochs, args.save_every_n_epochs = None, 1
    trainer.reported = Reported(Patience(2), tmp_path)
    trainer.train(args)
    trace = Run(tmp_path).tracked_trace()
    assert trace["step"].unique().tolist() == list(passes)
    assert trace["loss"].tolist()[:4] == [204.0, 404.0, 204.0, 404.0], "2 images at 2 timesteps"
    last = passes[-1] + 1
    assert trainer.trained == list(range(1, last + 1))
    assert trainer.saved == [*(f"-{epoch:06d}" for epoch in range(1, passes[-1] // 4 + 1)), ""]
    assert f"stopped at step {last}; best was step {passes[2]}" in capfd.readouterr().out


class Process:
    """The loop of ai-toolkit's BaseSDTrainProcess at 27a03a9, as far as a subclass sees it."""

    def __init__(self, folder: Path) -> None:
        self.save_root = str(folder)
        self.accelerator = Accelerator(cpu=True)
        self.logger = SimpleNamespace(finish=lambda: self.did.append("finish"))
        self.additional_logs: dict[str, float] = {}
        self.did: list[str] = []
        self.losses = iter(U_SHAPED)
        self.step_num = 0

    def validate(self) -> None:
        self.additional_logs["val/loss"] = next(self.losses)

    def end_step_hook(self) -> None:
        self.did.append(f"step {self.step_num}")

    def save(self, step: int | None = None) -> None:
        self.did.append(f"save {step}")

    def done_hook(self) -> None:
        self.did.append("done")

    def run(self) -> None:
        for step in range(100):
            self.step_num = step
            if step % 3 == 0:
                self.validate()
            self.step_num = step + 1
            self.end_step_hook()
        self.save()


def test_a_process_of_ai_toolkit_stops_by_its_own_validation_and_saves(tmp_path: Path) -> None:
    class Tracked(TrackedProcess, Process):
        pass

    process = Tracked(tmp_path)
    process.reported = Reported(Patience(2), tmp_path / "tracked")
    process.run()
    assert process.did[-4:] == ["step 13", "save None", "finish", "done"]
    trace = Run(tmp_path / "tracked").train_trace().set_index("step")["l_val"]
    assert trace.to_dict() == dict(zip(range(0, 13, 3), U_SHAPED[:5], strict=True))
    assert process.reported.tracker.best_step == 6


def test_a_training_of_onetrainer_stops_by_its_own_validation(tmp_path: Path) -> None:
    written: list[tuple[str, float, int]] = []
    seen: list[int] = []
    stopped: list[bool] = []
    board = SimpleNamespace(add_scalar=lambda *given: written.append(given))
    told: dict[str, Any] = {}
    callbacks = SimpleNamespace(set_on_update_train_progress=lambda each: told.update(call=each))
    commands = SimpleNamespace(stop=lambda: stopped.append(True))
    trainer = SimpleNamespace(tensorboard=board)
    follow(
        trainer, callbacks, commands, tmp_path, Patience(2), lambda *given: seen.append(given[0])
    )
    for step in range(100):  # as GenericTrainer.train at 23df383: each step, then the callback
        trainer.tensorboard.add_scalar("loss/train_step", 1.0, step)
        if step % 3 == 0:
            for concept, more in (("cat", 0.0), ("dog", 1.0), ("total_average", 0.5)):
                loss = U_SHAPED[step // 3] + more
                trainer.tensorboard.add_scalar(f"loss/validation_step/{concept}", loss, step)
        told["call"](step + 1, 100, 1)
        if stopped:
            break
    assert step == 12
    assert seen == list(range(1, 14))
    assert ("loss/train_step", 1.0, 12) in written
    trace = Run(tmp_path).tracked_trace()
    assert trace["loss"].tolist() == [each + more for each in U_SHAPED[:5] for more in (0.0, 1.0)]


def test_each_checkpoint_is_judged_as_simpletuner_writes_it(
    model_directory: Path,
    photographs: Path,
    tmp_path: Path,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda parent, _: killed.append(parent))
    template = (
        f"python -m experiments.integrations.after_checkpoint --model {model_directory} --held-out "
        f"{photographs} --out {tmp_path / 'judged'} --caption 'a photo of <v>' --samples 3 "
        "--patience 1 --device cpu --interrupt {local_checkpoint_path}"
    )
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(1, 16, generator=random)
    said = []
    for step in (2, 4, 6, 8, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir(exist_ok=True)
        save_file({"<v>": drawn * step}, folder / "learned_embeds.safetensors")
        # As `run_hook_script` at bc8e6ab: filled in, split, and run beside the training.
        words = shlex.split(template.format(local_checkpoint_path=folder, global_step=step))
        after_checkpoint.main(words[3:])
        said.append(capfd.readouterr().out.strip().splitlines()[-1])
    trace = Run(tmp_path / "judged").train_trace().set_index("step")["l_val"]
    assert trace.index.tolist() == [0, 2, 4, 6, 8]
    assert trace.nunique() == 5
    assert said[-1] == "step 4: left out, for step 8 was judged before"
    values = trace.tolist()
    worse = [values[place] >= min(values[:place]) for place in range(1, len(values))]
    stops = [each.startswith("stop: ") for each in said[:-1]]
    assert stops == [any(worse[: place + 1]) for place in range(len(worse))]
    assert any(stops)
    assert len(killed) == sum(stops)
