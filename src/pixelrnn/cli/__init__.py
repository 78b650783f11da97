"""The command line: its commands, and all that only they use."""

from pixelrnn.cli import bench, compression, evaluation, explain, lists, push  # they add their commands to the app
from pixelrnn.cli.commands import app
from pixelrnn.cli.process import main

__all__ = ["app", "bench", "compression", "evaluation", "explain", "lists", "main", "push"]
