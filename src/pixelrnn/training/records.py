"""When a run writes down its metrics, checkpoints and grids of samples. A signal stops it where it can resume."""

import csv
import math
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from pixelrnn.data import Batch
from pixelrnn.errors import InputError, Stopped, input_error
from pixelrnn.files import replacing
from pixelrnn.likelihood import bits_per_dim
from pixelrnn.pictures import grid, save_grid, to_8_bit
from pixelrnn.randomness import generator
from pixelrnn.training.checkpoint import averaged_weights
from pixelrnn.training.curves import Curves
from pixelrnn.training.run_folder import RunFolder

# Of metrics.csv.
COLUMNS = ("epoch", "step", "train_nats", "train_bits_per_dim", "valid_nats", "valid_bits_per_dim", "seconds")
SECONDS_BETWEEN_CHECKPOINTS = 600


class Metrics(pl.Callback):
    """Writes a row of ``metrics.csv`` after every validation, and prints it; ``dimensions`` is C·H·W of an image."""

    def __init__(self, run: RunFolder, *, dimensions: int, scale: int | None = None) -> None:
        self.run, self.dimensions, self.scale = run, dimensions, scale
        self.nats, self.images = 0.0, 0  # of the epoch's training batches so far
        self.start = time.monotonic()  # less what earlier parts of a resumed run have spent
        self.rows = self._read() if run.metrics.is_file() else []

    def state_dict(self) -> dict[str, Any]:
        return {"nats": self.nats, "images": self.images, "seconds": time.monotonic() - self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.nats, self.images = state_dict["nats"], state_dict["images"]
        self.start = time.monotonic() - state_dict["seconds"]

    def _read(self) -> list[dict[str, Any]]:
        with input_error(f"{self.run.metrics} is damaged", csv.Error, UnicodeDecodeError):
            rows = list(csv.DictReader(self.run.metrics.read_text(encoding="utf-8").splitlines()))
        if any(
            tuple(row) != COLUMNS or None in row.values() or not re.fullmatch("[0-9]{1,18}", row["step"])
            for row in rows
        ):
            raise InputError(f"{self.run.metrics} is damaged: expected the columns {', '.join(COLUMNS)}")
        return rows

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.nats += outputs["nats"].item() * len(batch.pixels)
        self.images += len(batch.pixels)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        train, valid = self.nats / max(1, self.images), trainer.callback_metrics["valid/nats"].item()
        self.nats, self.images = 0.0, 0
        train_bits, valid_bits = bits_per_dim(train, self.dimensions), bits_per_dim(valid, self.dimensions)
        seconds = round(time.monotonic() - self.start, 1)
        values = (trainer.current_epoch + 1, trainer.global_step, train, train_bits, valid, valid_bits, seconds)
        row = dict(zip(COLUMNS, values, strict=True))
        # A run that was killed between this and its checkpoint repeats the epoch.
        self.rows = [*(r for r in self.rows if int(r["step"]) < trainer.global_step), row]
        with replacing(self.run.metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        scale = "" if self.scale is None else f", of scale {self.scale} alone"
        print(f"epoch {row['epoch']}: train {train_bits:.4f}, valid {valid_bits:.4f} bits/dim{scale}")


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` after every validation, now and then and on a signal; ``best.ckpt`` is a copy of the best.

    It draws 16 samples after a validation every ``sample_every`` epochs and after the last, if that is not 0.

    A run that is killed resumes from ``last.ckpt`` and does again what came after it. So the samples are drawn before
    that file is renamed to its place; and it says whether it is the best, in case the kill came before the copy.

    A run resumes exactly from the end of a batch, but not from within a validation. So the state is kept before the
    last batch of every epoch too: if the signal comes in that batch or in the validation, resuming repeats that one
    batch.
    """

    def __init__(self, run: RunFolder, *, sample_every: int, seed: int, recipe: str) -> None:
        self.run, self.sample_every, self.seed, self.recipe = run, sample_every, seed, recipe
        self.best, self.last_is_best = math.inf, False
        self.signum: int | None = None
        self.saved = time.monotonic()

    def on_signal(self, signum: int, frame: object) -> None:
        """Stops the training where it can be resumed, by raising `Stopped` there."""
        self.signum = signum
        signal.signal(signum, signal.SIG_DFL)  # a second one ends the process at once

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stop_if_asked()
        # Lightning has replaced this handler. Its own would exit with status 0 without saving.
        if signal.getsignal(signal.SIGINT) == self.on_signal:
            signal.signal(signal.SIGTERM, self.on_signal)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "last_is_best": self.last_is_best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.last_is_best = state_dict["best"], state_dict["last_is_best"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._copy_if_best()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = self.recipe
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            # The sampler would skip in the next epoch what it has given in this one: all of it.
            del checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.last_is_best = False
        left = int(trainer.num_training_batches) - 1 - batch_idx
        due = self.signum is not None or time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS
        if left == 1 or (left > 1 and due):
            self._save(trainer)
            self.saved = time.monotonic()
        self._stop_within_epoch(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._stop_within_epoch(trainer)

    def _stop_within_epoch(self, trainer: pl.Trainer) -> None:
        # An epoch of a single batch has no state before its last one: its validation, as short, is waited for.
        if trainer.num_training_batches > 1:
            self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raises `Stopped` if a signal has come."""
        if self.signum is not None:
            raise Stopped(self.signum, saved=self.run.last.is_file())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = trainer.callback_metrics["valid/nats"].item()
        if not math.isfinite(score):
            raise InputError(f"the validation images have {score} nats at step {trainer.global_step}")
        self.last_is_best, self.best = score < self.best, min(score, self.best)
        epoch = trainer.current_epoch + 1
        drawn = self.sample_every and (epoch % self.sample_every == 0 or epoch == trainer.max_epochs)
        self._save(trainer, samples_of=epoch if drawn else None)
        self._copy_if_best()
        self.stop_if_asked()

    def _save(self, trainer: pl.Trainer, *, samples_of: int | None = None) -> None:
        # A step can leave weights behind that only the next loss would show to be broken.
        for name, weight in trainer.lightning_module.named_parameters():
            if not weight.isfinite().all():
                at = f"at step {trainer.global_step}"
                raise InputError(f"{name} is not finite {at}: lower train.learning_rate or train.clip")
        with replacing(self.run.last) as temporary:
            trainer.save_checkpoint(temporary)
            if samples_of is not None:
                self._draw_samples(trainer, temporary, samples_of)

    def _copy_if_best(self) -> None:
        if self.last_is_best:
            with replacing(self.run.best) as temporary:
                shutil.copyfile(self.run.last, temporary)

    def _draw_samples(self, trainer: pl.Trainer, checkpoint: Path, epoch: int) -> None:
        """From a checkpoint's averaged weights, as a picture and into TensorBoard. A signal stops after a row."""
        training: Any = trainer.lightning_module
        model = type(training.model)(**training.model.config).to(training.device)
        model.load_state_dict(averaged_weights(checkpoint))
        labels = torch.arange(16, device=model.device) % len(model.classes) if model.classes else None
        random = generator(self.seed)
        drawn = model.sample(16, labels=labels, generator=random, on_row=lambda _: self._stop_within_epoch(trainer))
        samples = to_8_bit(drawn, model.levels)
        save_grid(self.run.samples / f"epoch-{epoch:04}.png", samples, columns=4)
        assert isinstance(trainer.logger, Curves)
        trainer.logger.log_image("samples", grid(samples, columns=4), trainer.global_step)
