"""Prints the tables of sampling in docs/speed.md: incremental against naive, time over batch and side, memory.

    python benchmarks/sampling.py

Let nothing else run. The models have random weights, which take as long as trained ones. The script times the samplers
only after all draw the same images from the same noise.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import get_args

import torch
from rich.console import Console
from torch import Tensor

from pixelrnn import PixelRNN
from pixelrnn.bench import naive as usual
from pixelrnn.bench import time_exponent
from pixelrnn.likelihood import draw
from pixelrnn.nn import LayerKind
from pixelrnn.ops import backend
from pixelrnn.sampling import naive
from pixelrnn.training.memory import forget_peak, peak

ROUNDS = 7
TARGETS = [("the usual one", 1, 32, 500.0), ("ours, naive", 1, 32, 80.0), ("the usual one", 7, 16, 500.0)]
BATCHES, SIDES = (1, 16, 64, 256), (8, 16, 28, 64)


def model_of(*, depth: int, hidden: int) -> PixelRNN:
    """A Diagonal BiLSTM for binary images, with the same weights in every call."""
    torch.manual_seed(0)
    return PixelRNN(levels=2, depth=depth, hidden=hidden).eval()


def seconds(work: Callable[[], object]) -> float:
    """The seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def usual_passes(model: PixelRNN, x: Tensor, passes: int) -> None:
    """Draws ``passes`` sub-pixels as public code does: each takes a pass of the network over the whole image."""
    x, uniform = x.clone(), torch.rand(passes, len(x), dtype=torch.double)
    for p in range(passes):
        i, j = divmod(p, x.shape[3])
        logits = usual.logits(model, x.float() * 2 - 1, sliced=False)
        x[:, :, i, j] = draw(logits[:, :, 0, i, j], uniform[p])[:, None]


def check_equality() -> None:
    """Raises AssertionError unless all samplers draw the same images from the same noise."""
    model, x = model_of(depth=2, hidden=8).double(), torch.zeros(16, 1, 9, 7, dtype=torch.uint8)

    def complete(logits: naive.Logits) -> Tensor:
        return naive.complete(logits, x, x[:, 0] > 0, generator=torch.Generator().manual_seed(0))

    drawn = model.sample(16, height=9, width=7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(complete(model), drawn)
    assert torch.equal(complete(lambda x: usual.logits(model, x.double() * 2 - 1, sliced=False)), drawn)


def without_library(model: PixelRNN, n: int, side: int) -> Tensor:
    """Draws n images without the compiled library."""
    with backend("manual"):
        return model.sample(n, height=side, width=side)


@torch.no_grad()
def against_naive(depth: int, hidden: int, *, n: int = 16, side: int = 28) -> dict[str, float]:
    """Seconds to draw n images with each sampler. All passes of the usual one cost the same, so one in 28 is timed."""
    model, x = model_of(depth=depth, hidden=hidden), torch.zeros(n, 1, side, side, dtype=torch.uint8)
    passes = math.ceil(side * side / 28)
    times: dict[str, list[float]] = {"incremental": [], "forward": [], "usual": []}
    for _ in range(ROUNDS):
        times["incremental"].append(seconds(lambda: model.sample(n, height=side, width=side)))
        times["forward"].append(seconds(lambda: model(x)))
        times["usual"].append(seconds(lambda: usual_passes(model, x, max(1, passes // ROUNDS))))
    return {
        "incremental": median(times["incremental"]),
        "in PyTorch": seconds(lambda: without_library(model, n, side)),
        "one forward pass": median(times["forward"]),
        "ours, naive": seconds(lambda: naive.complete(model, x, x[:, 0] > 0)),
        "the usual one": median(times["usual"]) * side * side / max(1, passes // ROUNDS),
    }


def over_batch_and_side() -> str:
    """A table of milliseconds per image for the one-layer model."""
    model = model_of(depth=1, hidden=32)
    lines = ["ms/image  " + "".join(f"{side:>6}×{side:<3}" for side in SIDES) + "  exponent in pixels"]
    for batch in BATCHES:
        times = {}
        for side in SIDES:
            sample = partial(model.sample, batch, height=side, width=side)
            times[side] = median(seconds(sample) for _ in range(3))
        row = "".join(f"{1000 * times[side] / batch:10.2f}" for side in SIDES)
        lines.append(f"batch {batch:<4}{row}  {time_exponent({s * s: t for s, t in times.items()}):10.2f}")
    return "\n".join(lines)


@torch.no_grad()
def in_colour(layer: LayerKind, *, n: int = 16, side: int = 32) -> float:
    """Sampling ÷ one forward pass, for RGB images of 256 levels and two layers of h = 32."""
    torch.manual_seed(0)
    model = PixelRNN(layer=layer, channels=3, levels=256, depth=2).eval()
    x = torch.zeros(n, 3, side, side, dtype=torch.uint8)
    sample, forward = partial(model.sample, n, height=side, width=side), partial(model, x)
    times = [(seconds(sample), seconds(forward)) for _ in range(ROUNDS)]
    return median(t for t, _ in times) / median(t for _, t in times)


def memory_of(what: str) -> float:
    """Peak memory of a batch of 256 in MiB, above what its process held before."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (what,))


@torch.no_grad()
def _memory(what: str) -> float:
    model, x = model_of(depth=7, hidden=16), torch.zeros(256, 1, 28, 28, dtype=torch.uint8)
    model(x[:1]), model.sample(1, height=28, width=28)
    before = forget_peak()
    if what == "forward":
        model(x)
    else:
        model.sample(256, height=28, width=28)
    return peak() - before


def main() -> None:
    """Measures everything once."""
    check_equality()
    console = Console(stderr=True)
    results = {}
    for depth, hidden in ((1, 32), (7, 16)):
        with console.status(f"16 images of 28×28, depth {depth}, h = {hidden}"):
            results[depth] = against_naive(depth, hidden)
        print(f"16 images of 28×28, Diagonal BiLSTM, depth {depth}, h = {hidden}")
        print("\n".join(f"  {name:<18}{1000 * t:10.1f} ms" for name, t in results[depth].items()))
    for against, depth, hidden, target in TARGETS:
        ratio = results[depth][against] / results[depth]["incremental"]
        verdict = "reached" if ratio >= target else "MISSED"
        what = f"depth {depth}, h = {hidden}, {against} ÷ incremental"
        print(f"{what}: at least {target:g}, measured {ratio:.0f}, {verdict}")
    with console.status("over batch and side"):
        print(over_batch_and_side())
    for layer in get_args(LayerKind):
        print(f"{layer}, 16 RGB images of 32×32, 256 levels: sampling ÷ one forward pass {in_colour(layer):.2f}")
    forward, sampling = memory_of("forward"), memory_of("sampling")
    print(f"memory, batch 256, depth 7, h = 16: sampling {sampling:.0f} MiB, one forward pass {forward:.0f} MiB")


if __name__ == "__main__":
    main()
