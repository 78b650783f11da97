import os
from pathlib import Path

import pytest
import torch
import yaml

from pixelrnn.data import DataConfig
from pixelrnn.training.config import Recipe
from pixelrnn.training.run_folder import RunFolder, WholeCheckpoints


def test_the_recipe_is_recorded_whole(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_config(Recipe(data=DataConfig(source="folder", path="photos", size=(3, 4))))
    recorded = yaml.safe_load(run.config.read_text())
    assert recorded["data"]["size"] == [3, 4]
    assert recorded["data"]["key"] is None
    assert set(recorded["train"]) == set(Recipe().train.__slots__)


class DiskFull:
    """An object that the disk has no room for."""

    def __reduce__(self) -> tuple[object, ...]:
        raise OSError(28, os.strerror(28))


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": torch.tensor(1)}, path)
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpoints().save_checkpoint({"step": torch.tensor(2), "more": DiskFull()}, path)
    assert torch.load(path)["step"] == 1
    assert os.listdir(path.parent) == ["last.ckpt"]
