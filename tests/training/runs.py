"""Small runs and their files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from pixelrnn.data import DataConfig
from pixelrnn.training import fit as fit_module
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig


def images(folder: Path) -> DataConfig:
    """40 training images of 4×3 and 4 levels, bright at the top; 10 for validation."""
    bright = np.random.default_rng(0).integers(0, 2, (58, 4, 3), np.uint8)
    bright[:, :2] += 2
    np.savez(folder / "a.npz", train=bright[:40], valid=bright[40:50], test=bright[50:])
    return DataConfig(source="array", path=str(folder / "a.npz"), array_levels=4)


def recipe(images: DataConfig, **train: Any) -> Recipe:
    options: dict[str, Any] = {"epochs": 2, "batch": 8, "learning_rate": 0.01, "warmup": 3, "sample_every": 0}
    return Recipe(model=ModelConfig(hidden=2, dropout=0.2), data=images, train=TrainConfig(**options | train))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(checkpoint: Path) -> list[torch.Tensor]:
    state = torch.load(checkpoint, weights_only=True)
    return [*state["state_dict"].values(), *state.get("current_model_state", {}).values()]


def watched(monkeypatch: pytest.MonkeyPatch, before: list[pl.Callback], after: list[pl.Callback]) -> None:
    """Adds callbacks to every run, before and after its own."""
    callbacks = fit_module._callbacks
    monkeypatch.setattr(fit_module, "_callbacks", lambda *a, **k: [*before, *callbacks(*a, **k), *after])
