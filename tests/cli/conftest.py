"""Fixtures of the tests of the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelrnn import progress
from pixelrnn.cli import main
from tests.cli.checks import TINY


@pytest.fixture(scope="session", autouse=True)
def _silent_imports() -> Iterator[None]:
    """No command says that it loads a library, which only the first one on a slow machine would do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "SECONDS_TO_LOAD", 3600)
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on the digits, with a poor model."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--run", str(path), *TINY]) == 0
    return path
