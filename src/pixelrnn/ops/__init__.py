"""The two expensive operators: the recurrence of both LSTM layers, and the masked convolution.

    reference   the equations under autograd                            any device and floating type
    manual      the recurrence with a hand-written backward pass        any device and floating type
    cpu         C++ (csrc), compiled when the package is installed      CPU, float32 and float64; bfloat16 products
    triton      manual with its scan in Triton kernels                  CUDA, float32 and float64; bfloat16 products

The fastest backend that can run computes. All give the same output and gradients, up to rounding (docs/operators.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.ops import cpu, kernels, operators, reference
from pixelrnn.ops.lines import Layer

__all__ = ["Backend", "Layer", "backend", "conv", "line_lstm"]

Backend = Literal["auto", "reference", "manual", "cpu", "triton"]

_named: Backend = "auto"
_blocks: list[list[Backend]] = []


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Selects the backend for this block, for comparisons: ``with backend("reference"): …``.

    The choice holds for the whole process. Other threads switch too, and still compute the same values.

    Raises:
        InputError: the name is unknown, or the compiled library or Triton is missing.
    """
    if name not in get_args(Backend):
        raise InputError(f"unknown backend {name!r}: expected one of {', '.join(get_args(Backend))}")
    if name == "cpu" and not cpu.available:
        raise InputError(f"the backend cpu is not available: {cpu.variant}")
    if name == "triton" and not find_spec("triton"):
        raise InputError("the backend triton is not available: install Triton, which comes with PyTorch for CUDA")
    global _named
    named = [name]  # its own list, found by identity: blocks of several threads may end in any order
    _blocks.append(named)
    _named = name
    try:
        yield
    finally:
        _blocks[:] = [block for block in _blocks if block is not named]
        _named = _blocks[-1][0] if _blocks else "auto"


def choose(x: Tensor) -> tuple[Backend, torch.dtype]:
    """Returns the backend for tensors like x, and the type to which its products round their factors.

    This is the selected backend, or cpu if cpu supports x. Otherwise ``"auto"`` lets the operator choose between triton
    and manual. Under `torch.autocast` to bfloat16 the factors are bfloat16; the operators follow no other lower
    precision.

    Raises:
        InputError: the backend cpu is selected, but x is not float32 or float64 on a CPU.
    """
    device = x.device.type
    lower = x.dtype == torch.float32 and kernels.is_autocast(x)
    factors = torch.bfloat16 if lower and torch.get_autocast_dtype(device) == torch.bfloat16 else x.dtype
    if _named not in ("auto", "cpu"):
        return _named, factors
    fits = device == "cpu" and x.dtype in (torch.float32, torch.float64)
    if fits and cpu.available:
        return "cpu", factors
    if _named == "cpu":
        raise InputError(f"x is {x.dtype} on {x.device}, expected float32 or float64 on a CPU for the backend cpu")
    if fits and not torch.compiler.is_compiling():
        cpu.say_what_is_missing()
    return "auto", factors


def line_lstm(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    layer: Layer,
    height: int,
) -> Float[Tensor, "N B h"]:
    """Runs an LSTM over the positions of an image (paper eq. 3).

        o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
        c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)

    D directions, N = H·W positions in raster order, B images, F features of x, h features, S taps of x, T taps of h₋.

    Args:
        x: input map; all directions read it.
        input_to_state: Kis, one F × 4h matrix per input tap; its columns are the gates o, f, i, g, h features each. An
            input tap outside the image reads zero.
        bias: bias of the input-to-state convolution.
        state_to_state: Kss, one h × 4h matrix per tap.
        initial: (h₀, c₀), the learned initial state, which every tap outside the image reads.
        layer: ``"row"`` or ``"diagonal"``; `pixelrnn.ops.lines` says which positions each computes together, and their
            taps.
        height: image height H.

    Returns:
        The hidden states h in raster order: the sum of all directions, each moved by its offset in `Lines.outputs`.

    Raises:
        InputError: shapes do not match, or the selected backend cannot run.
    """
    x = x.to(bias.dtype)  # rounding errors of a lower precision would add up over H + W steps
    operands = x, input_to_state, bias, state_to_state, initial
    name, factors = choose(x)
    if name == "reference":
        return kernels.reference_line_lstm(*operands, height, layer)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands)
    output: Tensor = operators.line_lstm(*operands, height, layer, name, factors, keep)[0]
    return output


def conv(
    x: Float[Tensor, "N B F"],
    weight: Float[Tensor, "G F rows columns"],
    bias: Float[Tensor, " G"],
    height: int,
    *,
    relu: bool = False,
    plus: Float[Tensor, "N B G"] | None = None,
) -> Float[Tensor, "N B G"]:
    """Convolves x, or max(x, 0) if ``relu``, and adds ``plus``. Outside the image x counts as zero.

    The compiled backend reads and writes each map once, activation and addition included. Under autocast to bfloat16 it
    rounds only the factors of its products, so maps keep their precision.

    Args:
        x: input map, positions in raster order.
        weight: kernel with odd sizes. Its taps after the centre, in raster order, must be zero and get no gradient.
        bias: one value per output feature.
        height: image height H.
        relu: apply ReLU to x first.
        plus: map to add to the result.

    Raises:
        InputError: shapes do not match, or the selected backend cannot run.
    """
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):  # PyTorch's own layers may have rounded the maps
        x, plus = x.to(bias.dtype), None if plus is None else plus.to(bias.dtype)
    name, factors = choose(x)
    if name != "cpu":
        if not kernels.is_autocast(x):  # autocast converts the types
            kernels.check("conv", (x, weight, bias, plus), height, name, x.dtype)
        return reference.conv(x, weight, bias, plus, height, relu)
    y: Tensor = operators.conv(x, weight, bias, plus, height, relu, factors)
    return y
