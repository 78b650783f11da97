"""The recurrence with its backward pass written by hand, in plain PyTorch. Any device, any floating type.

Autograd would keep every intermediate value of every line and launch a handful of operations for each. Here the gates
are activated in place, a line is a strided slice of the raster order, and what needs no order, the three weight
gradients and the gradient of x, is one product each after the scan. The derivation is in docs/operators.md.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.ops.lines import Lines
from pixelrnn.ops.reference import add_directions, input_term


def line_lstm(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    saved: Float[Tensor, " saved"],
) -> Float[Tensor, "N B h"]:
    """See `pixelrnn.ops.line_lstm`. Fills ``saved`` with what the backward pass needs."""
    batch, hidden = x.shape[1], initial.shape[2]
    gates, cells, states = _parts(saved, (len(bias), x.shape[0], batch, hidden))
    saved[gates.numel() + cells.numel() + states.numel() :].zero_()  # padding, which the C++ fills
    gates.copy_(input_term(x, input_to_state, bias, lines))  # activated line by line

    # A line's states at their places and the initial ones elsewhere; each line overwrites the one before.
    h, c = initial[:, :, None, None].repeat(1, 1, lines.extent + 2, batch, 1).unbind(1)
    weight = state_to_state.flatten(1, 2)  # (D, T·h, 4h)
    for t, (first, n) in enumerate(zip(lines.first, lines.lengths, strict=True)):
        begin = first + 1
        taps = [slice(begin + shift, begin + shift + n) for shift in lines.shifts]
        here = [(d, _slice(scan[t])) for d, scan in enumerate(lines.positions)]

        #   o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
        h_taps = torch.cat([h[:, tap] for tap in taps], dim=-1)  # (D, n, B, T·h)
        a = torch.bmm(h_taps.flatten(1, 2), weight).unflatten(1, (n, batch))
        for d, line in here:
            a[d] += gates[d, line]
        o, f, i, g = a.chunk(4, dim=-1)
        a[..., : 3 * hidden].sigmoid_()
        g.tanh_()
        #   c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)
        c_line = torch.addcmul(f * c[:, taps[lines.cell]], i, g)
        h_line = o * c_line.tanh()

        h[:, begin : begin + n], c[:, begin : begin + n] = h_line, c_line
        for d, line in here:
            gates[d, line], cells[d, line], states[d, line] = a[d], c_line[d], h_line[d]

    return add_directions(states, lines)


def line_lstm_backward(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    saved: Float[Tensor, " saved"],
    d_output: Float[Tensor, "N B h"],
    lines: Lines,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """From the gradient of the output to those of x, Kis, its bias, Kss and the initial states."""
    directions, batch, hidden = len(initial), x.shape[1], initial.shape[2]
    gates, cells, states = _parts(saved, (directions, x.shape[0], batch, hidden))
    d_gates = torch.empty_like(gates)
    d_initial = torch.zeros_like(initial)
    nothing = x.new_zeros(hidden)
    d_states = [lines.neighbours(d_output, at, nothing) for at in lines.outputs]

    # c₋ at every position; the gradient of f needs it.
    c_before = [lines.neighbours(cells[d], lines.taps[d][lines.cell], initial[d, 1]) for d in range(directions)]
    weight = state_to_state.flatten(1, 2).mT  # (D, 4h, T·h)
    # What the lines after t contribute to the states of line t, at their places.
    dh, dc = states.new_zeros(2, directions, lines.extent + 2, batch, hidden)
    for t in range(len(lines.first) - 1, -1, -1):
        n, begin = lines.lengths[t], lines.first[t] + 1
        here = [(d, _slice(scan[t])) for d, scan in enumerate(lines.positions)]
        own = slice(begin, begin + n)
        o, f, i, g = torch.stack([gates[d, line] for d, line in here]).chunk(4, dim=-1)
        tanh_c = torch.stack([cells[d, line] for d, line in here]).tanh_()
        before = torch.stack([c_before[d][line] for d, line in here])
        dh_line = torch.stack([d_states[d][line] for d, line in here]) + dh[:, own]

        #   h = o ⊙ tanh(c):       dc = dc + dh ⊙ o ⊙ (1 − tanh²(c))
        dc_line = dc[:, own] + dh_line * o * (1 - tanh_c**2)
        #   c = f ⊙ c₋ + i ⊙ g:    σ' = σ(1 − σ), tanh' = 1 − tanh²
        da = torch.cat(
            [
                dh_line * tanh_c * o * (1 - o),
                dc_line * before * f * (1 - f),
                dc_line * g * i * (1 - i),
                dc_line * i * (1 - g**2),
            ],
            dim=-1,
        )
        for d, line in here:
            d_gates[d, line] = da[d]
        # To the states that line t has read. What lies outside the image is the initial state.
        d_taps = torch.bmm(da.flatten(1, 2), weight).unflatten(1, (n, batch)).split(hidden, dim=-1)
        dh.zero_(), dc.zero_()
        for shift, d_tap in zip(lines.shifts, d_taps, strict=True):
            dh[:, begin + shift : begin + shift + n] += d_tap
        shift = lines.shifts[lines.cell]
        dc[:, begin + shift : begin + shift + n] = dc_line * f
        # The places that the line before does not have are outside the image.
        begin, end = (lines.first[t - 1] + 1, lines.first[t - 1] + 1 + lines.lengths[t - 1]) if t else (0, 0)
        for k, flowed in enumerate((dh, dc)):
            d_initial[:, k] += flowed[:, :begin].sum(dim=(1, 2)) + flowed[:, end:].sum(dim=(1, 2))

    # The weights, each in one product over all positions and images.
    d_rows = d_gates.flatten(1, 2)  # (D, N·B, 4h)
    d_input, d_state = torch.empty_like(input_to_state), torch.empty_like(state_to_state)
    nothing = x.new_zeros(x.shape[2])
    for d in range(directions):
        for k, at in enumerate(lines.inputs[d]):
            d_input[d, k] = lines.neighbours(x, at, nothing).flatten(0, 1).T @ d_rows[d]
        for k, at in enumerate(lines.taps[d]):
            d_state[d, k] = lines.neighbours(states[d], at, initial[d, 0]).flatten(0, 1).T @ d_rows[d]
    # x was read at an offset, so its gradient is found at the opposite one.
    d_x = torch.zeros_like(x)
    for d, offsets in enumerate(lines.inputs):
        for (di, dj), kernel in zip(offsets, input_to_state[d], strict=True):
            d_x += lines.neighbours(d_gates[d] @ kernel.T, (-di, -dj), nothing)
    return d_x, d_input, d_rows.sum(dim=1), d_state, d_initial


def _parts(
    saved: Float[Tensor, " saved"], shape: tuple[int, int, int, int]
) -> tuple[Float[Tensor, "D N B four_h"], Float[Tensor, "D N B h"], Float[Tensor, "D N B h"]]:
    """The gates, cells and hidden states (D, N, B, h) of all positions, in the room that was made to save them."""
    *outer, hidden = shape
    n = math.prod(shape)
    gates, cells, states = saved[: 6 * n].split([4 * n, n, n])
    return gates.view(*outer, 4 * hidden), cells.view(shape), states.view(shape)


def _slice(line: range) -> slice:
    return slice(line.start, line.stop, line.step)
