"""The stages of a run on its directory: train, probe, measure, plot, all in a row, and sweeps."""
