"""A tracker in other people's training loops: a few lines in each, run as they stand."""
