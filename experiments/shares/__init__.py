"""Whether the analysis says what is true, on a diffusion model whose answers are known exactly."""
