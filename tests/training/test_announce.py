import re
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl

from pixelrnn.data import DataConfig
from pixelrnn.training import announce
from pixelrnn.training.fit import fit
from tests.training.runs import recipe, watched

HEADER = [
    "images: 40 for training, 10 for validation, 4×3, 1 channel, 4 levels",
    r"model: [\d,]+ weights, on the CPU with 1 thread",
    "training: 5 steps per epoch, 2 epochs to go",
    "few steps: expect noisy samples, or pass more epochs, 200 for instance",
]


def matches(lines: list[str], patterns: list[str]) -> bool:
    return len(lines) == len(patterns) and all(map(re.fullmatch, patterns, lines))


def test_a_run_says_what_it_will_do(tmp_path: Path, images: DataConfig, capfd: pytest.CaptureFixture[str]) -> None:
    fit(recipe(images), tmp_path / "run")
    output = capfd.readouterr()
    assert matches(output.out.splitlines(), [*HEADER, "epoch 1: .*", "epoch 2: .*"])
    assert output.err == ""


def test_a_resumed_run_counts_what_is_left(
    tmp_path: Path, images: DataConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    r = recipe(images, accumulate=3)
    fit(r, tmp_path / "run")
    capfd.readouterr()
    fit(replace(r, train=replace(r.train, epochs=3)), tmp_path / "run", resume=True)
    assert "training: 2 steps per epoch, 1 epoch to go\n" in capfd.readouterr().out


def test_a_run_of_enough_steps_or_of_trained_weights_gets_no_advice(
    tmp_path: Path, images: DataConfig, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fit(recipe(images), tmp_path / "new")
    assert "few steps" in capfd.readouterr().out
    fit(recipe(images), tmp_path / "trained", model=model)
    fit(recipe(images, start=str(tmp_path / "new")), tmp_path / "started")
    monkeypatch.setattr(announce, "FEW", 10)  # as many as the run has
    fit(recipe(images), tmp_path / "long")
    assert "few steps" not in capfd.readouterr().out


def test_a_long_run_estimates_its_time_and_gives_signs_of_life(
    tmp_path: Path, images: DataConfig, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes 10 s and validation 2 s, on a clock of our own. The first step takes a minute more."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    class Slow(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
            nonlocal now
            now += 10 if trainer.global_step else 70

        def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
            nonlocal now
            now += 2

    watched(monkeypatch, [Slow()], [])
    fit(recipe(images, epochs=20), tmp_path / "run")
    output = capfd.readouterr()
    lines = output.out.splitlines()
    assert lines[4] == "estimated time: about 18 min"  # 98 steps of 10 s, and 20 validations
    first, *later = output.err.splitlines()
    assert re.fullmatch(r"epoch 1/20, batch 1 of 5: [\d.]+ bits/dim", first)
    assert re.fullmatch(r"epoch 2/20, batch 2 of 5: [\d.]+ bits/dim, about 16 min left", later[0])
    assert len(output.err.splitlines()) == 17  # one a minute


def test_the_bar_counts_epochs_from_one() -> None:
    bar = announce.EpochBar()
    bar._trainer = pl.Trainer(max_epochs=20, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert bar._get_train_description(0) == "epoch 1/20"
