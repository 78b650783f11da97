"""Checks and times the library on a GPU. The time limits of its parts add up to less than eight minutes.

    python -m benchmarks.gpu                 all parts but tune
    python -m benchmarks.gpu --out gpu.txt   the same, and adds each line to a file as soon as it is printed
    python -m benchmarks.gpu tune            one part; `PARTS` lists them

Each part is a process with a time limit, so a kernel that hangs ends with its part. Nothing here needs the compiled CPU
library. Useful work counts the products that open taps need, three times for a whole step; the share is of the peak
that NVIDIA states for dense products on an H100 SXM.
"""

import argparse
import copy
import logging
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import gpu_checks
from benchmarks.gpu_checks import DEVICE, case, drawn_by, layer_inputs, passes, precision
from pixelrnn import PixelRNN, likelihood
from pixelrnn.bench import floor, naive
from pixelrnn.ops import Backend, backend
from pixelrnn.ops.lines import LAYERS

# The correctness of the kernels first, then the figures that matter most.
LIMITS = {"equality": 120, "models": 45, "sampling": 65, "cifar10": 100, "mnist": 55, "sanitizer": 50, "bench": 40}
"""Time limit of each part in seconds."""

TUNE = 120
"""Seconds that the part tune may take."""

PEAK = {"float32": 66.9, "tf32": 494.7, "bf16": 989.4}
"""TFLOP/s of an H100 SXM."""

BEGIN = time.monotonic()


def operations(model: PixelRNN, rows: int) -> float:
    """TFLOP in the products of a training step on N·B positions."""
    products, _ = floor._work(model)
    return sum(2 * rows * inputs * outputs * (2 if first else 3) for inputs, outputs, first in products) / 1e12


def steps(model: PixelRNN, x: Tensor, variants: list[tuple[str, str]], deadline: float) -> dict[tuple[str, str], float]:
    """Times whole training steps. Prints a line for each variant and precision, and returns seconds."""
    found = {}
    for variant, how in variants:
        what = f"{variant:<14} {how:<8} batch {len(x):<4}"
        if time.monotonic() - BEGIN > deadline:
            print(f"skip  {what} no time is left", flush=True)
            continue
        with case(what):
            learner = copy.deepcopy(model)
            found[variant, how] = seconds = timed(step_of(learner, x, variant, how))
            rate = operations(model, len(x) * x.shape[2] * x.shape[3]) / seconds
            share = f"{rate:7.2f} TFLOP/s {100 * rate / PEAK[how]:6.2f} % of {PEAK[how]}"
            # A graph allocates nothing when it repeats its kernels, so its peak would not count the maps.
            memory = "" if "graph" in variant else f" {torch.cuda.max_memory_allocated() / 2**30:6.2f} GiB"
            print(f"      {what} {1000 * seconds:9.2f} ms {len(x) / seconds:9.0f} images/s {share}{memory}")
            del learner
        torch.cuda.empty_cache()
    return found


def step_of(model: PixelRNN, x: Tensor, variant: str, how: str) -> Callable[[], None]:
    """A training step of a model, computed by a backend or by naive code."""
    is_graph = variant == "triton, graph"
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True, capturable=is_graph)
    names: dict[str, Backend] = {"manual": "manual", "triton": "triton", "triton, graph": "triton"}

    def loss() -> Tensor:
        if variant in names:
            return -model.log_prob(x).mean()
        intensities = x.float() * (2 / (model.levels - 1)) - 1
        logits = naive.logits(model, intensities, sliced=variant == "naive, sliced")
        return -likelihood.log_prob_map(logits.float(), x).sum(dim=(1, 2, 3)).mean()

    def step() -> None:
        with backend(names.get(variant, "auto")):
            optimizer.zero_grad()
            with precision(how):
                nats = loss()
            nats.backward()
            optimizer.step()

    return recorded(step) if is_graph else step


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """The whole step as one CUDA graph."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())  # which has copied the model
    with torch.cuda.stream(stream):  # gradients remember the stream of their first step
        for _ in range(3):
            step()
    with torch.cuda.graph(graph, stream=stream):
        step()

    def repeat(kept: Callable[[], None] = step) -> None:
        """The graph writes to the state of the optimizer, which only ``step`` keeps."""
        graph.replay()

    return repeat


def timed(step: Callable[[], Any], least: int = 3) -> float:
    """The median seconds of a step, by CUDA events."""
    for _ in range(2):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times, begin = list[float](), time.monotonic()
    while len(times) < least or (len(times) < 20 and time.monotonic() - begin < 0.5):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        events[0].record()
        step()
        events[1].record()
        torch.cuda.synchronize()
        times.append(events[0].elapsed_time(events[1]) / 1000)
    return statistics.median(times)


def mnist() -> None:
    """Times whole steps of the paper's MNIST models."""
    for depth, hidden in ((1, 32), (7, 16)):
        print(f"\nMNIST {depth}×{hidden}, 28×28, Diagonal BiLSTM")
        model = PixelRNN(levels=2, hidden=hidden, depth=depth).to(DEVICE)
        for batch in (16, 64, 256):
            x = torch.randint(2, (batch, 1, 28, 28), dtype=torch.uint8, device=DEVICE)
            every = [(v, how) for v in ("triton", "manual") for how in PEAK]
            usual = [("naive, fair", "float32"), ("naive, fair", "bf16")]
            sliced = [("naive, sliced", "float32")] if batch == 64 else []
            steps(model, x, every + usual + sliced, LIMITS["mnist"] * (0.45 if depth == 1 else 0.9))


def cifar10() -> None:
    """Times whole steps of the paper's CIFAR-10 model, against the two aims."""
    print("\nCIFAR-10 12×128, 32×32×3, 256 levels, Diagonal BiLSTM")
    model = PixelRNN(channels=3, levels=256, hidden=128, depth=12).to(DEVICE)
    for batch in (64, 256, 16):
        x = torch.randint(256, (batch, 3, 32, 32), dtype=torch.uint8, device=DEVICE)
        ours = [("triton", "bf16"), ("triton, graph", "bf16"), ("triton", "tf32")]
        ours += [("manual", "bf16"), ("manual", "tf32")]
        exact = [("triton", "float32"), ("manual", "float32")]
        usual = [("naive, fair", "bf16"), ("naive, fair", "float32")]
        sliced = [("naive, sliced", "bf16"), ("naive, sliced", "float32")] if batch == 64 else []
        found = steps(model, x, ours + usual + exact + sliced, LIMITS["cifar10"] * 0.9)
        if batch == 256 and ("triton", "bf16") in found:
            rate = operations(model, len(x) * 32 * 32) / found["triton", "bf16"]
            aim("share of the bfloat16 peak at batch 256", 0.15, rate / PEAK["bf16"])
        for name in ("naive, fair", "naive, sliced"):
            if batch == 64 and {("triton", "bf16"), (name, "bf16")} <= found.keys():
                aim(f"{name} ÷ ours in bfloat16 at batch 64", 20, found[name, "bf16"] / found["triton", "bf16"])


def aim(what: str, least: float, measured: float) -> None:
    """Prints whether an aim is reached."""
    print(f"      {what}: at least {least:g}, measured {measured:.3g}, {'reached' if measured >= least else 'MISSED'}")


def sampling() -> None:
    """Times samples: by CUDA graphs (backend auto), and with one launch for each kernel (backend reference)."""
    gpu_checks.refuse_warnings()
    digits = PixelRNN(levels=2, hidden=32).to(DEVICE)
    pictures = PixelRNN(channels=3, levels=256, hidden=128, depth=12).to(DEVICE)
    both: tuple[Backend, ...] = ("auto", "reference")
    tasks = [(digits, n, 28, name) for n in (16, 64, 256, 1024) for name in both] + [(pictures, 16, 32, both[0])]
    for model, n, side, name in tasks:
        with case(f"{n} samples of {model.channels}×{side}×{side}, backend {name}"):
            draw = partial(drawn_by, name, partial(model.sample, n, height=side, width=side))
            print(f"      {1000 * timed(draw, least=3 if model is digits else 1):.0f} ms")


def bench() -> None:
    """Prints the table of ``pixelrnn bench``."""
    command = [sys.executable, "-m", "pixelrnn", "bench", "--device", DEVICE, "--batch", "64", "--rounds", "3"]
    subprocess.run(command, check=True)


def tune() -> None:
    """Times one layer in bfloat16 with several tiles, then profiles a whole step."""
    from torch.profiler import ProfilerActivity, profile

    from pixelrnn.ops import triton

    before = triton.WALKED, triton.TILES["bf16"]
    tiles = [(64, 32, 64, 8), (64, 32, 64, 4), (64, 64, 64, 8), (128, 32, 64, 8), (32, 32, 64, 4), (128, 64, 64, 8)]
    for side, hidden, batch, limits in ((32, 128, 256, (64, 128)), (32, 128, 16, (64, 128)), (28, 32, 64, (64,))):
        given = layer_inputs(LAYERS["diagonal"](side, side), batch, 2 * hidden, hidden, torch.float32)
        for walked in limits:
            for tile in tiles:
                what = f"{side}×{side} h={hidden} batch {batch} walked up to {walked} tile {tile}"
                if time.monotonic() - BEGIN > 0.7 * TUNE:
                    print(f"skip  {what}")
                    continue
                with case(what), precision("bf16"):
                    triton.WALKED, triton.TILES["bf16"] = walked, tile
                    both = partial(passes, "triton", given, "diagonal", side)
                    print(f"      {1000 * timed(both):.3f} ms")
    triton.WALKED, triton.TILES["bf16"] = before
    with case("profile"):
        model = PixelRNN(channels=3, levels=256, hidden=128, depth=12).to(DEVICE)
        step = step_of(model, torch.randint(256, (128, 3, 32, 32), dtype=torch.uint8, device=DEVICE), "triton", "bf16")
        step(), step()
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            step()
            torch.cuda.synchronize()
        print(found.key_averages().table(sort_by="cuda_time_total", row_limit=25, max_name_column_width=70))


CHECKS = gpu_checks.equality, gpu_checks.models, gpu_checks.sanitizer, gpu_checks.small
PARTS: dict[str, Callable[[], None]] = {
    part.__name__: part for part in (*CHECKS, sampling, cifar10, mnist, bench, tune)
}


def run(command: list[str], limit: float, out: Path | None) -> None:
    """Runs a part. Prints its lines as they come, and adds them to a file.

    Ends the part, and the processes that it started, after ``limit`` seconds or at Ctrl-C.
    """
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    begin = time.monotonic()
    with subprocess.Popen(command, text=True, **how) as process:
        timer = threading.Timer(limit, lambda: os.killpg(process.pid, signal.SIGKILL))
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                say(line.rstrip("\n"), out)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
    if process.returncode:
        seconds = time.monotonic() - begin
        say(f"FAIL  the part ended with status {process.returncode} after {seconds:.0f} s of {limit:g} s", out)


def say(line: str, out: Path | None) -> None:
    """Prints a line and adds it to a file."""
    print(line, flush=True)
    if out is not None:
        with out.open("a") as file:
            print(line, file=file)


def main() -> None:
    """Runs the named part, or each part in its own process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: PyTorch finds no GPU, run it on a machine with CUDA")
    if given.part is not None:
        PARTS[given.part]()
        return
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    say(f"{torch.cuda.get_device_name()}, {versions}", given.out)
    for part, limit in LIMITS.items():
        say(f"\n{part}, at most {limit} s", given.out)
        run([sys.executable, "-u", "-m", "benchmarks.gpu", part], limit, given.out)


if __name__ == "__main__":
    main()
