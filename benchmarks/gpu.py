"""Checks and times the library on a GPU, in at most seven minutes.

    python benchmarks/gpu.py                 every part but the last
    python benchmarks/gpu.py tune            one part: equality, models, mnist, cifar10, sampling or tune

Each part is a process with a time limit, so a kernel that hangs ends with its part. Nothing here needs the compiled CPU
library. Useful work counts the products that open taps need, three times for a whole step; the share is of the peak
that NVIDIA states for dense products on an H100 SXM.
"""

import copy
import logging
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pixelrnn import PixelRNN, causality, likelihood, ops
from pixelrnn.bench import floor, naive
from pixelrnn.ops import Backend, backend
from pixelrnn.ops.lines import LAYERS, Layer, Lines

LIMITS = {"equality": 150, "models": 60, "mnist": 60, "cifar10": 110, "sampling": 40, "tune": 120}
"""Time limit of each part in seconds."""

PEAK = {"float32": 66.9, "tf32": 494.7, "bf16": 989.4}
"""TFLOP/s of an H100 SXM."""

BOUND = {"float64": 1e-10, "float32": 1e-5, "tf32": 2**-10 * 11**0.5, "bf16": 2**-8 * 11**0.5}
"""The largest relative norm of the difference from the float64 reference. Over 11 lines the roundings of factors add up
like a random walk.
"""

BEGIN = time.monotonic()


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Computes products of CUDA tensors in this precision."""
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    with torch.autocast("cuda", torch.bfloat16, enabled=name == "bf16"):
        yield


@contextmanager
def case(what: str) -> Iterator[None]:
    """Prints whether a case passed, with the end of the traceback if it failed. The other cases still run."""
    try:
        yield
    except Exception:
        print(f"FAIL  {what}\n{''.join(traceback.format_exc().splitlines(keepends=True)[-4:])}", flush=True)
        torch.cuda.empty_cache()
    else:
        print(f"pass  {what}", flush=True)


def layer_inputs(lines: Lines, batch: int, features: int, hidden: int, kind: torch.dtype) -> list[Tensor]:
    """Returns operands for `pixelrnn.ops.line_lstm`, the same in every call."""
    random = torch.Generator().manual_seed(0)
    d, s, t = len(lines.taps), len(lines.inputs[0]), len(lines.shifts)
    shapes = (d, s, features, 4 * hidden), (d, 4 * hidden), (d, t, hidden, 4 * hidden), (d, 2, hidden)
    x = (lines.height * lines.width, batch, features)
    made = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in (x, *shapes)]
    return [(0.1 * each).to("cuda", kind).requires_grad_() for each in made]


def passes(name: Backend, inputs: list[Tensor], layer: Layer, height: int) -> list[Tensor]:
    """Returns the output of a backend and the gradients of its weighted sum."""
    with backend(name):
        hidden = ops.line_lstm(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], layer, height)
    weights = torch.linspace(-1, 1, hidden.numel(), dtype=hidden.dtype, device="cuda").view_as(hidden)
    return [hidden.detach(), *torch.autograd.grad((hidden * weights).sum(), inputs)]


def check(found: list[Tensor], wanted: list[Tensor], bound: float) -> str:
    """Returns the largest relative error. Raises ValueError if it is above the bound."""
    errors = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)]
    if not all(error <= bound for error in errors):
        raise ValueError(f"errors {' '.join(f'{error:.1e}' for error in errors)}, expected at most {bound:.1e}")
    return f"{max(errors):.1e}"


def equality() -> None:
    """Checks the forward pass and all gradients of one layer."""
    kinds = {"float64": torch.float64}
    for how in ("float32", "bf16", "tf32", "float64"):
        for hidden in (24, 64, 128):
            for layer, make in LAYERS.items():
                lines = make(6, 5)
                wanted = passes("reference", layer_inputs(lines, 7, 9, hidden, torch.float64), layer, 6)
                for name in ("reference", "manual", "triton"):
                    with case(f"{layer} h={hidden} {how} {name}"), precision(how):
                        given = layer_inputs(lines, 7, 9, hidden, kinds.get(how, torch.float32))
                        check(passes(name, given, layer, 6), wanted, BOUND[how])
    # A missing barrier shows up only in large images, and not every time.
    for hidden, walked in ((32, 64), (64, 64), (128, 64), (128, 128)):
        for layer, make in LAYERS.items():
            for how in ("float32", "bf16"):
                with case(f"{layer} h={hidden} 32×28, 33 images, three times, {how}, walked up to {walked}"):
                    from pixelrnn.ops import triton

                    triton.WALKED = walked
                    lines = make(32, 28)
                    given = layer_inputs(lines, 33, 2 * hidden, hidden, torch.float32)
                    wanted = passes("manual", layer_inputs(lines, 33, 2 * hidden, hidden, torch.float64), layer, 32)
                    with precision(how):
                        first, *others = [passes("triton", given, layer, 32) for _ in range(3)]
                    check(first, wanted, {"float32": 1e-4, "bf16": 2**-8 * 60**0.5}[how])
                    if not all(torch.equal(a[0], first[0]) for a in others):
                        raise ValueError("the output differs from call to call")
    with case("the kernels prove themselves"):
        from pixelrnn.ops import triton

        for how in ("float32", "tf32", "bf16"):
            with precision(how):
                if not triton.works(torch.zeros(1, device="cuda"), 32, "diagonal"):
                    raise ValueError(f"they do not in {how}")


def models() -> None:
    """Checks training, sampling, completion and causality against the CPU."""
    for layer in ("diagonal-bilstm", "row-lstm", "pixel-cnn"):
        torch.manual_seed(0)
        x = torch.randint(4, (6, 3, 7, 5), dtype=torch.uint8)
        on_cpu = PixelRNN(layer=layer, channels=3, levels=4, hidden=24, depth=2)
        model = copy.deepcopy(on_cpu).cuda()
        with case(f"{layer}: log-likelihood and gradients are those of the CPU"):
            for each, images in ((on_cpu, x), (model, x.cuda())):
                each.log_prob(images).mean().backward()
            with torch.no_grad():
                check([model.log_prob(x.cuda()).cpu()], [on_cpu.log_prob(x).double()], 1e-5)
            given, wanted = ([p.grad for p in each.parameters() if p.grad is not None] for each in (model, on_cpu))
            check([g.cpu() for g in given if g.any()], [g.double() for g in wanted if g.any()], 1e-3)
        for how in ("float32", "bf16"):
            with case(f"{layer}: ten steps in {how} lower the loss"):
                learner = copy.deepcopy(on_cpu).cuda()
                optimizer, losses = torch.optim.Adam(learner.parameters(), 3e-3, fused=True), []
                for _ in range(10):
                    optimizer.zero_grad()
                    with precision(how):
                        loss = -learner.log_prob(x.cuda()).mean()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
                if not losses[-1] < losses[0] - 1:
                    raise ValueError(f"from {losses[0]:.1f} to {losses[-1]:.1f} nats")
        with case(f"{layer}: samples and completions"):
            drawn = model.sample(3, height=7, width=5)
            known = torch.zeros(7, 5, dtype=torch.bool, device="cuda")
            known[:3] = True
            completed = model.complete(x.cuda(), known)
            if not (drawn.is_cuda and drawn.shape == (3, 3, 7, 5) and drawn.max() < 4):
                raise ValueError(f"drawn: {drawn.dtype} {tuple(drawn.shape)} on {drawn.device}")
            if not torch.equal(completed[..., :3, :], x.cuda()[..., :3, :]):
                raise ValueError("a known pixel changed")
        with case(f"{layer}: no leaks"):
            if found := causality.leaks(model.logits, size=(4, 4), channels=3):
                raise ValueError(f"{len(found)} leaks, the first: {found[0]}")


def operations(model: PixelRNN, rows: int) -> float:
    """TFLOP in the products of a training step on N·B positions."""
    products, _ = floor._work(model)
    return sum(2 * rows * inputs * outputs * (2 if first else 3) for inputs, outputs, first in products) / 1e12


def steps(model: PixelRNN, x: Tensor, variants: list[tuple[str, str]], deadline: float) -> None:
    """Times whole training steps and prints a line for each variant and precision."""
    for variant, how in variants:
        what = f"{variant:<14} {how:<8} batch {len(x):<4}"
        if time.monotonic() - BEGIN > deadline:
            print(f"skip  {what} no time is left", flush=True)
            continue
        with case(what):
            learner = copy.deepcopy(model)
            seconds = timed(step_of(learner, x, variant, how))
            rate = operations(model, len(x) * x.shape[2] * x.shape[3]) / seconds
            memory = torch.cuda.max_memory_allocated() / 2**30
            share = f"{rate:7.2f} TFLOP/s {100 * rate / PEAK[how]:6.2f} % of {PEAK[how]}"
            print(f"      {what} {1000 * seconds:9.2f} ms {len(x) / seconds:9.0f} images/s {share} {memory:6.2f} GiB")
            del learner
        torch.cuda.empty_cache()


def step_of(model: PixelRNN, x: Tensor, variant: str, how: str) -> Callable[[], None]:
    """A training step of a model, computed by a backend or by naive code."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    names: dict[str, Backend] = {"manual": "manual", "triton": "triton"}

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

    return step


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
        model = PixelRNN(levels=2, hidden=hidden, depth=depth).cuda()
        for batch in (16, 64, 256):
            x = torch.randint(2, (batch, 1, 28, 28), dtype=torch.uint8, device="cuda")
            every = [(v, how) for v in ("triton", "manual") for how in PEAK]
            usual = [("naive, fair", "float32"), ("naive, fair", "bf16")]
            sliced = [("naive, sliced", "float32")] if batch == 64 else []
            steps(model, x, every + usual + sliced, LIMITS["mnist"] * (0.45 if depth == 1 else 0.9))


def cifar10() -> None:
    """Times whole steps of the paper's CIFAR-10 model."""
    print("\nCIFAR-10 12×128, 32×32×3, 256 levels, Diagonal BiLSTM")
    model = PixelRNN(channels=3, levels=256, hidden=128, depth=12).cuda()
    for batch in (64, 256, 16):
        x = torch.randint(256, (batch, 3, 32, 32), dtype=torch.uint8, device="cuda")
        ours = [("triton", "bf16"), ("triton", "tf32"), ("manual", "bf16"), ("manual", "tf32")]
        exact = [("triton", "float32"), ("manual", "float32")]
        usual = [("naive, fair", "bf16"), ("naive, fair", "float32")]
        sliced = [("naive, sliced", "bf16"), ("naive, sliced", "float32")] if batch == 64 else []
        steps(model, x, ours + usual + exact + sliced, LIMITS["cifar10"] * 0.9)


def sampling() -> None:
    """Digits drawn position by position, by a model of one layer and h = 32."""
    model = PixelRNN(levels=2, hidden=32).cuda()
    for n in (16, 64, 256, 1024):
        with case(f"{n} samples of 28×28"):
            print(f"      {1000 * timed(partial(model.sample, n, height=28, width=28)):.0f} ms")


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
                if time.monotonic() - BEGIN > 0.7 * LIMITS["tune"]:
                    print(f"skip  {what}")
                    continue
                with case(what), precision("bf16"):
                    triton.WALKED, triton.TILES["bf16"] = walked, tile
                    both = partial(passes, "triton", given, "diagonal", side)
                    print(f"      {1000 * timed(both):.3f} ms")
    triton.WALKED, triton.TILES["bf16"] = before
    with case("profile"):
        model = PixelRNN(channels=3, levels=256, hidden=128, depth=12).cuda()
        step = step_of(model, torch.randint(256, (128, 3, 32, 32), dtype=torch.uint8, device="cuda"), "triton", "bf16")
        step(), step()
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            step()
            torch.cuda.synchronize()
        print(found.key_averages().table(sort_by="cuda_time_total", row_limit=25, max_name_column_width=70))


PARTS = {"equality": equality, "models": models, "mnist": mnist, "cifar10": cifar10, "sampling": sampling, "tune": tune}


def main() -> None:
    """Runs the named part, or each part in its own process."""
    logging.basicConfig(format="%(message)s")
    if len(sys.argv) > 1:
        PARTS[sys.argv[1]]()
        return
    name, versions = torch.cuda.get_device_name(), f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    print(f"{name}, {versions}", flush=True)
    for part, limit in LIMITS.items():
        if part != "tune":
            print(f"\n{part}, at most {limit} s", flush=True)
            try:
                subprocess.run([sys.executable, __file__, part], timeout=limit, check=False)
            except subprocess.TimeoutExpired:
                print(f"FAIL  {part}: it took longer than {limit} s", flush=True)


if __name__ == "__main__":
    main()
