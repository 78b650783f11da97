"""The part training of `benchmarks.gpu`: steps as ``pixelrnn train`` takes them, with and without ``train.compile``.

Before we print a time, the losses of the first steps must agree.
"""

import io
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

import pytorch_lightning as pl
import torch

import pixelrnn
from benchmarks import gpu_checks
from pixelrnn.data import Data, Images
from pixelrnn.nn import LayerKind
from pixelrnn.training.recipe import ModelConfig, Recipe, TrainConfig

MODELS: tuple[tuple[LayerKind, int], ...] = (("pixel-cnn", 28), ("row-lstm", 12), ("diagonal-bilstm", 7))
"""The kind of layer and the depth."""

CHECKED = 2
"""The depth of the models that are checked in float32: compiling a deep one takes a minute."""

STEPS, COMPARED = 60, 20
"""The steps of a training, and the number of them whose losses are compared."""

BOUND: dict[str, float] = {"bfloat16": 1e-2, "float32": 1e-4}
"""The largest relative difference of two losses."""


@dataclass
class Watch(pl.Callback):
    """Notes when each step of a training ends, and its loss. The first entry of ``ends`` is the start."""

    ends: list[float] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)

    def on_train_start(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any, **__: Any) -> None:
        self.nats.append(outputs["nats"].item())  # waits for the forward pass of the step, and all steps before
        self.ends.append(time.perf_counter())

    @property
    def times(self) -> list[float]:
        """The seconds of each step."""
        return [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]


@contextmanager
def _quiet() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def watched(recipe: Recipe, data: Data) -> Watch:
    """Trains as a recipe says, without its lines."""
    watch = Watch()
    with _quiet():
        pixelrnn.fit(recipe, data, callbacks=watch)
    return watch


def training(limit: float, *, hidden: int = 32, batch: int = 128, side: int = 28) -> None:
    """Trains each model on random binary images. Starts no model after the first 70 % of ``limit`` seconds."""
    begin = time.monotonic()
    # One pixel in ten is 1, so the loss falls. With as many ones as zeros it would hardly show a wrong gradient.
    pixels = torch.rand((STEPS + 2) * batch, 1, side, side, generator=torch.Generator().manual_seed(0)) < 0.1
    train, valid, test = (Images(part) for part in pixels.byte().split([STEPS * batch, batch, batch]))
    data = Data(train, valid, test, levels=2, classes=None, protocol="random binary images")
    deep = [(layer, depth, "bfloat16") for layer, depth in MODELS]
    for layer, depth, precision in deep + [(layer, min(depth, CHECKED), "float32") for layer, depth in MODELS]:
        what = f"{layer} {depth}×{hidden}, {side}×{side}, batch {batch}, {precision}"
        if time.monotonic() - begin > 0.7 * limit:
            print(f"skip  {what}: no time is left", flush=True)
            continue
        with gpu_checks.case(what):
            options: dict[str, Any] = {"precision": precision, "device": gpu_checks.DEVICE, "sample_every": 0}
            config = TrainConfig(epochs=1, batch=batch, **options)
            recipe = Recipe(model=ModelConfig(layer=layer, depth=depth, hidden=hidden), train=config)
            both = [watched(replace(recipe, train=replace(config, compile=how)), data) for how in (False, True)]
            pairs = zip(*(watch.nats[:COMPARED] for watch in both), strict=True)
            error = max(abs(a - b) / abs(a) for a, b in pairs)
            if not error <= BOUND[precision]:
                raise ValueError(f"the losses differ by {error:.1e}, expected at most {BOUND[precision]:.0e}")
            print(f"      losses of {COMPARED} steps: largest relative difference {error:.1e}")
            for name, watch in zip(("eager", "compiled"), both, strict=True):
                first, *_ = watch.times
                seconds = statistics.median(watch.times[COMPARED:])
                print(
                    f"      {name:<8} {1000 * seconds:8.2f} ms per step {batch / seconds:8.0f} images/s, "
                    f"first step {first:.1f} s",
                    flush=True,
                )
