"""The floor: the arithmetic of a training step alone, at the rate that PyTorch reaches on this machine.

It computes matrix products of the step's shapes, and the activations of the gates. On a CPU all operands stay in the
cache, and results go into allocated memory. Main memory, copies, autograd and Python cost nothing here.
"""

from collections.abc import Callable

import torch

from pixelrnn.models import PixelRNN
from pixelrnn.nn import DiagonalBiLSTM, MaskedConv2d, RowLSTM

PIECE = {"cpu": 1024, "cuda": 2**16}  # positions at a time; a GPU needs many to be busy


def step(model: PixelRNN, rows: int) -> Callable[[], None]:
    """A function that does the arithmetic of one training step of a model on N·B = ``rows`` positions."""
    products, units = _work(model)
    device = model.first.weight.device
    most = PIECE[device.type]
    whole, rest = divmod(rows, most)
    calls = _piece(products, units, most, device) * whole if whole else []
    calls += _piece(products, units, rest, device) if rest else []

    def run() -> None:
        for call in calls:
            call()

    return run


def _piece(
    products: list[tuple[int, int, bool]], units: int, rows: int, device: torch.device
) -> list[Callable[[], object]]:
    """The arithmetic on ``rows`` positions, as functions to call."""
    sigmoids, tanhs = (torch.randn(rows, n * units, device=device) for n in (3, 2))  # for o, f, i; for g, c
    calls = [call for inputs, outputs, first in products for call in _product(rows, inputs, outputs, first, device)]
    return [*calls, sigmoids.sigmoid_, tanhs.tanh_]


def _product(rows: int, inputs: int, outputs: int, first: bool, device: torch.device) -> list[Callable[[], object]]:
    """A layer's product, and the products for the gradients of its weight and its input."""
    shapes = (rows, inputs), (inputs, outputs), (rows, outputs)
    x, w, y = (torch.randn(shape, device=device) for shape in shapes)
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
