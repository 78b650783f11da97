"""The TensorBoard log of a run."""

import sys
import time
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from pytorch_lightning.loggers import Logger
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard.summary import image, scalar


class Curves(Logger):
    """Writes numbers and pictures immediately. TensorBoard's own writer has a thread, whose errors are lost.

    A run does not depend on its log. If it cannot be written, on a full disk for instance, one line on standard error
    says so, and the run continues without it.
    """

    name = version = None

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.file = folder / f"events.out.tfevents.{time.time_ns()}"
        self.lost = False

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: the recipe is in the run folder."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self._write(scalar(name, value), step)

    def log_image(self, name: str, pixels: UInt8[Tensor, "C H W"], step: int) -> None:
        self._write(image(name, pixels, dataformats="CHW"), step)

    def _write(self, summary: Summary, step: int | None) -> None:
        if self.lost:
            return
        event = Event(wall_time=time.time(), step=step, summary=summary)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as file:
                if file.tell() == 0:
                    RecordWriter(file).write(Event(file_version="brain.Event:2").SerializeToString())
                RecordWriter(file).write(event.SerializeToString())
        except OSError as error:
            self.lost = True
            print(f"pixelrnn: the run continues without TensorBoard: {error.strerror}: {self.file}", file=sys.stderr)
