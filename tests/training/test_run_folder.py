from pathlib import Path

import yaml

from pixelrnn.data import DataConfig
from pixelrnn.training.recipe import Recipe
from pixelrnn.training.run_folder import RunFolder


def test_the_recipe_is_recorded_whole(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_config(Recipe(data=DataConfig(source="folder", path="photos", size=(3, 4))))
    recorded = yaml.safe_load(run.config.read_text())
    assert recorded["data"]["size"] == [3, 4]
    assert recorded["data"]["key"] is None
    assert set(recorded["train"]) == set(Recipe().train.__slots__)
