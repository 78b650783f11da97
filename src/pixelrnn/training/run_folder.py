"""A run is a folder, and these callbacks write it.

config.yaml         the recipe, complete
metrics.csv         a row per epoch
tensorboard/        the same curves, and the sample grids
samples/            grids of samples, one every few epochs
checkpoints/        last.ckpt, from which the run resumes, and best.ckpt, the best by validation
model/              the best model, as `PixelRNN.from_pretrained` reads it
"""

import csv
import io
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from pixelrnn import recipes
from pixelrnn.errors import InputError, Stopped
from pixelrnn.files import replacing
from pixelrnn.likelihood import bits_per_dim
from pixelrnn.models import PixelRNN
from pixelrnn.pictures import grid, save_grid, to_8_bit
from pixelrnn.randomness import generator
from pixelrnn.training.config import Recipe
from pixelrnn.training.module import LikelihoodTraining

SECONDS_BETWEEN_CHECKPOINTS = 600

# Of metrics.csv.
COLUMNS = ("epoch", "step", "train_nats", "train_bits_per_dim", "valid_nats", "valid_bits_per_dim", "seconds")

# What may differ when a run resumes; anything else would make it a run that no recipe describes.
CHANGEABLE = {("train", "epochs"), ("train", "device"), ("train", "sample_every")}


class RunFolder:
    """The places in a run folder.

    Args:
        path: of the folder.
    """

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
        ours = entries <= {self.config.name, self.tensorboard.name} and self.config.is_file()
        return not entries or (ours and recipes.read(self.config).keys() == _plain(Recipe()).keys())

    def write_config(self, recipe: Recipe) -> None:
        """Records the recipe."""
        with replacing(self.config) as temporary:
            temporary.write_text(yaml.safe_dump(_plain(recipe), sort_keys=False), encoding="utf-8")

    def check_recipe(self, recipe: Recipe) -> None:
        """Raises InputError where a recipe is not that of the run, but for what may change when it resumes."""
        recorded, defaults = recipes.read(self.config), _plain(Recipe())
        for section, values in _plain(recipe).items():
            for key, value in values.items():
                before = recorded.get(section, {}).get(key, defaults[section][key])
                if value != before and (section, key) not in CHANGEABLE:
                    own = f"{section}.{key} {before}"
                    raise InputError(f"the run in {self.path} has {own}, not {value}: it resumes with its own recipe")


def _plain(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """A recipe as YAML has it: without tuples."""
    return {
        section: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for section, values in asdict(recipe).items()
    }


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there: Lightning's own replace an earlier one by copying over it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        # In memory first: torch.save reports a full disk as an internal error of its zip writer.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` and ``best.ckpt`` after every validation, and ``last.ckpt`` now and then and on a signal.

    A run resumes exactly from the end of a batch, but not from within a validation. So the state is kept before the
    last batch of every epoch too: if the signal comes in that batch or in the validation, resuming repeats that one
    batch.

    Args:
        run: the folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.best = math.inf
        self.signum: int | None = None
        self.saved = time.monotonic()

    @contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """Within this context SIGINT and SIGTERM stop the training where it can be resumed, by raising `Stopped`."""
        if threading.current_thread() is not threading.main_thread():  # no other may handle signals
            yield
            return
        before = {signum: signal.signal(signum, self._on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        signal.signal(signum, signal.SIG_DFL)  # a second one ends the process at once

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            # The sampler would skip in the next epoch what it has given in this one: all of it.
            del checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
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
            raise Stopped(self.signum, saved=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = trainer.callback_metrics["valid/nats"].item()
        if not math.isfinite(score):
            raise InputError(f"the validation images have {score} nats at step {trainer.global_step}")
        if score < self.best:
            self.best = score
            self._save(trainer, self.run.best)
        self._save(trainer, self.run.last)
        self.stop_if_asked()

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        # A step can leave weights behind that only the next loss would show to be broken.
        for name, weight in trainer.lightning_module.named_parameters():
            if not weight.isfinite().all():
                raise InputError(
                    f"{name} is not finite at step {trainer.global_step}: lower train.learning_rate or train.clip"
                )
        trainer.save_checkpoint(path)


class Metrics(pl.Callback):
    """Writes a row of ``metrics.csv`` after every validation, and prints it.

    Args:
        run: the folder.
        dimensions: C·H·W of an image.
    """

    def __init__(self, run: RunFolder, *, dimensions: int) -> None:
        self.run, self.dimensions = run, dimensions
        self.nats, self.images = 0.0, 0  # of the epoch's training batches so far
        self.seconds = 0.0  # spent by earlier parts of a resumed run
        self.start = time.monotonic()
        self.rows = self._read() if run.metrics.is_file() else []

    def state_dict(self) -> dict[str, Any]:
        return {"nats": self.nats, "images": self.images, "seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.nats, self.images, self.seconds = state_dict["nats"], state_dict["images"], state_dict["seconds"]

    def _read(self) -> list[dict[str, Any]]:
        try:
            with self.run.metrics.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{self.run.metrics} is damaged: {error}") from error
        for row in rows:
            if tuple(row) != COLUMNS or None in row.values() or not row["step"].isdecimal():
                raise InputError(f"{self.run.metrics} is damaged: expected the columns {', '.join(COLUMNS)}")
        return rows

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.start

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(outputs, Mapping)
        self.nats += outputs["nats"].item() * len(batch)
        self.images += len(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        train, valid = self.nats / max(1, self.images), trainer.callback_metrics["valid/nats"].item()
        self.nats, self.images = 0.0, 0
        train_bits, valid_bits = bits_per_dim(train, self.dimensions), bits_per_dim(valid, self.dimensions)
        values = (trainer.current_epoch + 1, trainer.global_step, train, train_bits, valid, valid_bits)
        row = dict(zip(COLUMNS, (*values, round(self._elapsed(), 1)), strict=True))
        # A run that was killed between this and its checkpoint repeats the epoch.
        self.rows = [*(r for r in self.rows if int(r["step"]) < trainer.global_step), row]
        with replacing(self.run.metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        print(f"epoch {row['epoch']}: train {train_bits:.4f}, valid {valid_bits:.4f} bits/dim")


class SampleGrids(pl.Callback):
    """Draws 16 samples after a validation, as a picture and into TensorBoard.

    They are drawn from ``last.ckpt``, and so from the averaged weights, when all is saved: a signal may come.

    Args:
        run: the folder.
        every: epochs between grids; the last epoch is always drawn.
        seed: of the samples, the same in every grid.
        checkpoints: asked after every row whether a signal has come.
    """

    def __init__(self, run: RunFolder, *, every: int, seed: int, checkpoints: Checkpoints) -> None:
        self.run, self.every, self.seed, self.checkpoints = run, every, seed, checkpoints

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch != trainer.max_epochs:
            return
        assert isinstance(pl_module, LikelihoodTraining)
        model = PixelRNN(**pl_module.model.config).to(pl_module.device)
        model.load_state_dict(averaged_weights(self.run.last))
        drawn = model.sample(16, generator=generator(self.seed), on_row=lambda _: self.checkpoints.stop_if_asked())
        samples = to_8_bit(drawn, model.levels)
        save_grid(self.run.samples / f"epoch-{epoch:04}.png", samples, columns=4)
        for logger in trainer.loggers:
            assert isinstance(logger, TensorBoardLogger)
            logger.experiment.add_image("samples", grid(samples, columns=4), global_step=trainer.global_step)


def averaged_weights(checkpoint: Path, *, epochs: int | None = None) -> dict[str, torch.Tensor]:
    """The weights of the model in a checkpoint: their moving average if the run keeps one.

    Args:
        checkpoint: the file.
        epochs: that a run which resumes from it shall have in all; none are to be undone.

    Raises:
        InputError: the checkpoint is damaged or incomplete, or has more epochs already.
    """
    data = io.BytesIO(checkpoint.read_bytes())
    try:
        state = torch.load(data, map_location="cpu", weights_only=True)
        missing = {"callbacks", "loops", "lr_schedulers", "optimizer_states", "state_dict"} - state.keys()
        epoch: int = state["epoch"]
    except Exception as error:  # damaged bytes can raise anything
        raise InputError(f"{checkpoint} is damaged, or no checkpoint of a run") from error
    if missing:
        raise InputError(f"{checkpoint} is no checkpoint of a run: {', '.join(sorted(missing))} missing")
    if epochs is not None and epoch >= epochs:
        raise InputError(f"{checkpoint} is in epoch {epoch + 1}: train.epochs must be at least that, got {epochs}")
    return {name.removeprefix("model."): weight for name, weight in state["state_dict"].items()}
