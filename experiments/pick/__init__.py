"""How often the checkpoints that `noiseprobe pick` names hold the best, and how few they are."""
