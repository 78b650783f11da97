"""Compares a training step under `torch.compile` with an eager step, and times the compilation.

    python benchmarks/compile.py

Let nothing else run. The script times a step only after loss and gradients of both agree.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import get_args

import torch
from torch import Tensor

from pixelrnn import PixelRNN
from pixelrnn.nn import LayerKind

TARGET = 1.1
ROUNDS = 10


def step(model: PixelRNN, log_prob: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """Returns the loss and the gradient of every parameter."""
    loss = -log_prob(x).mean()
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def compare(layer: LayerKind, *, batch: int = 64, side: int = 28) -> str:
    """The line to print for one kind of layer, with h = 32, depth 1 and binary images."""
    torch.manual_seed(0)
    model = PixelRNN(layer=layer, levels=2)
    x = torch.randint(2, (batch, 1, side, side), dtype=torch.uint8)
    compiled = torch.compile(model.log_prob, fullgraph=True)
    begin = time.perf_counter()
    first = step(model, compiled, x)
    seconds = time.perf_counter() - begin
    for got, wanted in zip(first, step(model, model.log_prob, x), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    times: dict[str, list[float]] = {"eager": [], "compiled": []}
    for _ in range(ROUNDS):
        for name, log_prob in (("eager", model.log_prob), ("compiled", compiled)):
            begin = time.perf_counter()
            step(model, log_prob, x)
            times[name].append(time.perf_counter() - begin)
    eager, ours = median(times["eager"]), median(times["compiled"])
    verdict = "reached" if ours <= TARGET * eager else "MISSED"
    return (
        f"{layer}, batch {batch}, {side}×{side}: eager {1000 * eager:.1f} ms, compiled {1000 * ours:.1f} ms, "
        f"ratio at most {TARGET}, measured {ours / eager:.2f}, {verdict}; compilation {seconds:.1f} s"
    )


if __name__ == "__main__":
    for layer in get_args(LayerKind):
        print(compare(layer))
