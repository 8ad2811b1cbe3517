"""A script of the shape that those of diffusers have, with their names; what it trains is nothing.

Its weights grow at each step, so that the loss on any photographs rises in the end.
"""

import argparse
import math
import os

import torch
from accelerate import Accelerator
from diffusers import DiffusionPipeline
from torch.utils.data import DataLoader, TensorDataset


def parse_args() -> argparse.Namespace:
    """Of the arguments of the scripts those that matter here."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pretrained_model_name_or_path")
    parser.add_argument("--instance_prompt")
    parser.add_argument("--output_dir")
    parser.add_argument("--max_train_steps", type=int)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--center_crop", action="store_true")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Prepare, loop over epochs, log, break, save: as each of them does."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    pipeline = DiffusionPipeline.from_pretrained(args.pretrained_model_name_or_path)
    vae, noise_scheduler = pipeline.vae, pipeline.scheduler
    vae.requires_grad_(False)
    accelerator.print(type(noise_scheduler).__name__)
    if hasattr(pipeline, "transformer"):  # as train_dreambooth_lora_flux.py
        transformer = pipeline.transformer
        text_encoders = [pipeline.text_encoder, pipeline.text_encoder_2]
        tokenizers = [pipeline.tokenizer, pipeline.tokenizer_2]
        for encoder, words in zip(text_encoders, tokenizers, strict=True):
            encoder.requires_grad_(False)
            words("a photo")
        trained = transformer
    elif hasattr(pipeline, "text_encoder_2"):  # as train_dreambooth_lora_sdxl.py
        unet = pipeline.unet
        text_encoder_one, text_encoder_two = pipeline.text_encoder, pipeline.text_encoder_2
        tokenizer_one, tokenizer_two = pipeline.tokenizer, pipeline.tokenizer_2
        tokenizer_one("a photo"), tokenizer_two("a photo")
        text_encoder_one.requires_grad_(False), text_encoder_two.requires_grad_(False)
        trained = unet
    else:  # as train_dreambooth.py
        unet = pipeline.unet
        text_encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
        tokenizer("a photo")
        text_encoder.requires_grad_(False)
        trained = unet
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.05)
    train_dataloader = DataLoader(TensorDataset(torch.arange(6.0)))
    trained, optimizer, train_dataloader = accelerator.prepare(trained, optimizer, train_dataloader)
    num_train_epochs = math.ceil(args.max_train_steps / (len(train_dataloader) / 2))
    global_step, batches = 0, 0
    for _ in range(num_train_epochs):
        trained.train()
        for _ in train_dataloader:
            batches += 1
            with accelerator.accumulate(trained):
                loss = -sum(each.square().sum() for each in trained.parameters())
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                global_step += 1
            accelerator.log({"loss": loss.detach().item()}, step=global_step)
            if global_step >= args.max_train_steps:
                break
    accelerator.wait_for_everyone()
    weights = accelerator.unwrap_model(trained).state_dict()
    os.makedirs(args.output_dir, exist_ok=True)
    end = {"step": global_step, "batches": batches, "weights": weights}
    torch.save(end, os.path.join(args.output_dir, "end.pt"))
    accelerator.end_training()


if __name__ == "__main__":
    main(parse_args())
