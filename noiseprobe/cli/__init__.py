"""The command line: one short function per command, and what a person reads of each."""

from noiseprobe.cli.app import app, main

__all__ = ["app", "main"]
