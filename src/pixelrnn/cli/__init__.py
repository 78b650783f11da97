"""The command line: train, evaluate, sample, complete, compress, decompress, data, bench, demo, explain."""

from pixelrnn.cli import compression, evaluation  # they add their commands to the app
from pixelrnn.cli.commands import app
from pixelrnn.cli.process import main

__all__ = ["app", "compression", "evaluation", "main"]
