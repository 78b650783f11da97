"""The command line: its commands, and all that only they use."""

from pixelrnn.cli import compression, evaluation, lists, push  # they add their commands to the app
from pixelrnn.cli.commands import app
from pixelrnn.cli.process import main

__all__ = ["app", "compression", "evaluation", "lists", "main", "push"]
