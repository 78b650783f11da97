"""Compares the speed of two versions of the package.

    python benchmarks/versions.py OTHER/.venv/bin/python [TASK …]

OTHER is a checkout of another commit in which `make .venv/all` has run. Let nothing else run. For each task the script
prints the milliseconds of both versions and the ratio this ÷ other. A process of each version does the task in turn.
Both start anew several times, because one process can be 3 % faster than the next.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any

import torch

from pixelrnn import PixelRNN

STARTS, TURNS = 4, 6
RGB = {"channels": 3, "levels": 256, "depth": 2}

# The work, repetitions, options of the model, and the batch and side of the images.
TASKS: dict[str, tuple[str, int, dict[str, Any], tuple[int, int]]] = {
    "step-digits": ("step", 5, {"levels": 17}, (32, 8)),
    "step-16": ("step", 1, {}, (16, 28)),
    "step-64": ("step", 1, {}, (64, 28)),
    "step-64-bfloat16": ("bfloat16", 1, {}, (64, 28)),
    "step-64-row": ("step", 1, {"layer": "row-lstm"}, (64, 28)),
    "step-32-cnn": ("step", 1, {"layer": "pixel-cnn", "depth": 15, "hidden": 16}, (32, 28)),
    "forward-256": ("forward", 1, {"depth": 7, "hidden": 16}, (256, 28)),
    "sample-1-digit": ("sample", 5, {}, (1, 8)),
    "sample-1": ("sample", 1, {}, (1, 28)),
    "sample-16": ("sample", 1, {}, (16, 28)),
    "sample-16-deep": ("sample", 1, {"depth": 7, "hidden": 16}, (16, 28)),
    "sample-16-large": ("sample", 1, {}, (16, 64)),
    "sample-256": ("sample", 1, {}, (256, 28)),
    "sample-4-rgb": ("sample", 1, RGB, (4, 32)),
    "sample-4-rgb-row": ("sample", 1, RGB | {"layer": "row-lstm"}, (4, 32)),
    "sample-4-rgb-cnn": ("sample", 1, RGB | {"layer": "pixel-cnn"}, (4, 32)),
}

# Keep freed memory in the process, as training does; otherwise we would time the kernel's page faults.
KEEP_FREED = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}


def work(what: str, times: int, options: dict[str, Any], batch: int, side: int) -> Callable[[], None]:
    """A function that does a task ``times`` times, with the version on the path."""
    torch.manual_seed(0)
    model = PixelRNN(**{"levels": 2, "hidden": 32, **options})
    optimizer = torch.optim.Adam(model.parameters())
    shape = batch, model.config["channels"], side, side
    x = torch.randint(model.config["levels"], shape, dtype=torch.uint8)

    def once() -> None:
        if what == "sample":
            model.sample(batch, height=side, width=side)
        elif what == "forward":
            with torch.no_grad():
                model(x)
        else:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16) if what == "bfloat16" else nullcontext():
                loss = -model.log_prob(x).mean()
            loss.backward()
            optimizer.step()

    def task() -> None:
        for _ in range(times):
            once()

    return task


def answer(name: str) -> None:
    """For each line on standard input, does a task three times and prints the best time."""
    what, times, options, size = TASKS[name]
    task = work(what, times, options, *size)
    task()
    for _ in sys.stdin:
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            task()
            seconds.append(time.perf_counter() - begin)
        print(min(seconds), flush=True)


def compare(python: str, name: str) -> tuple[float, float]:
    """Returns the median seconds of the other version and of this one."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(STARTS):
        processes = [
            subprocess.Popen(
                [program, __file__, "--answer", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | KEEP_FREED,
            )
            for program in (python, sys.executable)
        ]
        for turn in range(TURNS):
            for k in (0, 1) if turn % 2 else (1, 0):
                to, from_ = processes[k].stdin, processes[k].stdout
                assert to is not None
                assert from_ is not None
                print(file=to, flush=True)
                seconds[k].append(float(from_.readline()))
        for process in processes:
            process.communicate()
    return median(seconds[0]), median(seconds[1])


def main(python: str, *names: str) -> None:
    """Compares the tasks of these names, or all."""
    print(f"{'milliseconds':<20}{'other':>9}{'this':>9}{'this ÷ other':>15}")
    for name in names or TASKS:
        other, this = compare(python, name)
        print(f"{name:<20}{1000 * other:9.2f}{1000 * this:9.2f}{this / other:15.3f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    answer(sys.argv[2]) if sys.argv[1] == "--answer" else main(*sys.argv[1:])
