"""Stopping criteria: losses in, a decision out. One file per criterion, nothing of torch."""
