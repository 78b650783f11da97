"""Measures one task: first compares the variants with the reference, then times them in turns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

import torch
from torch import Tensor

from pixelrnn.bench.variants import CHECKED, NAIVE, VARIANTS, Task, Variant, ask, gradients, workers
from pixelrnn.errors import InputError
from pixelrnn.ops import backend
from pixelrnn.progress import bar

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-2, torch.bfloat16: 3e-1}
"""The largest norm of the difference from the float64 reference, relative to the reference's. In float64 it shows that
the mathematics is the same. In float32, which we time, rounding may change the sign of a ReLU's input, and a gradient
by a few thousandths. bfloat16 products change a small gradient by a tenth or more, but not the loss. A wrong equation
changes far more."""


@dataclass(frozen=True)
class Measurement:
    """Time and memory of the steps of one variant on one task."""

    task: Task
    variant: Variant
    seconds: float  # per step: the median over the turns
    peak: float  # MiB above the memory of the process before its first step

    @property
    def images_per_second(self) -> float:
        return self.task.batch / self.seconds


def measure(
    task: Task, variants: Sequence[Variant] = (), *, rounds: int = 10, threads: int | None = None
) -> dict[Variant, Measurement]:
    """Times turns of the steps of these variants, or of all that run on the device of the task.

    Raises:
        InputError: loss or gradients differ from the float64 reference, or a variant cannot run.
    """
    variants = variants or VARIANTS[task.device]
    with workers(task, variants, threads or torch.get_num_threads()) as running, bar() as progress:
        shown = progress.add_task(f"batch {task.batch}, {task.side}×{task.side}", total=rounds)
        with backend("reference"):
            wanted = gradients(task.model().double(), task.images()[:CHECKED], "reference")
        for variant, worker in running.items():
            for computed in ask(worker, "gradients"):  # the floor computes no gradients
                _check_equal(computed, wanted, variant)
        times: dict[Variant, list[float]] = {variant: [] for variant in variants}
        for _ in range(rounds):
            for variant, worker in running.items():
                times[variant].append(ask(worker, "turn"))
            progress.advance(shown)
        return {v: Measurement(task, v, median(times[v]), ask(worker, "peak")) for v, worker in running.items()}


def _check_equal(got: dict[str, Tensor], wanted: dict[str, Tensor], variant: Variant) -> None:
    learned_outside = {name for name in wanted if name.endswith(".initial")}  # naive code lacks these
    if missing := wanted.keys() - got.keys() - (learned_outside if variant in NAIVE else set()):
        raise InputError(f"{variant} gives no gradient for {', '.join(sorted(missing))}, so we do not time it")
    for name, value in got.items():
        error, size = (value - wanted[name]).norm().item(), wanted[name].norm().item()
        rounded = variant.endswith("bf16") and value.dtype == torch.float32
        allowed = size * TOLERANCE[torch.bfloat16 if rounded and name != "loss" else value.dtype]
        if not error <= allowed:
            raise InputError(f"{variant}: {name} differs from the reference by {error:.1e}, more than {allowed:.1e}")


def table(results: dict[Variant, Measurement]) -> str:
    """The measurements of one task as text, with a line for each variant."""
    fair, sliced, floor = (results[name].seconds for name in ("naive, fair", "naive, sliced", "floor"))
    task = results["floor"].task
    lines = [f"batch {task.batch:<9} images/s  ms/step  × fair  × sliced  floor÷this  peak MiB"]
    for name, m in results.items():
        peak = "" if name == "floor" else f"{m.peak:8.0f}"
        lines.append(
            f"{name:<15} {m.images_per_second:8.0f} {1000 * m.seconds:8.1f} {fair / m.seconds:7.1f} "
            f"{sliced / m.seconds:9.1f} {floor / m.seconds:11.2f}  {peak}"
        )
    return "\n".join(lines)


def time_exponent(seconds: dict[int, float]) -> float:
    """The exponent p of time ∝ pixelsᵖ, by least squares: 1 if time is linear in the number of pixels."""
    return linear_regression([*map(math.log, seconds)], [*map(math.log, seconds.values())]).slope
