"""Comparisons and parameters that several tests share, and a process that has only the core installation."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pixelrnn

BLOCKED = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    names = {"constriction", "datasets", "gradio", "matplotlib", "pooch", "sklearn", "tensorboard"}
    names |= {"pytorch_lightning", "pytorch_optimizer"}

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def python(code: str, *, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs code in a process that can import this package, but no module of the extras."""
    command = [sys.executable, "-W", "error", "-c", BLOCKED + code]
    source = {"PYTHONPATH": str(Path(pixelrnn.__file__).parents[1])}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | source)


def equals_oracle(
    layer: nn.Module, oracle: Callable[..., Tensor], x: Tensor, *others: Tensor, tolerance: float = 1e-10
) -> None:
    """Asserts that a layer equals its oracle: its output, and the gradients of its inputs and of every parameter.

    The oracle takes the layer's first input, the parameters by their names, and the layer's other inputs.
    """
    layer.double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)  # also the initial states, which start at zero
    x, *rest = (given.detach().double().requires_grad_() for given in (x, *others))
    parameters = dict(layer.named_parameters())
    inputs = [x, *rest, *parameters.values()]

    output, expected = layer(x, *rest), oracle(x, parameters, *rest)
    torch.testing.assert_close(output, expected, rtol=0, atol=tolerance)

    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), inputs, materialize_grads=True)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs, materialize_grads=True)
    names = ["x", *(f"input {n}" for n in range(1, len(others) + 1)), *parameters]
    for name, gradient, want in zip(names, gradients, wanted, strict=True):
        difference = (gradient - want).abs().max().item()
        assert difference <= tolerance, f"the gradient of {name} differs by {difference}"


def reach(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """True where an output depends on an input, from the whole Jacobian: (*outputs, *inputs), both without batch.

    x is a batch of one. Images do not see each other, so each of a batch of copies gives one row of the Jacobian.
    """
    outputs = f(x)[0].numel()
    copies = x.expand(outputs, *x.shape[1:]).clone().requires_grad_()
    y = f(copies)
    (jacobian,) = torch.autograd.grad(y.flatten(1).diagonal().sum(), copies)
    return jacobian.unflatten(0, y.shape[1:]) != 0


def sub_pixel_order(reached: Tensor) -> Tensor:
    """Maps (C, H, W, C, H, W) to (n, n), with sub-pixels in the order of generation: rows, pixels, channels."""
    n = reached[..., 0, 0, 0].numel()
    return reached.permute(1, 2, 0, 4, 5, 3).reshape(n, n)


def pairwise(**values: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrizes a test with a few combinations of values: any two values of two parameters meet in one of them."""
    every = [[*enumerate(choice)] for choice in itertools.product(*(range(len(v)) for v in values.values()))]
    left = {pair for choice in every for pair in itertools.combinations(choice, 2)}
    chosen: list[list[Any]] = []
    while left:
        best = max(every, key=lambda choice: len(left.intersection(itertools.combinations(choice, 2))))
        left -= {*itertools.combinations(best, 2)}
        chosen.append([v[k] for v, (_, k) in zip(values.values(), best, strict=True)])
    return pytest.mark.parametrize(", ".join(values), chosen)


class OnMPS(Tensor):
    """A tensor on a device that has no float64."""

    def double(self) -> Tensor:
        raise TypeError("MPS has no float64")

    def cpu(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.as_subclass(Tensor)

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.as_subclass(Tensor).to(*args, **kwargs)
