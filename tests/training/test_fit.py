import csv
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixelrnn import InputError, PixelRNN
from pixelrnn.data import DataConfig
from pixelrnn.errors import Stopped
from pixelrnn.training import fit as fit_module
from pixelrnn.training.config import ModelConfig, Recipe, TrainConfig
from pixelrnn.training.fit import fit


@pytest.fixture
def images(tmp_path: Path) -> DataConfig:
    """40 training images of 4×3 and 4 levels, bright at the top; 8 for validation."""
    bright = np.random.default_rng(0).integers(0, 2, (56, 4, 3), np.uint8)
    bright[:, :2] += 2
    np.savez(tmp_path / "a.npz", train=bright[:40], valid=bright[40:48], test=bright[48:])
    return DataConfig(source="array", path=str(tmp_path / "a.npz"), array_levels=4)


def recipe(images: DataConfig, **train: Any) -> Recipe:
    options: dict[str, Any] = {"epochs": 2, "batch": 8, "learning_rate": 0.01, "warmup": 3, "sample_every": 0}
    return Recipe(model=ModelConfig(hidden=2), data=images, train=TrainConfig(**options | train))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(checkpoint: Path) -> list[torch.Tensor]:
    state = torch.load(checkpoint, weights_only=True)
    return [*state["state_dict"].values(), *state.get("current_model_state", {}).values()]


def test_a_run_is_a_folder(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    best = fit(recipe(images, epochs=4, sample_every=3), run)

    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["array_levels"] == 4
    assert config["train"]["epochs"] == 4
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3", "4"]
    assert [row["step"] for row in rows(run)] == ["5", "10", "15", "20"]
    assert float(rows(run)[-1]["valid_nats"]) < float(rows(run)[0]["valid_nats"])
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["epoch-0003.png", "epoch-0004.png"]
    with Image.open(run / "samples" / "epoch-0004.png") as picture:
        assert picture.mode == "L"

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"train/nats", "train/bits_per_dim", "valid/nats", "valid/bits_per_dim"} <= set(events.Tags()["scalars"])
    assert any("lr-" in tag for tag in events.Tags()["scalars"])
    assert len(events.Images("samples")) == 2
    valid = [event.value for event in events.Scalars("valid/nats")]
    assert valid == pytest.approx([float(row["valid_nats"]) for row in rows(run)])

    loaded = PixelRNN.from_pretrained(run / "model")
    assert loaded.size == (4, 3)
    x = torch.randint(4, (2, 1, 4, 3), dtype=torch.uint8)
    assert torch.equal(loaded.log_prob(x), best.log_prob(x))


def test_the_exported_model_is_the_best_by_validation(tmp_path: Path, images: DataConfig) -> None:
    model = fit(recipe(images, epochs=5, learning_rate=0.3, clip=0.0, ema=0.0), tmp_path / "run")
    valid = torch.from_numpy(np.load(str(images.path))["valid"])[:, None]
    best = min(float(row["valid_nats"]) for row in rows(tmp_path / "run"))
    assert -model.log_prob(valid).mean().item() == pytest.approx(best, rel=1e-5)


class Raise(pl.Callback):
    """Raises a signal in the course of a run: before a given step's batch ends, or in the validation after it."""

    def __init__(self, where: str, step: int) -> None:
        self.where, self.step = where, step

    def _raise(self, where: str, trainer: pl.Trainer) -> None:
        if (where, trainer.global_step) == (self.where, self.step):
            signal.raise_signal(signal.SIGTERM)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._raise("train", trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._raise("valid", trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._raise("sample", trainer)


@pytest.mark.parametrize("ema", [0.99, 0.0])
@pytest.mark.parametrize(
    ("batch", "where", "step"),
    [
        (8, "train", 1),  # the first batch
        (8, "train", 7),  # within the second epoch
        (8, "train", 5),  # the last batch of an epoch
        (8, "valid", 5),
        (8, "valid", 10),  # the last validation
        (8, "sample", 5),
        (20, "train", 1),  # two batches an epoch
        (20, "train", 2),
        (40, "train", 1),  # one
        (40, "valid", 1),
    ],
)
def test_a_resumed_run_ends_bit_by_bit_as_one_never_stopped(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, ema: float, batch: int, where: str, step: int
) -> None:
    r = recipe(images, batch=batch, ema=ema, sample_every=1)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(r, whole)

    callbacks = fit_module._callbacks
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patched:
        patched.setattr(fit_module, "_callbacks", lambda *a, **k: [Raise(where, step), *callbacks(*a, **k)])
        with pytest.raises(Stopped, match="stopped by SIGTERM"):
            fit(r, stopped)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    fit(r, stopped, resume=True)

    assert rows(stopped) == rows(whole)
    for name in ("last.ckpt", "best.ckpt"):
        pairs = list(zip(weights(stopped / "checkpoints" / name), weights(whole / "checkpoints" / name), strict=True))
        assert len(pairs) > 10
        assert all(torch.equal(a, b) for a, b in pairs)
    exported = [(path / "model" / "model.safetensors").read_bytes() for path in (stopped, whole)]
    assert exported[0] == exported[1]


def test_a_run_killed_between_two_epochs_resumes_bit_by_bit(tmp_path: Path, images: DataConfig) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(recipe(images, epochs=3, schedule="constant"), whole)
    for epochs in (1, 2, 3):
        fit(recipe(images, epochs=epochs, schedule="constant"), parts, resume=epochs > 1)
    assert rows(parts) == rows(whole)
    pairs = zip(weights(parts / "checkpoints" / "last.ckpt"), weights(whole / "checkpoints" / "last.ckpt"), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


class Crash(pl.Callback):
    """Ends a run within its second epoch, without any warning."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == 7:
            raise RuntimeError("crash")


def test_a_long_epoch_is_saved_now_and_then(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(recipe(images), tmp_path / "whole")
    callbacks = fit_module._callbacks
    monkeypatch.setattr("pixelrnn.training.run_folder.SECONDS_BETWEEN_CHECKPOINTS", 0)
    with monkeypatch.context() as patched:
        patched.setattr(fit_module, "_callbacks", lambda *a, **k: [*callbacks(*a, **k), Crash()])
        with pytest.raises(RuntimeError, match="crash"):
            fit(recipe(images), tmp_path / "crashed")
    assert torch.load(tmp_path / "crashed" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 7
    fit(recipe(images), tmp_path / "crashed", resume=True)
    assert rows(tmp_path / "crashed") == rows(tmp_path / "whole")


def test_a_finished_run_resumes_to_nothing_more(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images), run)
    before = (rows(run), (run / "model" / "model.safetensors").read_bytes())
    fit(recipe(images), run, resume=True)
    assert (rows(run), (run / "model" / "model.safetensors").read_bytes()) == before


def test_a_run_folder_can_be_moved(tmp_path: Path, images: DataConfig) -> None:
    fit(recipe(images, epochs=1), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    fit(recipe(images, epochs=2), tmp_path / "there", resume=True)
    assert [row["epoch"] for row in rows(tmp_path / "there")] == ["1", "2"]


def test_every_epoch_has_its_own_order(tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    log_prob = PixelRNN.log_prob

    def recording(self: PixelRNN, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append(x)
        return log_prob(self, x)

    monkeypatch.setattr(PixelRNN, "log_prob", recording)
    fit(recipe(images, batch=40), tmp_path / "run")
    first, second = seen
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten(1).unique(dim=0), second.flatten(1).unique(dim=0))


def test_bfloat16_and_rmsprop_train(tmp_path: Path, images: DataConfig) -> None:
    fit(recipe(images, epochs=3, precision="bfloat16", optimizer="rmsprop"), tmp_path / "run")
    assert float(rows(tmp_path / "run")[-1]["valid_nats"]) < float(rows(tmp_path / "run")[0]["valid_nats"])
    assert PixelRNN.from_pretrained(tmp_path / "run" / "model").first.weight.dtype == torch.float32


def test_a_folder_in_use_is_refused(tmp_path: Path, images: DataConfig) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"the run folder .* is not empty: choose another$"):
        fit(recipe(images), tmp_path)
    fit(recipe(images, epochs=1), tmp_path / "run")
    with pytest.raises(InputError, match=r"the run folder .* is not empty: choose another, or resume the run in it"):
        fit(recipe(images), tmp_path / "run")
    with pytest.raises(InputError, match=r"nothing to resume in .*: no checkpoints/last\.ckpt"):
        fit(recipe(images), tmp_path, resume=True)


def test_checkpoints_that_cannot_be_resumed_are_named(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    before = (run / "config.yaml").read_text()
    with pytest.raises(InputError, match=r"has train\.optimizer adam, not rmsprop: it resumes with its own recipe"):
        fit(recipe(images, optimizer="rmsprop"), run, resume=True)
    assert (run / "config.yaml").read_text() == before
    (run / "config.yaml").write_text(before.replace("hidden: 2", "hidden: 3"))
    other = replace(recipe(images, epochs=1), model=ModelConfig(hidden=3))
    with pytest.raises(InputError, match=r"last\.ckpt belongs to another configuration: .* expected"):
        fit(other, run, resume=True)
    (run / "config.yaml").write_text(before)
    last = run / "checkpoints" / "last.ckpt"
    for data in (last.read_bytes()[:-100], b"", b"text"):
        last.write_bytes(data)
        with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
            fit(recipe(images), run, resume=True)
