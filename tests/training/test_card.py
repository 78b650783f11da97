"""The part of a model card about a run."""

from pathlib import Path

import pytest

from pixelrnn import InputError
from pixelrnn.training.card import about

RECIPE = """
model: {orders: 8}
data: {source: folder, path: /home/me/secret/photos, size: [6, 5], mode: rgb, levels: 8, seed: 3}
train: {start: /home/me/runs/first, scale: 1}
"""
METRICS = "epoch,valid_nats,valid_bits_per_dim\n1,30.5,2.5\n2,20.25,1.5\n3,21,1.6\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(RECIPE)
    (tmp_path / "metrics.csv").write_text(METRICS)
    return tmp_path


def test_the_score_is_that_of_the_best_epoch_and_says_of_what(run: Path) -> None:
    text = about(run)
    assert "20.250 nats/image, 1.5000 bits/dim on the validation images, after epoch 2." in text
    assert "the terms of scale 1 alone" in text
    assert "the mean over 8 orders" in text


def test_the_data_and_the_recipe_are_told_without_local_folders(run: Path) -> None:
    text = about(run)
    for fact in ("source: folder (photos)", "levels: 8", "scaled to 6×5", "converted to rgb", "seed 3", "start: first"):
        assert fact in text
    assert "/home" not in text


def test_what_is_no_run_is_refused(run: Path) -> None:
    (run / "metrics.csv").write_text(METRICS.splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"metrics\.csv is damaged"):
        about(run)
    (run / "metrics.csv").unlink()
    with pytest.raises(InputError, match=r"is not a run folder with a finished epoch"):
        about(run)
