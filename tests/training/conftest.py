from pathlib import Path

import pytest

from pixelrnn.data import DataConfig
from tests.training import runs


@pytest.fixture
def images(tmp_path: Path) -> DataConfig:
    """The images of `runs.images`."""
    return runs.images(tmp_path)
