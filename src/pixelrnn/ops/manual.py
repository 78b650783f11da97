"""The recurrence with a hand-written backward pass, in plain PyTorch. Any device, any floating type.

Autograd would keep every intermediate value of every line and launch several operations for each. Here the gates are
activated in place, and a line is a strided slice of the raster order. The gradients of the weights and of x need no
order, so each is one product after the scan. docs/operators.md has the derivation.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pixelrnn.ops.lines import Lines
from pixelrnn.ops.reference import add_directions, input_matrix, input_taps, input_term


def scan(
    term: Float[Tensor, "N B D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    gates: Float[Tensor, "D N B four_h"],
    cells: Float[Tensor, "D N B h"],
    states: Float[Tensor, "D N B h"],
) -> None:
    """Scans line by line from ``term``, Kis ⊛ x, and fills the activated gates, the cells and the states."""
    batch, hidden = term.shape[1], initial.shape[2]
    # The states of the current line by place, the initial state elsewhere. Each line overwrites the one before.
    h, c = initial[:, :, None, None].repeat(1, 1, lines.extent + 2, batch, 1).unbind(1)
    weight = state_to_state.flatten(1, 2)  # (D, T·h, 4h)
    for t, (first, n) in enumerate(zip(lines.first, lines.lengths, strict=True)):
        begin = first + 1
        taps = [slice(begin + shift, begin + shift + n) for shift in lines.shifts]
        here = [(d, _slice(line[t])) for d, line in enumerate(lines.positions)]

        #   o, f, i = σ(Kss ⊛ h₋ + Kis ⊛ x)      g = tanh(Kss ⊛ h₋ + Kis ⊛ x)
        h_taps = torch.cat([h[:, tap] for tap in taps], dim=-1)  # (D, n, B, T·h)
        a = torch.bmm(h_taps.flatten(1, 2), weight).to(gates.dtype).unflatten(1, (n, batch))
        for d, line in here:
            a[d] += term[line, :, d]
        o, f, i, g = a.chunk(4, dim=-1)
        a[..., : 3 * hidden].sigmoid_()
        g.tanh_()
        #   c = f ⊙ c₋ + i ⊙ g                   h = o ⊙ tanh(c)
        c_line = torch.addcmul(f * c[:, taps[lines.cell]], i, g)
        h_line = o * c_line.tanh()

        h[:, begin : begin + n], c[:, begin : begin + n] = h_line, c_line
        for d, line in here:
            gates[d, line], cells[d, line], states[d, line] = a[d], c_line[d], h_line[d]


def scan_backward(
    d_output: Float[Tensor, "N B h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    gates: Float[Tensor, "D N B four_h"],
    cells: Float[Tensor, "D N B h"],
) -> tuple[Float[Tensor, "N B D four_h"], Float[Tensor, "D N B h"]]:
    """Returns the gradients of the gates before activation, da, and of c₋, for all positions."""
    directions, _, batch, hidden = cells.shape
    d_gates, d_before = cells.new_empty(*d_output.shape[:2], *gates.shape[::3]), torch.empty_like(cells)
    nothing = d_output.new_zeros(hidden)
    d_states = [lines.neighbours(d_output, at, nothing) for at in lines.outputs]
    # c₋ at every position; the gradient of f needs it.
    c_before = [lines.neighbours(cells[d], lines.taps[d][lines.cell], initial[d, 1]) for d in range(directions)]
    weight = state_to_state.flatten(1, 2).mT  # (D, 4h, T·h)
    # The contribution of line t + 1 to the gradients of the states and cells of line t, by place.
    dh, dc = cells.new_zeros(2, directions, lines.extent + 2, batch, hidden)
    for t in range(len(lines.first) - 1, -1, -1):
        n, begin = lines.lengths[t], lines.first[t] + 1
        here = [(d, _slice(line[t])) for d, line in enumerate(lines.positions)]
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
        d_cell = dc_line * f
        for d, line in here:
            d_gates[line, :, d], d_before[d, line] = da[d], d_cell[d]
        # Pass the gradients on to the states that line t has read.
        d_taps = torch.bmm(da.flatten(1, 2), weight).unflatten(1, (n, batch)).split(hidden, dim=-1)
        dh.zero_(), dc.zero_()
        for shift, d_tap in zip(lines.shifts, d_taps, strict=True):
            dh[:, begin + shift : begin + shift + n] += d_tap
        shift = lines.shifts[lines.cell]
        dc[:, begin + shift : begin + shift + n] = d_cell
    return d_gates, d_before


def line_lstm(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    bias: Float[Tensor, "D four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    lines: Lines,
    saved: Float[Tensor, " saved"],
    scan: Callable[..., None] = scan,
) -> Float[Tensor, "N B h"]:
    """See `pixelrnn.ops.line_lstm`. Fills ``saved`` with what the backward pass needs."""
    gates, cells, states = _parts(saved, (len(bias), *x.shape[:2], initial.shape[2]))
    scan(input_term(x, input_to_state, bias, lines), state_to_state, initial, lines, gates, cells, states)
    return add_directions(states, lines)


def line_lstm_backward(
    x: Float[Tensor, "N B F"],
    input_to_state: Float[Tensor, "D S F four_h"],
    state_to_state: Float[Tensor, "D T h four_h"],
    initial: Float[Tensor, "D 2 h"],
    saved: Float[Tensor, " saved"],
    d_output: Float[Tensor, "N B h"],
    lines: Lines,
    scan_backward: Callable[..., tuple[Tensor, Tensor]] = scan_backward,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of x, Kis, its bias, Kss and the initial states."""
    directions, inputs, features, columns = input_to_state.shape
    gates, cells, states = _parts(saved, (directions, *x.shape[:2], initial.shape[2]))
    d_gates, d_before = scan_backward(d_output, state_to_state, initial, lines, gates, cells)

    # The gradients of Kis and x, each one product over all positions, images and directions.
    d_rows = d_gates.flatten(2).flatten(0, 1)  # (N·B, D·4h)
    d_input = (input_taps(x, lines).T @ d_rows).view(inputs, features, directions, columns).permute(2, 0, 1, 3)
    d_seen = (d_rows @ input_matrix(input_to_state).T).view(*x.shape[:2], inputs, features).unbind(2)
    # A tap reads x at an offset, so x finds the gradient at the opposite offset.
    d_x, nothing = torch.zeros_like(x), d_seen[0].new_zeros(features)
    for (di, dj), d_tap in zip(lines.inputs[0], d_seen, strict=True):
        d_x += lines.neighbours(d_tap, (-di, -dj), nothing)

    d_state, d_initial = torch.empty_like(state_to_state), torch.zeros_like(initial)
    d_sums = d_gates.sum(dim=1, dtype=x.dtype)  # (N, D, 4h), summed over images
    for d, taps in enumerate(lines.taps):
        for k, at in enumerate(taps):
            before = lines.neighbours(states[d], at, initial[d, 0])
            d_state[d, k] = before.flatten(0, 1).T @ d_gates[:, :, d].flatten(0, 1)
            # Taps outside the image read the initial state.
            outside = lines.neighbours(x.new_zeros(len(x), 1, 1), at, x.new_ones(1)).flatten()  # 1 outside, 0 inside
            d_initial[d, 0] += outside @ d_sums[:, d] @ state_to_state[d, k].T
            if k == lines.cell:
                d_initial[d, 1] = outside @ d_before[d].sum(dim=1)
    return d_x, d_input.to(x.dtype), d_sums.sum(dim=0), d_state, d_initial


def _parts(
    saved: Float[Tensor, " saved"], shape: tuple[int, int, int, int]
) -> tuple[Float[Tensor, "D N B four_h"], Float[Tensor, "D N B h"], Float[Tensor, "D N B h"]]:
    """Views of the gates, cells and hidden states of all positions in the buffer ``saved``; shape is (D, N, B, h)."""
    *outer, hidden = shape
    n = math.prod(shape)
    gates, cells, states = saved.split([4 * n, n, n])
    return gates.view(*outer, 4 * hidden), cells.view(shape), states.view(shape)


def _slice(line: range) -> slice:
    return slice(line.start, line.stop, line.step)
