"""Fixtures of the tests of the command line."""

from pathlib import Path

import pytest

import pixelrnn.training.fit  # noqa: F401  no command is the first that loads it, which may take long and print a line
from pixelrnn.cli import main
from tests.cli.checks import TINY


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits, with a poor model."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--run", str(path), *TINY]) == 0
    return path
