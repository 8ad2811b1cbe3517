"""Make the bundled model: every stage in a row, each resumed where it was cut off.

python -m experiments.tiny_sd --out runs/tiny-sd --export noiseprobe/assets/tiny-sd
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from experiments.tiny_sd.card import write_card
from experiments.tiny_sd.evaluate import evaluate
from experiments.tiny_sd.export import export
from experiments.tiny_sd.judge import train_judge
from experiments.tiny_sd.model import FULL, MICRO
from experiments.tiny_sd.schedule import Budget
from experiments.tiny_sd.train import train, training_record


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tiny_sd", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/tiny-sd"), help="resumable state")
    parser.add_argument("--export", type=Path, default=Path("noiseprobe/assets/tiny-sd"))
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes-vae", type=float, default=20)
    parser.add_argument("--minutes-denoiser", type=float, default=60)
    parser.add_argument("--steps-vae", type=int, help="instead of minutes: repeatable")
    parser.add_argument("--steps-denoiser", type=int, help="instead of minutes: repeatable")
    parser.add_argument("--steps-judge", type=int, default=4000)
    parser.add_argument("--scenes", type=int, default=48_000, help="scenes of the denoiser")
    parser.add_argument("--samples", type=int, default=256, help="drawn for the evaluation")
    parser.add_argument("--micro", action="store_true", help="a model for testing the recipe")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Train both stages, export, evaluate, write the card."""
    chosen = parse(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu")
        if chosen.device == "auto"
        else chosen.device
    )
    pipeline = train(
        chosen.out,
        budget(chosen.steps_vae, chosen.minutes_vae),
        budget(chosen.steps_denoiser, chosen.minutes_denoiser),
        device,
        chosen.seed,
        chosen.scenes,
        MICRO if chosen.micro else FULL,
    )
    pipeline = export(pipeline, chosen.export)
    judge = train_judge(chosen.out, Budget(steps=chosen.steps_judge), device).cpu()
    evaluate(pipeline, judge, chosen.export, training_record(chosen.out), chosen.samples)
    write_card(pipeline, chosen.export)


def budget(steps: int | None, minutes: float) -> Budget:
    """Steps if they are given, else minutes."""
    return Budget(steps=steps) if steps is not None else Budget(minutes=minutes)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last saved step")
