"""One recurrence for all layers: an LSTM over the lines of an image. See the README beside this file."""

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.backend import choose
from pixelrnn.errors import InputError
from pixelrnn.recurrence import compiled, manual, reference
from pixelrnn.recurrence.lines import Lines, diagonal_lines, row_lines

__all__ = ["Lines", "diagonal_lines", "line_lstm", "row_lines"]


def line_lstm(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
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
        lines: which positions are computed together and what they read: `row_lines` or `diagonal_lines`.

    Returns:
        The hidden states h in raster order, all directions added, each where `Lines.outputs` says.

    Raises:
        InputError: shapes that do not belong together, or the backend that was named (`pixelrnn.backend`) cannot run.
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
    for name, size in {"features F": features, "hidden features h": hidden}.items():
        if size < 1:
            raise InputError(f"line_lstm: {name} must be at least 1, got {size}")
    x = x.to(bias.dtype)  # lower precision of the maps around it must not add up over H + W steps
    operands = (x, input_to_state, bias, state_to_state, initial)
    if (chosen := choose(*operands)) == "compiled":
        return compiled.line_lstm(*operands, lines)
    autocast = torch.amp.is_autocast_available(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if autocast else nullcontext():
        return {"reference": reference, "manual": manual}[chosen].line_lstm(*operands, lines)
