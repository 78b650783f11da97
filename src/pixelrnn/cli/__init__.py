"""The command line: train, evaluate, sample, complete, compress, decompress, data, bench, demo, explain."""

from pixelrnn.cli import compression  # adds its commands to the app
from pixelrnn.cli.commands import app
from pixelrnn.cli.process import main

__all__ = ["app", "compression", "main"]
