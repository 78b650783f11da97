"""What a run writes down for people: its metrics, and grids of samples."""

import csv
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from pixelrnn.data import Batch
from pixelrnn.errors import InputError, input_error
from pixelrnn.files import replacing
from pixelrnn.likelihood import bits_per_dim
from pixelrnn.pictures import grid, save_grid, to_8_bit
from pixelrnn.randomness import generator
from pixelrnn.training.checkpoints import Checkpoints, averaged_weights
from pixelrnn.training.module import LikelihoodTraining
from pixelrnn.training.run_folder import RunFolder

# Of metrics.csv.
COLUMNS = ("epoch", "step", "train_nats", "train_bits_per_dim", "valid_nats", "valid_bits_per_dim", "seconds")


class Metrics(pl.Callback):
    """Writes a row of ``metrics.csv`` after every validation, and prints it.

    ``dimensions`` is C·H·W of an image, ``scale`` the one scale of a Multi-Scale model that is trained, if it is one.
    """

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


class SampleGrids(pl.Callback):
    """Draws 16 samples after a validation, as a picture and into TensorBoard.

    They are drawn from ``last.ckpt``, and so from the averaged weights, when all is saved. A signal stops them after a
    row. ``every`` counts the epochs between grids; the last epoch is always drawn.
    """

    def __init__(self, run: RunFolder, *, every: int, seed: int, checkpoints: Checkpoints) -> None:
        self.run, self.every, self.seed, self.checkpoints = run, every, seed, checkpoints

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch != trainer.max_epochs:
            return
        assert isinstance(pl_module, LikelihoodTraining)
        model = type(pl_module.model)(**pl_module.model.config).to(pl_module.device)
        model.load_state_dict(averaged_weights(self.run.last))
        labels = torch.arange(16, device=model.device) % len(model.classes) if model.classes else None
        random = generator(self.seed)
        drawn = model.sample(16, labels=labels, generator=random, on_row=lambda _: self.checkpoints.stop_if_asked())
        samples = to_8_bit(drawn, model.levels)
        save_grid(self.run.samples / f"epoch-{epoch:04}.png", samples, columns=4)
        for logger in trainer.loggers:
            assert isinstance(logger, TensorBoardLogger)
            logger.experiment.add_image("samples", grid(samples, columns=4), global_step=trainer.global_step)
