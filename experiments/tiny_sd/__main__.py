"""Make the bundled model: every stage in a row, each resumed where it was cut off.

python -m experiments.tiny_sd --out runs/tiny-sd --export noiseprobe/models/assets/tiny-sd
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from experiments.tiny_sd.card import write_card
from experiments.tiny_sd.classifier import train_classifier
from experiments.tiny_sd.clip import export_clip, train_clip
from experiments.tiny_sd.evaluate import evaluate
from experiments.tiny_sd.export import export, load
from experiments.tiny_sd.model import FULL, MICRO
from experiments.tiny_sd.schedule import Budget
from experiments.tiny_sd.tokenizer import saved_tokenizer
from experiments.tiny_sd.train import Recipe, training_record

STAGES = ("vae", "denoiser", "decoder", "clip", "classifier", "export", "evaluate", "card")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tiny_sd", description=__doc__)
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all by default"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/tiny-sd"), help="resumable state")
    assets = Path("noiseprobe/models/assets")
    parser.add_argument("--export", type=Path, default=assets / "tiny-sd")
    parser.add_argument("--export-clip", type=Path, default=assets / "tiny-clip")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; all by default")
    parser.add_argument("--seed", type=int, default=0)
    for stage, minutes in (("vae", 20), ("denoiser", 62), ("decoder", 45), ("clip", 38)):
        parser.add_argument(f"--minutes-{stage}", type=float, default=minutes)
        parser.add_argument(f"--steps-{stage}", type=int, help="instead of minutes: repeatable")
    parser.add_argument("--steps-classifier", type=int, default=4000)
    parser.add_argument("--scenes", type=int, default=48_000, help="scenes of the denoiser")
    parser.add_argument("--samples", type=int, default=512, help="drawn for the evaluation")
    parser.add_argument("--micro", action="store_true", help="a model for testing the recipe")
    chosen = parser.parse_args(arguments)
    for stage in chosen.stages:
        if stage not in STAGES:
            parser.error(f"'{stage}' is no stage; choose from {', '.join(STAGES)}")
    return chosen


def main(arguments: list[str] | None = None) -> None:
    """Do the chosen stages; each reads what those before it left in `--out` and `--export`."""
    chosen = parse(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu")
        if chosen.device == "auto"
        else chosen.device
    )
    out = chosen.out
    recipe = Recipe(
        out,
        {stage: budget(chosen, stage) for stage in ("vae", "denoiser", "decoder")},
        device,
        chosen.seed,
        chosen.scenes,
        MICRO if chosen.micro else FULL,
    )
    for stage in chosen.stages or STAGES:
        print(f"stage: {stage}", file=sys.stderr)
        match stage:
            case "vae":
                recipe.vae()
            case "denoiser":
                recipe.denoiser()
            case "decoder":
                recipe.decoder()
            case "clip":
                tokenizer = saved_tokenizer(out / "tokenizer")
                clip = train_clip(out, tokenizer, budget(chosen, "clip"), device)
                export_clip(clip, tokenizer, chosen.export_clip)
            case "classifier":
                train_classifier(out, Budget(steps=chosen.steps_classifier), device)
            case "export":
                export(recipe.pipeline(), chosen.export)
            case "evaluate":
                steps = Budget(steps=chosen.steps_classifier)
                evaluate(
                    load(chosen.export),
                    train_classifier(out, steps, device).cpu(),
                    chosen.export,
                    chosen.export_clip,
                    training_record(out),
                    chosen.samples,
                )
            case "card":
                write_card(load(chosen.export), chosen.export)


def budget(chosen: argparse.Namespace, stage: str) -> Budget:
    """Steps if they are given, else minutes."""
    steps = getattr(chosen, f"steps_{stage}")
    return (
        Budget(steps=steps)
        if steps is not None
        else Budget(minutes=getattr(chosen, f"minutes_{stage}"))
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last saved step")
