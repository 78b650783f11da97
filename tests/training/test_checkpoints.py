import math
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from pixelrnn import InputError, PixelRNN
from pixelrnn.data import DataConfig
from pixelrnn.errors import Stopped
from pixelrnn.training.checkpoint import CheckedCheckpoints, read
from pixelrnn.training.fit import fit
from tests.training.runs import recipe, rows, watched, weights


class Raise(pl.Callback):
    """Raises a signal in a run: before the run, at the end of the batch of a step, or in the validation after it."""

    def __init__(self, where: str, step: int) -> None:
        self.where, self.step = where, step

    def _raise(self, where: str, trainer: pl.Trainer) -> None:
        if (where, trainer.global_step) == (self.where, self.step):
            signal.raise_signal(signal.SIGTERM)

    def on_fit_start(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._raise("start", trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._raise("train", trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._raise("valid", trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._raise("sample", trainer)


@pytest.mark.parametrize(
    ("ema", "batch", "where", "step"),
    [
        (0.99, 8, "train", 1),  # the first batch
        (0.99, 8, "train", 7),  # within the second epoch
        (0.99, 8, "train", 5),  # the last batch of an epoch
        (0.99, 8, "valid", 5),
        (0.99, 8, "valid", 10),  # the last validation
        (0.99, 8, "sample", 5),
        (0.99, 20, "train", 1),  # two batches an epoch
        (0.99, 20, "train", 2),
        (0.99, 40, "train", 1),  # one
        (0.99, 40, "valid", 1),
        # Without an average: each batch, place and step once more.
        (0.0, 8, "train", 7),
        (0.0, 8, "valid", 10),
        (0.0, 8, "sample", 5),
        (0.0, 20, "train", 2),
        (0.0, 40, "train", 1),
    ],
)
def test_a_resumed_run_ends_bit_by_bit_as_one_never_stopped(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch, ema: float, batch: int, where: str, step: int
) -> None:
    r = recipe(images, batch=batch, ema=ema, sample_every=1)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(r, whole)

    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patched:
        watched(patched, [Raise(where, step)], [])
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


def test_a_resumed_run_draws_the_same_orders(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    r = recipe(images)
    r = replace(r, model=replace(r.model, orders=8))
    fit(r, tmp_path / "whole")
    with monkeypatch.context() as patched:
        watched(patched, [Raise("train", 3)], [])
        with pytest.raises(Stopped, match="stopped by SIGTERM"):
            fit(r, tmp_path / "stopped")
    fit(r, tmp_path / "stopped", resume=True)
    whole, stopped = (weights(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("whole", "stopped"))
    assert all(torch.equal(a, b) for a, b in zip(whole, stopped, strict=True))


def test_a_signal_just_after_all_has_looked_for_one_is_not_lost(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    r = recipe(images)
    with monkeypatch.context() as patched:
        watched(patched, [], [Raise("train", 7)])
        with pytest.raises(Stopped, match="stopped by SIGTERM; the run was saved"):
            fit(r, tmp_path / "stopped")
    fit(r, tmp_path / "stopped", resume=True)
    fit(r, tmp_path / "whole")
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_a_run_killed_between_two_epochs_resumes_bit_by_bit(tmp_path: Path, images: DataConfig, optimizer: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(recipe(images, epochs=3, schedule="constant", optimizer=optimizer), whole)
    for epochs in (1, 2, 3):
        fit(recipe(images, epochs=epochs, schedule="constant", optimizer=optimizer), parts, resume=epochs > 1)
    assert rows(parts) == rows(whole)
    pairs = zip(weights(parts / "checkpoints" / "last.ckpt"), weights(whole / "checkpoints" / "last.ckpt"), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


class Crash(pl.Callback):
    """Ends a run after a step, without any warning."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


def test_a_long_epoch_is_saved_now_and_then(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(recipe(images), tmp_path / "whole")
    monkeypatch.setattr("pixelrnn.training.records.SECONDS_BETWEEN_CHECKPOINTS", 0)
    for step in (7, 8):
        with monkeypatch.context() as patched:
            watched(patched, [], [Crash(step)])
            with pytest.raises(RuntimeError, match="crash"):
                fit(recipe(images), tmp_path / "crashed", resume=step > 7)
        assert read(tmp_path / "crashed" / "checkpoints" / "last.ckpt")["global_step"] == step
    fit(recipe(images), tmp_path / "crashed", resume=True)
    assert rows(tmp_path / "crashed") == rows(tmp_path / "whole")


def test_a_finished_run_resumes_to_nothing_more(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images), run)
    before = (rows(run), (run / "model" / "model.safetensors").read_bytes())
    fit(recipe(images), run, resume=True)
    assert (rows(run), (run / "model" / "model.safetensors").read_bytes()) == before


def test_a_signal_before_the_first_step(tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        watched(patched, [Raise("start", 0)], [])
        with pytest.raises(Stopped, match=r"stopped by SIGTERM$"):
            fit(recipe(images), tmp_path / "run")
    fit(recipe(images), tmp_path / "run")


class Rates(pl.Callback):
    """Records the learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_a_finished_run_goes_on_with_the_schedule_of_more_epochs(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(recipe(images, epochs=1), tmp_path / "run")
    rates = Rates()
    watched(monkeypatch, [rates], [])
    fit(recipe(images, epochs=2), tmp_path / "run", resume=True)
    assert rates.seen == pytest.approx([0.005 * (1 + math.cos(math.pi * (step - 3) / 7)) for step in range(5, 10)])


def test_epochs_are_not_undone(tmp_path: Path, images: DataConfig) -> None:
    fit(recipe(images, epochs=2), tmp_path / "run")
    with pytest.raises(InputError, match=r"is in epoch 2: train\.epochs must be at least 2, got 1"):
        fit(recipe(images, epochs=1), tmp_path / "run", resume=True)
    assert "epochs: 2" in (tmp_path / "run" / "config.yaml").read_text()


def test_an_old_recipe_has_the_defaults(tmp_path: Path, images: DataConfig) -> None:
    fit(recipe(images, epochs=1), tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("  optimizer: adam\n", ""))
    fit(recipe(images, epochs=1), tmp_path / "run", resume=True)


def test_a_signal_while_samples_are_drawn_stops_after_a_row(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = PixelRNN.sample

    def interrupted(self: PixelRNN, n: int, **options: Any) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return sample(self, n, **options)

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(PixelRNN, "sample", interrupted)
        with pytest.raises(Stopped, match="stopped by SIGINT"):
            fit(recipe(images, epochs=3, sample_every=2), run)
    assert len(rows(run)) == 2
    assert not (run / "samples").exists()
    fit(recipe(images, epochs=3, sample_every=2), run, resume=True)
    fit(recipe(images, epochs=3), tmp_path / "whole")
    assert rows(run) == rows(tmp_path / "whole")


def test_a_run_folder_can_be_moved(tmp_path: Path, images: DataConfig) -> None:
    fit(recipe(images, epochs=1), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    fit(recipe(images, epochs=2), tmp_path / "there", resume=True)
    assert [row["epoch"] for row in rows(tmp_path / "there")] == ["1", "2"]


def test_checkpoints_that_cannot_be_resumed_are_named(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    before = (run / "config.yaml").read_text()
    with pytest.raises(InputError, match=r"has train\.optimizer adam, got rmsprop: it resumes with its own recipe"):
        fit(recipe(images, optimizer="rmsprop"), run, resume=True)
    assert (run / "config.yaml").read_text() == before
    (run / "config.yaml").write_text(before.replace("hidden: 2", "hidden: 3"))
    other = replace(recipe(images, epochs=1), model=replace(recipe(images).model, hidden=3))
    with pytest.raises(InputError, match=r"has model\.hidden 2, got 3: it resumes with its own recipe"):
        fit(other, run, resume=True)
    (run / "config.yaml").write_text(before)
    last = run / "checkpoints" / "last.ckpt"
    for data in (last.read_bytes()[:-100], b"", b"text"):
        last.write_bytes(data)
        with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
            fit(recipe(images), run, resume=True)


def test_a_worse_epoch_after_resuming_does_not_replace_the_best(tmp_path: Path, images: DataConfig) -> None:
    run = tmp_path / "run"
    fit(recipe(images, epochs=1), run)
    state = read(run / "checkpoints" / "last.ckpt")
    state["callbacks"]["Checkpoints"] |= {"best": -1.0, "last_is_best": False}  # better than any score
    CheckedCheckpoints().save_checkpoint(state, run / "checkpoints" / "last.ckpt")
    best = (run / "checkpoints" / "best.ckpt").read_bytes()
    fit(recipe(images, epochs=2), run, resume=True)
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == best


class Spoil(pl.Callback):
    """Breaks a weight at the end of the batch before the last of the second epoch."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any) -> None:
        if trainer.global_step == 9:
            next(pl_module.parameters()).data.fill_(torch.nan)


def test_weights_that_are_no_numbers_are_not_saved(
    tmp_path: Path, images: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        watched(patched, [Spoil()], [])
        with pytest.raises(InputError, match=r"model\.first\.weight is not finite at step 9: lower"):
            fit(recipe(images), run)
    assert all(weight.isfinite().all() for weight in weights(run / "checkpoints" / "last.ckpt"))
    fit(recipe(images), run, resume=True)


@pytest.mark.slow  # some 30 runs, each killed and resumed; `python -m tests.training.kills` kills at every operation
@pytest.mark.parametrize(("batches", "every", "least"), [(1, 25, 5), (2, 9, 10)])
def test_a_run_killed_at_a_file_operation_ends_as_one_left_alone(batches: int, every: int, least: int) -> None:
    command = [sys.executable, "-m", "tests.training.kills", "--batches", str(batches), "--every", str(every)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    killed = re.search(r"killed: (\d+);", ended.stdout)
    assert killed
    assert int(killed[1]) >= least
