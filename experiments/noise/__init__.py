"""What the batch loss's noise is made of, by method, over concepts."""
