"""The floor: the arithmetic of a training step alone, at the rate that PyTorch reaches on this machine.

It computes matrix products of the step's shapes, and the activations of the gates. All operands stay in the cache, and
results go into allocated memory. Main memory, copies, autograd and Python cost nothing here.
"""

from collections.abc import Callable

import torch

from pixelrnn.models import PixelRNN
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM

PIECE = 1024  # positions at a time


def step(model: PixelRNN, rows: int) -> Callable[[], None]:
    """A function that does the arithmetic of one training step of a model on N·B = ``rows`` positions."""
    products, units = _work(model)
    whole, rest = divmod(rows, PIECE)
    calls = (_piece(products, units, PIECE) * whole if whole else []) + (_piece(products, units, rest) if rest else [])

    def run() -> None:
        for call in calls:
            call()

    return run


def _piece(products: list[tuple[int, int, bool]], units: int, rows: int) -> list[Callable[[], object]]:
    """The arithmetic on ``rows`` positions, as functions to call."""
    sigmoids, tanhs = torch.randn(rows, 3 * units), torch.randn(rows, 2 * units)  # for o, f, i; for g, c
    calls = [call for inputs, outputs, first in products for call in _product(rows, inputs, outputs, first)]
    return [*calls, sigmoids.sigmoid_, tanhs.tanh_]


def _product(rows: int, inputs: int, outputs: int, first: bool) -> list[Callable[[], object]]:
    """A layer's product, and the products for the gradients of its weight and its input."""
    x, w, y = torch.randn(rows, inputs), torch.randn(inputs, outputs), torch.randn(rows, outputs)
    dx, dw, out = torch.empty_like(x), torch.empty_like(w), torch.empty_like(y)
    calls: list[Callable[[], object]] = [lambda: torch.mm(x, w, out=out), lambda: torch.mm(x.T, y, out=dw)]
    # The image itself needs no gradient.
    return calls if first else [*calls, lambda: torch.mm(y, w.T, out=dx)]


def _work(model: PixelRNN) -> tuple[list[tuple[int, int, bool]], int]:
    """The products (input features, output features, first layer or not) and the LSTM's units, per position."""
    products, units, inside = [], 0, set()
    for name, module in model.named_modules():
        if isinstance(module, DiagonalBiLSTM | RowLSTM):
            directions, taps, hidden, gates = module.state_to_state.weight.shape
            products += [(_seen(module.input_to_state) + taps * hidden, gates, False)] * directions
            units += directions * hidden
            inside.add(f"{name}.input_to_state")
        elif isinstance(module, MaskedConv2d) and name not in inside:
            products.append((_seen(module), module.out_channels, name == "first"))
    return products, units


def _seen(convolution: MaskedConv2d) -> int:
    """The number of input features, over all taps that the mask leaves open."""
    return convolution.in_channels * int(convolution.mask.any(dim=0).any(dim=0).sum())
