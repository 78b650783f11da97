"""The command line: its commands, and all that only they use."""

from pixelrnn.cli import compression, lists, push  # they add their commands to the app
from pixelrnn.cli.commands import app
from pixelrnn.cli.process import main

__all__ = ["app", "compression", "lists", "main", "push"]
