"""The lines that a training prints about itself: its work, its estimated time, and signs that it goes on.

Only rank 0 of several processes has these callbacks.
"""

import math
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar

from pixelrnn.data import Data
from pixelrnn.likelihood import bits_per_dim
from pixelrnn.processes import Processes
from pixelrnn.progress import Heartbeat, duration
from pixelrnn.training.batches import Part

SECONDS_TO_ESTIMATE = 5
FEW, ENOUGH = 500, 1000
"""After fewer than FEW steps in all, a model of photos or digits mostly draws noise."""


class EpochBar(RichProgressBar):
    """The bar of an epoch on standard error. It counts epochs from 1, as metrics.csv does."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer).ljust(len(self.validation_description))  # of one width with "Validation"


class Announcements(pl.Callback):
    """Prints images, network and steps before the first step, and soon after it the estimated time of all epochs.

    Where no bar is seen, a line follows about once a minute. ``is_new`` says that no weights were trained before.
    """

    def __init__(self, data: Data, processes: Processes, *, is_new: bool) -> None:
        self.data, self.processes, self.is_new = data, processes, is_new
        # A validation image costs a forward pass, a training image about three.
        self.validation_share = len(data.valid) / (3 * len(data.train))
        self.start = self.first_end = self.first_done = 0.0
        self.heartbeat, self.has_estimated = Heartbeat(), False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.start:  # not the first epoch; only at its start does a resumed run know its epoch
            return
        self.start, self.heartbeat = time.monotonic(), Heartbeat()
        data, model = self.data, pl_module.model
        size = "×".join(map(str, data.size))
        kind = f"{data.channels} channel{'s' * (data.channels > 1)}, {data.levels} levels"
        print(f"images: {len(data.train):,} for training, {len(data.valid):,} for validation, {size}, {kind}")
        device = f"GPU {torch.cuda.get_device_name()}" if pl_module.device.type == "cuda" else _threads()
        several = f", {self.processes.size} processes" if self.processes.size > 1 else ""
        print(f"model: {model.open_weights:,} weights, on {device}{several}")
        steps, left = _steps(trainer), (trainer.max_epochs or 0) - trainer.current_epoch
        print(
            f"training: {steps:,} step{'s' * (steps > 1)} per epoch, {left} epoch{'s' * (left != 1)} to go", flush=True
        )
        if self.is_new and steps * (trainer.max_epochs or 0) < FEW:
            enough = math.ceil(ENOUGH / steps)
            print(f"few steps: expect noisy samples, or pass more epochs, {enough} for instance", flush=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Part, batch_idx: int
    ) -> None:
        batches = int(trainer.num_training_batches)
        done, left = trainer.current_epoch + (batch_idx + 1) / batches / (1 + self.validation_share), ""
        if not self.first_end:  # the first step also fills caches, so we do not time it
            self.first_end, self.first_done = time.monotonic(), done
        else:
            seconds = (time.monotonic() - self.first_end) / (done - self.first_done)
            left = duration(seconds * ((trainer.max_epochs or 0) - done))
            if not self.has_estimated and time.monotonic() - self.start > SECONDS_TO_ESTIMATE:
                self.has_estimated = True
                print(f"estimated time: about {left}", flush=True)
            left = f", about {left} left"

        def line() -> str:
            bits = bits_per_dim(outputs["nats"].item(), self.data.train.dimensions)
            return f"{_epoch(trainer)}, batch {batch_idx + 1:,} of {batches:,}: {bits:.2f} bits/dim{left}"

        self.heartbeat.beat(line)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Part, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        batches = int(trainer.num_val_batches[0])
        self.heartbeat.beat(lambda: f"{_epoch(trainer)}, validation: batch {batch_idx + 1:,} of {batches:,}")


def _epoch(trainer: pl.Trainer) -> str:
    """The running epoch, from 1 like those of metrics.csv."""
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"


def _threads() -> str:
    threads = torch.get_num_threads()
    return f"the CPU with {threads} thread{'s' * (threads > 1)}"


def _steps(trainer: pl.Trainer) -> int:
    return math.ceil(int(trainer.num_training_batches) / trainer.accumulate_grad_batches)
