"""The command line: train, evaluate, sample, complete, data, bench, demo, explain."""

from pixelrnn.cli.commands import app
from pixelrnn.cli.process import main

__all__ = ["app", "main"]
