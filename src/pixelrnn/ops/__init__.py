"""The two operators that cost time: the recurrence of both LSTM layers, and the masked convolution.

    reference   the equations under autograd                            any device and floating type
    manual      the recurrence with a backward pass written by hand     any device and floating type
    cpu         C++ (csrc), compiled when the package is installed      CPU, float32 and float64; products of bfloat16
    triton      the recurrence of manual, its scan in Triton kernels    CUDA, float32 and float64; products of bfloat16

The fastest that can run is taken. All are equal, in output and every gradient. See docs/operators.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.ops import cpu, operators, reference
from pixelrnn.ops.lines import Layer

__all__ = ["Backend", "Layer", "backend", "conv", "line_lstm"]

Backend = Literal["auto", "reference", "manual", "cpu", "triton"]

_named: Backend = "auto"
_blocks: list[list[Backend]] = []


@contextmanager
def backend(name: Backend) -> Iterator[None]:
    """Names the implementation that computes in this block, for comparisons: ``with backend("reference"): …``.

    It is for the whole process: what other threads compute meanwhile has the same values.

    Raises:
        InputError: an unknown name, or the compiled library or Triton is not here.
    """
    if name not in get_args(Backend):
        raise InputError(f"unknown backend {name!r}: expected one of {', '.join(get_args(Backend))}")
    if name == "cpu" and not cpu.available:
        raise InputError(f"the backend cpu is not here: {cpu.variant}")
    if name == "triton" and not find_spec("triton"):
        raise InputError("the backend triton is not here: install Triton, which comes with PyTorch for CUDA")
    global _named
    named = [name]  # a thing of its own: blocks of several threads may end in any order
    _blocks.append(named)
    _named = name
    try:
        yield
    finally:
        _blocks[:] = [block for block in _blocks if block is not named]
        _named = _blocks[-1][0] if _blocks else "auto"


def choose(x: Tensor) -> tuple[Backend, torch.dtype]:
    """Returns the backend that computes with a tensor like this one, and the type of the factors of its products.

    The backend is the one that was named, or cpu where it can compute. Otherwise ``"auto"`` leaves the choice between
    triton and manual to the operator. The factors are bfloat16 where `torch.autocast` asks for it, the only lower
    precision that the operators follow.

    Raises:
        InputError: the backend cpu was named, and x is not float32 or float64 on a CPU.
    """
    device = x.device.type
    lower = x.dtype == torch.float32 and operators.is_autocast(x)
    factors = torch.bfloat16 if lower and torch.get_autocast_dtype(device) == torch.bfloat16 else x.dtype
    if _named not in ("auto", "cpu"):
        return _named, factors
    fits = device == "cpu" and x.dtype in (torch.float32, torch.float64)
    if fits and cpu.available:
        return "cpu", factors
    if _named == "cpu":
        raise InputError(f"the backend cpu is for float32 or float64 on a CPU, not {x.dtype} on {x.device}")
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
    """An LSTM over the positions of an image, each of which reads its taps (paper eq. 3).

        o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
        c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)

    D directions, N = H·W positions in raster order, B images, F features of x, h of the states, S input taps, T taps.

    Args:
        x: the map, which all directions read.
        input_to_state: Kis, one F × 4h matrix per input tap: four maps of h features in the order o, f, i, g. Where an
            input tap is outside the image, x counts as zero.
        bias: of the input-to-state convolution.
        state_to_state: Kss, one h × 4h matrix per tap.
        initial: (h₀, c₀), the learned state that every tap outside the image reads.
        layer: ``"row"`` or ``"diagonal"``: which positions are computed together and what they read
            (`pixelrnn.ops.lines`).
        height: H of the image.

    Returns:
        The hidden states h in raster order, all directions added, each where `Lines.outputs` says.

    Raises:
        InputError: shapes that do not belong together, or the backend that was named cannot run.
    """
    x = x.to(bias.dtype)  # lower precision of the maps around it must not add up over H + W steps
    operands = x, input_to_state, bias, state_to_state, initial
    name, factors = choose(x)
    if name == "reference":
        return operators.reference_line_lstm(*operands, height, layer)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands)
    output: Tensor = torch.ops.pixelrnn.line_lstm(*operands, height, layer, name, factors, keep)[0]
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
    """A convolution of max(x, 0) with ``relu``, of x without, and ``plus`` added. Outside the image x counts as zero.

    Compiled, a pass reads and writes every map once, activation and addition on the way. Autocast to bfloat16 then
    rounds the factors of the products alone: maps stay as they are.

    Args:
        x: the map, positions in raster order.
        weight: a kernel of odd size whose taps after the centre, in raster order, are zero and get no gradient.
        bias: of every output feature.
        height: H of the image.
        relu: whether x is activated.
        plus: a map to add.

    Raises:
        InputError: shapes that do not belong together, or the backend that was named cannot run.
    """
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):  # PyTorch's own layers may have rounded maps
        x, plus = x.to(bias.dtype), None if plus is None else plus.to(bias.dtype)
    name, factors = choose(x)
    if name != "cpu":
        if not operators.is_autocast(x):  # which converts
            operators.check("conv", (x, weight, bias, plus), height, name, x.dtype)
        return reference.conv(x, weight, bias, plus, height, relu)
    y: Tensor = torch.ops.pixelrnn.conv(x, weight, bias, plus, height, relu, factors)
    return y
