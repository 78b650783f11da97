"""Callbacks that write metrics, checkpoints and sample grids. A signal stops a run where it can resume.

Only rank 0 of several processes writes. All of them keep the same state, and they agree on signals after each batch.
"""

import csv
import json
import math
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from pixelrnn.errors import InputError, Stopped
from pixelrnn.files import replacing
from pixelrnn.likelihood import bits_per_dim
from pixelrnn.pictures import class_names, grid, save_grid, to_8_bit
from pixelrnn.processes import Processes, repeats_signals
from pixelrnn.randomness import generator
from pixelrnn.training.batches import Part
from pixelrnn.training.checkpoint import averaged_weights
from pixelrnn.training.curves import Curves
from pixelrnn.training.run_folder import RunFolder

# The columns of metrics.csv.
COLUMNS = ("epoch", "step", "train_nats", "train_bits_per_dim", "valid_nats", "valid_bits_per_dim", "seconds")
SECONDS_BETWEEN_CHECKPOINTS = 600


class Metrics(pl.Callback):
    """Writes a row of ``metrics.csv`` after every validation, and prints it; ``dimensions`` is C·H·W of an image."""

    def __init__(self, run: RunFolder, *, dimensions: int, scale: int | None, processes: Processes) -> None:
        self.run, self.dimensions, self.scale, self.processes = run, dimensions, scale, processes
        self.nats, self.images = 0.0, 0  # summed over the epoch's training batches so far
        self.start = time.monotonic()  # minus the time of earlier parts of a resumed run
        self.rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        state = {"nats": self.nats, "images": self.images, "seconds": time.monotonic() - self.start}
        return state | {"rows": json.dumps(self.rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.nats, self.images = state_dict["nats"], state_dict["images"]
        self.start = time.monotonic() - state_dict["seconds"]
        self.rows = json.loads(state_dict["rows"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Part, batch_idx: int) -> None:
        self.nats += outputs["nats"].item() * batch.total
        self.images += batch.total

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        train, valid = self.nats / max(1, self.images), trainer.callback_metrics["valid/nats"].item()
        self.nats, self.images = 0.0, 0
        train_bits, valid_bits = bits_per_dim(train, self.dimensions), bits_per_dim(valid, self.dimensions)
        seconds = round(time.monotonic() - self.start, 1)
        values = (trainer.current_epoch + 1, trainer.global_step, train, train_bits, valid, valid_bits, seconds)
        row = dict(zip(COLUMNS, values, strict=True))
        self.rows.append(row)
        if self.processes.rank:
            return
        with replacing(self.run.metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        scale = "" if self.scale is None else f", scale {self.scale} alone"
        print(f"epoch {row['epoch']}: train {train_bits:.4f}, valid {valid_bits:.4f} bits/dim{scale}", flush=True)


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` after validations, every ten minutes and on a signal. ``best.ckpt`` is a copy of the best.

    It draws 16 samples every ``sample_every`` epochs and after the last epoch, unless ``sample_every`` is 0.

    A killed run resumes from ``last.ckpt`` and repeats all later work. So we draw the samples before we rename that
    file to its place. The file also says whether it is the best, in case the kill came before the copy.

    A run resumes exactly from the end of a step, but not from within a validation. So we also save before the last
    step of every epoch. If a signal comes during that step or the validation, the resumed run repeats that step.
    """

    def __init__(
        self, run: RunFolder, *, sample_every: int, seed: int, recipe: str, origin: str, processes: Processes
    ) -> None:
        self.run, self.sample_every, self.seed, self.processes = run, sample_every, seed, processes
        self.recipe, self.origin = recipe, origin
        self.best, self.last_is_best = math.inf, False
        self.signum = 0  # the signal that this process got
        self.saved, self.can_resume = time.monotonic(), False

    def on_signal(self, signum: int, frame: object) -> None:
        """Notes the signal: the training then raises `Stopped` at the next place where it can resume."""
        self.signum = signum
        # A second signal ends the process at once, unless a launcher only passes on what the terminal has sent too.
        signal.signal(signum, signal.SIG_IGN if repeats_signals(signum) else signal.SIG_DFL)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_if_asked()

    def state_dict(self) -> dict[str, Any]:
        state = {"best": self.best, "last_is_best": self.last_is_best}
        return state | {"recipe": self.recipe, "origin": self.origin}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.last_is_best, self.can_resume = state_dict["best"], state_dict["last_is_best"], True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._copy_if_best()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # The recipe of this callback describes the run, also after a change on resuming.
        for name in ("hyper_parameters", "hparams_name"):
            checkpoint.pop(name, None)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            # The loader would skip, in the next epoch, all the images that it has given in this one.
            del checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # A run that is forced to resume may have another number of batches. Lightning would wait for the old one.
        loop, batches = checkpoint["loops"]["fit_loop"], pl_module.batches
        progress, loader = loop["epoch_loop.batch_progress"], loop["state_dict"].get("combined_loader")
        given = batches if progress["is_last_batch"] else min(progress["current"]["ready"], batches - 1)
        shift = given - progress["current"]["ready"]
        for name in progress["current"]:
            progress["current"][name] += shift
        if loader is not None:
            loader[0]["given"] = given

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.last_is_best = False
        left = int(trainer.num_training_batches) - 1 - batch_idx
        if left and (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a checkpoint would lose the gradients of this batch
        steps_left = math.ceil(left / trainer.accumulate_grad_batches)
        is_due = time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS
        signum, due = self.processes.highest(self.signum, is_due)
        if steps_left == 1 or (steps_left > 1 and (signum or due)):
            self._save(trainer)
            self.saved = time.monotonic()
        self._stop_within_epoch(trainer, signum)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        (signum,) = self.processes.highest(self.signum)
        self._stop_within_epoch(trainer, signum)

    def _stop_within_epoch(self, trainer: pl.Trainer, signum: int) -> None:
        # An epoch of a single step has no state before its last step, so we wait for its short validation.
        if signum and trainer.num_training_batches > trainer.accumulate_grad_batches:
            raise self._stopped(signum)

    def _stop_if_asked(self) -> None:
        (signum,) = self.processes.highest(self.signum)
        if signum:
            raise self._stopped(signum)

    def _stopped(self, signum: int) -> Stopped:
        is_alone = self.can_resume and self.processes.size == 1
        return Stopped(signum, saved=self.can_resume, run=self.run.path if is_alone else None)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = trainer.callback_metrics["valid/nats"].item()
        if not math.isfinite(score):
            at = f"at step {trainer.global_step}"
            raise InputError(f"the validation loss is {score} {at}: lower train.learning_rate or train.clip")
        self.last_is_best, self.best = score < self.best, min(score, self.best)
        epoch = trainer.current_epoch + 1
        is_last = epoch == trainer.max_epochs or trainer.should_stop
        drawn = self.sample_every and (epoch % self.sample_every == 0 or is_last)
        self._save(trainer, samples_of=epoch if drawn else None)
        self._copy_if_best()
        self._stop_if_asked()

    def _save(self, trainer: pl.Trainer, *, samples_of: int | None = None) -> None:
        # A step can break the weights, and only the next loss would show it.
        for name, weight in trainer.lightning_module.named_parameters():
            if not weight.isfinite().all():
                at = f"at step {trainer.global_step}"
                raise InputError(f"{name} is not finite {at}: lower train.learning_rate or train.clip")
        if self.processes.rank:
            trainer.save_checkpoint(self.run.last)  # takes part, but writes nothing
        else:
            with replacing(self.run.last) as temporary:
                trainer.save_checkpoint(temporary)
                if samples_of is not None:
                    self._draw_samples(trainer, temporary, samples_of)
        self.processes.wait()  # until the file is in its place
        self.can_resume = True

    def _copy_if_best(self) -> None:
        if self.last_is_best and not self.processes.rank:
            with replacing(self.run.best) as temporary:
                shutil.copyfile(self.run.last, temporary)

    def _draw_samples(self, trainer: pl.Trainer, checkpoint: Path, epoch: int) -> None:
        """Draws a PNG and a TensorBoard image with a checkpoint's averaged weights.

        A signal stops it after a row, unless other processes wait for the checkpoint.
        """
        training: Any = trainer.lightning_module
        model = type(training.model)(**training.model.config).to(training.device)
        model.load_state_dict(averaged_weights(checkpoint))
        labels = torch.arange(16, device=model.device) % len(model.classes) if model.classes else None
        random, alone = generator(self.seed), self.processes.size == 1

        def on_row(row: object) -> None:
            self._stop_within_epoch(trainer, self.signum if alone else 0)

        samples = to_8_bit(model.sample(16, labels=labels, generator=random, on_row=on_row), model.levels)
        names = class_names(model.classes, labels)
        save_grid(self.run.samples / f"epoch-{epoch:04}.png", samples, captions=names)
        for logger in trainer.loggers:
            if isinstance(logger, Curves):
                logger.log_image("samples", grid(samples, columns=4), trainer.global_step)
