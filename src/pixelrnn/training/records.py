"""What a run writes down: its metrics, its checkpoints, and grids of samples. A signal stops it where it can resume."""

import csv
import io
import math
import signal
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from pixelrnn.data import Batch
from pixelrnn.errors import InputError, Stopped, input_error
from pixelrnn.files import replacing
from pixelrnn.likelihood import bits_per_dim
from pixelrnn.pictures import grid, save_grid, to_8_bit
from pixelrnn.randomness import generator
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
        if any(tuple(row) != COLUMNS or None in row.values() or not row["step"].isdecimal() for row in rows):
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


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there: Lightning's own replace an earlier one by copying over it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        # In memory first: torch.save reports a full disk as an internal error of its zip writer.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` after every validation, now and then and on a signal, and ``best.ckpt`` if it is the best.

    It draws 16 samples after a validation every ``sample_every`` epochs and after the last, if that is not 0.

    A run resumes exactly from the end of a batch, but not from within a validation. So the state is kept before the
    last batch of every epoch too: if the signal comes in that batch or in the validation, resuming repeats that one
    batch.
    """

    def __init__(self, run: RunFolder, *, sample_every: int, seed: int) -> None:
        self.run, self.sample_every, self.seed = run, sample_every, seed
        self.best = math.inf
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
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            # The sampler would skip in the next epoch what it has given in this one: all of it.
            del checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        left = int(trainer.num_training_batches) - 1 - batch_idx
        due = self.signum is not None or time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS
        if left == 1 or (left > 1 and due):
            self._save(trainer, self.run.last)
            self.saved = time.monotonic()
        # An epoch of a single batch has no state before its last one: its validation, as short, is waited for.
        if trainer.num_training_batches > 1:
            self.stop_if_asked()

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
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
        if score < self.best:
            self.best = score
            self._save(trainer, self.run.best)
        self._save(trainer, self.run.last)
        self.stop_if_asked()
        epoch = trainer.current_epoch + 1
        if self.sample_every and (epoch % self.sample_every == 0 or epoch == trainer.max_epochs):
            self._draw_samples(trainer, epoch)

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        # A step can leave weights behind that only the next loss would show to be broken.
        for name, weight in trainer.lightning_module.named_parameters():
            if not weight.isfinite().all():
                at = f"at step {trainer.global_step}"
                raise InputError(f"{name} is not finite {at}: lower train.learning_rate or train.clip")
        trainer.save_checkpoint(path)

    def _draw_samples(self, trainer: pl.Trainer, epoch: int) -> None:
        """From the averaged weights in ``last.ckpt``, as a picture and into TensorBoard. A signal stops after a row."""
        training: Any = trainer.lightning_module
        model = type(training.model)(**training.model.config).to(training.device)
        model.load_state_dict(averaged_weights(self.run.last))
        labels = torch.arange(16, device=model.device) % len(model.classes) if model.classes else None
        random = generator(self.seed)
        drawn = model.sample(16, labels=labels, generator=random, on_row=lambda _: self.stop_if_asked())
        samples = to_8_bit(drawn, model.levels)
        save_grid(self.run.samples / f"epoch-{epoch:04}.png", samples, columns=4)
        logger: Any = trainer.logger  # TensorBoard's
        logger.experiment.add_image("samples", grid(samples, columns=4), global_step=trainer.global_step)


def averaged_weights(checkpoint: Path, *, epochs: int | None = None) -> dict[str, torch.Tensor]:
    """The weights of the model in a checkpoint: their moving average if the run keeps one.

    Raises InputError if it is damaged, or has more epochs already than a run that resumes from it shall have in all.
    """
    data = io.BytesIO(checkpoint.read_bytes())
    try:
        state = torch.load(data, map_location="cpu", weights_only=True)
        needed = ("epoch", "state_dict", "callbacks", "loops", "lr_schedulers", "optimizer_states")
        epoch, weights, *_ = (state[name] for name in needed)
    except Exception as error:  # damaged bytes can raise anything
        raise InputError(f"{checkpoint} is damaged, or no checkpoint of a run") from error
    if epochs is not None and epoch >= epochs:
        raise InputError(f"{checkpoint} is in epoch {epoch + 1}: train.epochs must be at least that, got {epochs}")
    return {name.removeprefix("model."): weight for name, weight in weights.items()}
