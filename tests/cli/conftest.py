"""What the tests of the command line share."""

from pathlib import Path

import pytest

from pixelrnn.cli import main
from tests.cli.checks import TINY


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, too short to be any good."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--run", str(path), *TINY]) == 0
    return path
