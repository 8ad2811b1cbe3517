"""What the analysis shows on the 48 concepts of the bundled model."""
