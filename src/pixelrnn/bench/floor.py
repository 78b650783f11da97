"""The floor: a step's matrix products alone, at the rate that PyTorch reaches for their shapes, and the pointwise work.

No training step with these products can take less. The products run on operands that lie ready, into results that lie
ready; the LSTM's gates are computed on pieces that stay in the cache.
"""

from collections.abc import Callable

import torch

from pixelrnn.models import PixelRNN
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM

PIECE = 2**15  # gates at a time


def step(model: PixelRNN, rows: int) -> Callable[[], None]:
    """A function that does the arithmetic of one training step of a model on N·B = ``rows`` positions."""
    products, units = _work(model)
    calls: list[Callable[[], object]] = []
    for inputs, outputs, first in products:
        x, w, y = torch.randn(rows, inputs), torch.randn(inputs, outputs), torch.randn(rows, outputs)
        calls.append(lambda x=x, w=w, out=torch.empty_like(y): torch.mm(x, w, out=out))
        calls.append(lambda x=x, y=y, out=torch.empty_like(w): torch.mm(x.T, y, out=out))
        if not first:  # the image itself needs no gradient
            calls.append(lambda w=w, y=y, out=torch.empty_like(x): torch.mm(y, w.T, out=out))
    o, f, i, g, c = torch.randn(5, PIECE)
    out = torch.empty(PIECE)

    def pointwise() -> None:
        for _ in range(-(-rows * units // PIECE)):
            for gate in (o, f, i):
                torch.sigmoid(gate, out=out)
            for value in (g, c):
                torch.tanh(value, out=out)
            for _ in range(PRODUCTS):
                torch.mul(o, f, out=out)

    def run() -> None:
        for call in calls:
            call()
        pointwise()

    return run


PRODUCTS = 3 + 16
"""Multiplications of one unit: 3 forward (f⊙c₋, i⊙g, o⊙tanh c), 16 in the derivative (a sum counted with one of them)."""


def _work(model: PixelRNN) -> tuple[list[tuple[int, int, bool]], int]:
    """The products (features in, features out, is the first layer) and the LSTM's units per position."""
    products, units, inside = [], 0, set()
    for name, module in model.named_modules():
        if isinstance(module, DiagonalBiLSTM | RowLSTM):
            directions, taps, hidden, gates = module.state_to_state.weight.shape
            convolution = module.input_to_state
            seen = len(convolution.open_taps) * convolution.in_channels
            products += [(seen + taps * hidden, gates, False)] * directions
            units += directions * hidden
            inside.add(f"{name}.input_to_state")
        elif isinstance(module, MaskedConv2d) and name not in inside:
            products.append((len(module.open_taps) * module.in_channels, module.out_channels, name == "first"))
    return products, units
