"""One recurrence for all layers: an LSTM over the lines of an image. See the README beside this file."""

import warnings
from functools import cache
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.errors import InputError
from pixelrnn.recurrence import compiled, manual, reference
from pixelrnn.recurrence.compiled.build import BuildError, operators
from pixelrnn.recurrence.lines import Lines, diagonal_lines, row_lines

__all__ = ["Backend", "Lines", "choose_backend", "diagonal_lines", "line_lstm", "row_lines"]

Backend = Literal["auto", "reference", "manual", "compiled"]


def line_lstm(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "D N B h"]:
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
        lines: which positions are computed together and what they read: `row_lines` or `diagonal_lines`.
        backend: the implementation; one that is named runs or raises, ``"auto"`` takes what `choose_backend` says.

    Returns:
        The hidden states h, in raster order.

    Raises:
        InputError: shapes or types that do not belong together, an unknown backend, or one that cannot run here.
    """
    directions, input_taps, features, gates = input_to_state.shape
    taps, hidden = len(lines.shifts), gates // 4
    expected = {
        "x": ((x.shape[0], x.shape[2]), (lines.height * lines.width, features)),
        "input_to_state": ((directions, input_taps, gates), (len(lines.taps), len(lines.inputs[0]), 4 * hidden)),
        "bias": (tuple(bias.shape), (directions, 4 * hidden)),
        "state_to_state": (tuple(state_to_state.shape), (directions, taps, hidden, 4 * hidden)),
        "initial": (tuple(initial.shape), (directions, 2, hidden)),
    }
    for name, (got, wanted) in expected.items():
        if got != wanted:
            left_out = {"x": " (batch left out)", "input_to_state": " (features left out)"}.get(name, "")
            raise InputError(f"line_lstm: {name} has shape {got}, expected {wanted}{left_out}")
    if backend not in get_args(Backend):
        raise InputError(f"line_lstm: unknown backend {backend!r}: expected one of {', '.join(get_args(Backend))}")
    run = {"reference": reference, "manual": manual, "compiled": compiled}[
        choose_backend(x) if backend == "auto" else backend
    ].line_lstm
    try:
        return run(x, input_to_state, bias, state_to_state, initial, lines)
    except BuildError as error:
        raise InputError(f"line_lstm: {error}") from None


def choose_backend(x: Tensor) -> Literal["reference", "manual", "compiled"]:
    """What ``backend="auto"`` takes for a map: the fastest that can run.

    That is the compiled one for float32 and float64 on a CPU, and the manual one elsewhere, or where there is no
    compiler, which is said once. Under the transforms of `torch.func` it is the reference.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return "reference"
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and _can_compile():
        return "compiled"
    return "manual"


@cache
def _can_compile() -> bool:
    try:
        operators()
    except BuildError as error:
        warnings.warn(f"{error}; line_lstm falls back to its manual backend, which is slower", stacklevel=4)
        return False
    return True
