"""A run is a folder.

config.yaml         the recipe, complete
metrics.csv         a row per epoch
tensorboard/        the same curves, and the sample grids
samples/            grids of samples, one every few epochs
checkpoints/        last.ckpt, from which the run resumes, and best.ckpt, the best by validation
model/              the best model, as `pixelrnn.models.from_pretrained` reads it
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from pixelrnn.errors import InputError
from pixelrnn.files import replacing
from pixelrnn.training.recipe import Recipe, read_recipe

# What may differ when a run resumes; anything else would make it a run that no recipe describes.
CHANGEABLE = {("train", "epochs"), ("train", "device"), ("train", "sample_every")}


class RunFolder:
    """The places in a run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.tensorboard = path / "tensorboard"
        self.samples = path / "samples"
        self.last = path / "checkpoints" / "last.ckpt"
        self.best = path / "checkpoints" / "best.ckpt"
        self.model = path / "model"

    def is_new(self) -> bool:
        """Nothing is in the folder, or only what a run left behind that ended before its first checkpoint."""
        entries = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if (folder := self.last.parent).is_dir() and not any(folder.iterdir()):
            entries.remove(folder.name)
        if self.metrics.is_file() and self.metrics.read_bytes().count(b"\n") <= 2:  # at most one epoch, not saved
            entries.remove(self.metrics.name)
        ours = entries <= {self.config.name, self.tensorboard.name} and self.config.is_file()
        return not entries or (ours and read_recipe(self.config).keys() == _plain(Recipe()).keys())

    def write_config(self, recipe: Recipe) -> None:
        """Records the recipe."""
        with replacing(self.config) as temporary:
            temporary.write_text(yaml.safe_dump(_plain(recipe), sort_keys=False), encoding="utf-8")

    def check_recipe(self, recipe: Recipe) -> None:
        """Raises InputError where a recipe is not that of the run, but for what may change when it resumes."""
        recorded, defaults = read_recipe(self.config), _plain(Recipe())
        for section, values in _plain(recipe).items():
            for key, value in values.items():
                before = recorded.get(section, {}).get(key, defaults[section][key])
                if value != before and (section, key) not in CHANGEABLE:
                    own = f"{section}.{key} {before}"
                    raise InputError(f"the run in {self.path} has {own}, not {value}: it resumes with its own recipe")


def _plain(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """A recipe as YAML has it: without tuples."""
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(asdict(recipe)))
    return plain
