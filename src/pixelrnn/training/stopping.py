"""Ends a run before its last epoch: when validation scores no longer fall, or when SLURM asks for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping

from pixelrnn.errors import Stopped, on_signals
from pixelrnn.processes import launched, requeue_signals


class Patience(EarlyStopping):
    """Ends a run after ``epochs`` validations without a better score; never if 0. It remembers them in checkpoints."""

    def __init__(self, epochs: int) -> None:
        how: dict[str, Any] = {"check_finite": False, "check_on_train_epoch_end": False}  # NaN ends a run elsewhere
        super().__init__("valid/nats", patience=epochs or sys.maxsize, **how)

    def state_dict(self) -> dict[str, Any]:  # plain values, because the base class saves a tensor that may be infinite
        return {"wait_count": self.wait_count, "best_score": float(self.best_score)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.wait_count, self.best_score = state_dict["wait_count"], torch.tensor(state_dict["best_score"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        is_early = trainer.current_epoch < (trainer.max_epochs or 0)
        if is_early and self.wait_count >= self.patience and trainer.is_global_zero:
            epochs = f"{self.patience} epoch{'s' * (self.patience > 1)}"
            print(f"training ends early: no better validation score in {epochs}", flush=True)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A run that has ended resumes to nothing more.
        trainer.should_stop = self.wait_count >= self.patience


@contextmanager
def requeuing() -> Iterator[None]:
    """Ends the block when SLURM says that the job will end soon, and asks it to start the job again.

    A training changes the handler, to save the run first.
    """
    try:
        with on_signals(_stop, *requeue_signals()):
            yield
    except Stopped as stopped:
        if stopped.signum in requeue_signals() and not launched().rank:
            with on_signals(signal.SIG_IGN, *requeue_signals()):
                requeue()
        raise


def _stop(signum: int, frame: object) -> None:
    signal.signal(signum, signal.SIG_IGN)  # SLURM may send it again
    raise Stopped(signum)


def requeue() -> None:
    """Asks SLURM to start this job again, and says on standard error how that went."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = os.environ["SLURM_JOB_ID"] if array is None else f"{array}_{task}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
        failed = done.stderr or done.stdout or f"status {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failed = str(error)
    words = f"could not requeue job {job}: {' '.join(failed.split())}" if failed else f"requeued job {job}"
    print(f"pixelrnn: {words}", file=sys.stderr)
